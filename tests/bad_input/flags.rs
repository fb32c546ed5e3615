//! Flags, devices, names of models.

use super::support::program::Desk;

#[test]
fn a_window_longer_than_the_model_is_refused() {
    let desk = Desk::new();
    desk.refuses(
        "prune --window 6 --out out",
        &["window is longer than the model (6 > 5 blocks)", "--window 5 or less"],
    );
    desk.refuses(&format!("scan --window {}", u64::MAX), &["window is longer than the model", "--window 5 or less"]);
    desk.refuses("scan --window 0", &["'0'", "--window", "at least 1"]);
}

#[test]
fn an_unknown_part_is_refused_with_those_there_are() {
    let desk = Desk::new();
    for parts in ["heads", "block,", "Block", "block,mlp"] {
        desk.refuses(&format!("prune --parts {parts}"), &["--parts", "use block, attention or feed_forward"]);
    }
}

#[test]
fn a_device_that_this_build_or_machine_lacks_is_refused() {
    let desk = Desk::new();
    for device in ["cuda:99", "metal"] {
        // A machine that has the one lacks the other, and nobody has a hundred GPUs.
        if device == "metal" && cfg!(feature = "metal") {
            continue;
        }
        desk.refuses(
            &format!("scan --device {device} --out out"),
            &[&format!("device is not available ({device}: "), "use --device cpu"],
        );
    }
    for device in ["gpu", "cuda:x", "cpu:1", "cuda:-1"] {
        desk.refuses(&format!("scan --device {device}"), &["--device"]);
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_in_a_build_without_it_says_so() {
    let message =
        ["device is not available (cuda:0: the candle crate has not been built with cuda support)", "--device cpu"];
    Desk::new().refuses("scan --device cuda:0 --out out", &message);
}

#[test]
fn sizes_that_are_none_are_refused() {
    let desk = Desk::new();
    for memory in ["0", "abc", "-1GiB", "4parsecs", "nan", "inf"] {
        desk.refuses(&format!("scan --memory={memory}"), &["--memory", "use a size such as 4GiB or 800MiB"]);
    }
    for (flag, value) in
        [("dtype", "f64"), ("tolerance", "nan"), ("tolerance", "-1"), ("seed", "-1"), ("format", "xml")]
    {
        desk.refuses(&format!("scan --{flag}={value}"), &[&format!("--{flag}")]);
    }
}

#[test]
fn lengths_and_numbers_too_small_to_measure_are_refused() {
    let desk = Desk::empty();
    for (flags, message) in [
        ("--seq-len 0", "--seq-len is too small (0); use 2 or more"),
        ("--seq-len 1", "--seq-len is too small (1); use 2 or more"),
        ("--samples 0", "--samples is too small (0); use 1 or more"),
    ] {
        desk.leaves_nothing(|| desk.run(&format!("scan --out out {flags}")).failed_with(&[message]));
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let desk = Desk::new();
    for flags in ["--text a.txt", "--samples 3", "--seq-len 9", "--pack", "--per-document", "--text-field x"] {
        let flag = flags.split(' ').next().unwrap();
        desk.refuses(&format!("scan {flags}"), &["cannot be used with", flag]);
    }
    desk.run("scan --pack --per-document").failed_with(&["cannot be used with"]);
    desk.run("").says(&["Usage:"]);
    desk.run("measure").failed_with(&["unrecognized subcommand"]);
}

#[test]
fn a_model_that_is_nowhere_is_refused_with_ways_to_name_one() {
    let desk = Desk::empty();
    desk.write("weights.bin", "x");
    for (model, facts) in [
        (
            "nowhere",
            &["model folder does not exist (nowhere)", "give an existing folder, or a Hub id such as org/name"][..],
        ),
        ("./a/b", &["model folder does not exist (./a/b)"]),
        ("weights.bin", &["model folder is a file (weights.bin)", "give an existing folder"]),
        ("embedded:nope", &["embedded model is unknown (\"nope\")", "embedded:pre"]),
        ("org/name", &["model org/name is not in the cache", "unset HF_HUB_OFFLINE"]),
        ("org/name@v1", &["revision \"v1\"", "unset HF_HUB_OFFLINE"]),
    ] {
        desk.leaves_nothing(|| desk.run(&format!("scan --out out --model {model}")).failed_with(facts));
    }
}
