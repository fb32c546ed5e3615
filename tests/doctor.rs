//! `doctor` says what a machine gives and what to fix.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod support;

use support::program::Desk;

const SECRET: &str = "hf_never_to_be_seen";

#[test]
fn a_sound_machine_has_a_cpu_a_writable_cache_and_no_problem() {
    let desk = Desk::empty();
    desk.write("hub/models--a--b/blobs/x", "12345");
    let output = desk.leaves_nothing(|| {
        desk.program()
            .args(["doctor", "--format", "json"])
            .env("HF_HUB_CACHE", desk.path("hub"))
            .env_remove("HF_HUB_OFFLINE")
            .output()
            .unwrap()
    });
    assert_eq!(output.status.code(), Some(0));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(found["devices"][0]["device"], "cpu");
    assert!(found["devices"][0]["memory"].as_u64().unwrap() > 1 << 20);
    assert_eq!((&found["cache"]["bytes"], &found["cache"]["writable"]), (&5.into(), &true.into()));
    assert_eq!((&found["token"], &found["problems"]), (&"absent".into(), &serde_json::json!([])));
}

#[test]
fn a_token_is_told_of_and_never_shown() {
    let desk = Desk::empty();
    for format in ["table", "json"] {
        let output = desk.program().args(["doctor", "--format", format]).env("HF_TOKEN", SECRET).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains(if format == "json" { "present" } else { "Hub token   there" }), "{text}");
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_a_problem_with_a_remedy_and_exit_code_1() {
    let desk = Desk::empty();
    // A file in the place of a folder: not even root can write below it.
    desk.write("blocked", "");
    let mut program = desk.program();
    program.arg("doctor").env("HF_HUB_CACHE", desk.path("blocked/hub")).env_remove("HF_HUB_OFFLINE");
    let output = program.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("Hub cache cannot be written (") && text.contains("set HF_HUB_CACHE"), "{text}");
}

#[test]
fn an_endpoint_that_is_none_is_said_as_a_run_would_say_it() {
    let desk = Desk::empty();
    let output = desk.program().arg("doctor").env("HF_ENDPOINT", "nonsense").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("Hub endpoint is not a URL"), "{text}");
}
