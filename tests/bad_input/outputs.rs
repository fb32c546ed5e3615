//! Where results cannot go, and runs that are stopped.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::support::{
    program::{Desk, Outcome},
    random_model::{self, Shape},
};

#[test]
fn an_output_folder_that_cannot_be_made_is_refused_before_the_work() {
    let desk = Desk::new();
    desk.write("file", "x");
    for out in ["file", "file/below", "file/far/below", "/dev/null/x", "/proc/x"] {
        if out.starts_with("/proc") && !cfg!(target_os = "linux") {
            continue;
        }
        let facts = [&format!("output cannot be written ({out}: "), "choose another --out"];
        desk.refuses(&format!("scan --out {out}"), &facts);
    }
    // Before the work: not even the model is looked at.
    desk.run("scan --model nowhere --out file").failed_with(&["output cannot be written (file: "]);
}

#[test]
fn a_folder_in_the_place_of_a_table_is_refused_and_nothing_else_is_touched() {
    let desk = Desk::new();
    desk.write("out/manifest.json", "old");
    std::fs::create_dir_all(desk.path("out/charts")).unwrap();
    std::fs::create_dir_all(desk.path("out/tables/prune.csv")).unwrap();
    desk.refuses("scan --out out", &["output cannot be written (out/tables/prune.csv: "]);
    assert_eq!(std::fs::read(desk.path("out/manifest.json")).unwrap(), b"old");
}

/// The program in a shell that lets no file grow beyond some KiB: what a full disk looks like, for any user.
fn with_files_of_at_most(desk: &Desk, kilobytes: u32, arguments: &str) -> Outcome {
    let program = env!("CARGO_BIN_EXE_depthscope");
    let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec {program} {arguments}");
    let mut shell = Command::new("bash");
    desk.prepare(&mut shell);
    shell.args(["-c", &script]).output().unwrap().into()
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let desk = Desk::new();
    // The first table fits under the larger limits, a later file does not.
    for kilobytes in [1, 4, 20] {
        for out in ["out", "deep/er/out"] {
            let run = || {
                with_files_of_at_most(&desk, kilobytes, &format!("scan --model model --tokens tokens.json --out {out}"))
            };
            let facts = [&format!("output cannot be written ({out}: "), "free space there, or choose another --out"];
            desk.leaves_nothing(|| run().failed_with(&facts));
        }
    }
}

#[test]
fn a_full_disk_leaves_the_results_of_an_earlier_run() {
    let desk = Desk::new();
    desk.measure("scan --out out").succeeded();
    let read = || desk.files().into_iter().filter_map(|file| std::fs::read(desk.path(&file)).ok()).collect::<Vec<_>>();
    let before = read();
    desk.tokens(&random_model::sequences(&[9, 9], 40, 99));
    desk.write("tokens2.json", std::fs::read(desk.path("tokens.json")).unwrap());
    desk.tokens(&random_model::sequences(&[12, 5, 9, 16], 40, 3));
    let arguments = "scan --model model --tokens tokens2.json --out out";
    desk.leaves_nothing(|| {
        with_files_of_at_most(&desk, 4, arguments).failed_with(&["output cannot be written (out: "])
    });
    std::fs::remove_file(desk.path("tokens2.json")).unwrap();
    assert!(read() == before, "an earlier result changed");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    let desk = Desk::new();
    let mut program = desk.program();
    program.args(["scan", "--model", "model", "--tokens", "tokens.json"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let outcome: Outcome = program.stdout(full).output().unwrap().into();
    outcome.failed_with(&["standard output cannot be written (No space left on device", "--out"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let desk = Desk::new();
    for arguments in
        ["scan --model model --tokens tokens.json --format json", "completions zsh", "scan --help", "prune --window 99"]
    {
        let mut program = desk.program();
        let mut child =
            program.args(arguments.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let outcome: Outcome = child.wait_with_output().unwrap().into();
        outcome.says(&[]);
    }
    let mut program = desk.program();
    let mut child = program.args(["prune", "--window", "99"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

/// Starts a run, waits until it is at work, and sends a signal.
fn interrupted(desk: &Desk, arguments: &str, signal: &str) -> (Outcome, Duration) {
    let mut program = desk.program();
    program.args(arguments.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = program.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let sent = Instant::now();
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    let outcome = child.wait_with_output().unwrap().into();
    (outcome, sent.elapsed())
}

#[track_caller]
fn assert_interrupted(desk: &Desk, arguments: &str, signal: &str) {
    let (outcome, waited) = desk.leaves_nothing(|| interrupted(desk, arguments, signal));
    assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", "error: interrupted; nothing was written\n"));
    // Within two seconds; some more for a machine that has much else to do.
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn ctrl_c_stops_a_long_walk_and_leaves_nothing() {
    let shape = Shape { layers: 40, hidden: 64, intermediate: 128, heads: 4, kv_heads: 4, vocab: 100 };
    let desk = Desk::with(shape, &|_, _| ());
    desk.tokens(&random_model::sequences(&[256; 200], 100, 5));
    for signal in ["-INT", "-TERM"] {
        assert_interrupted(&desk, "scan --model model --tokens tokens.json --out new/out", signal);
    }
}

#[test]
fn ctrl_c_stops_the_reading_of_endless_text() {
    let desk = Desk::empty();
    assert_interrupted(&desk, "scan --samples 18446744073709551615 --out new/out", "-INT");
}
