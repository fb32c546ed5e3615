//! Calls into libraries that panic on damaged files where they should return an error: tokenizers and polars do.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

static HOOK: Once = Once::new();

thread_local! {
    static UNDER_WAY: Cell<bool> = const { Cell::new(false) };
}

/// What `call` returns, or the words of its panic, which is then not printed.
pub fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // What happens in a thread of polars' pool reaches the thread that waits for it.
            let polars = std::thread::current().name().is_some_and(|name| name.starts_with("polars"));
            if !UNDER_WAY.get() && !polars {
                usual(info);
            }
        }));
    });
    let outside = UNDER_WAY.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    UNDER_WAY.set(outside);
    outcome.map_err(|payload| words(&*payload))
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_first_line_and_a_result_stays() {
        assert_eq!(guarded(|| 5), Ok(5));
        assert_eq!(guarded(|| -> u8 { panic!("index {} of\n2", 3) }), Err("index 3 of".to_owned()));
        assert_eq!(guarded(|| -> u8 { panic!("plain") }), Err("plain".to_owned()));
        assert_eq!(guarded(|| guarded(|| -> u8 { panic!("inner") })), Ok(Err("inner".to_owned())));
    }
}
