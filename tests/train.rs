//! `depthscope train` as a user meets it: runs that are killed, resumed, refused, that diverge; what they leave behind.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{path::Path, time::Duration};

use depthscope::{
    rng::Rng,
    tables::{read_log, read_telemetry},
};
use support::program::Desk;

const SMALL: &str = "train --recipe tiny --batch-size 4 --seq-len 32 --telemetry-every 10";
const SHORT: &str = "train --recipe tiny --batch-size 4 --seq-len 32 --telemetry-every 10 --steps 30";

#[track_caller]
fn refused(desk: &Desk, arguments: &str, facts: &[&str]) {
    desk.run(arguments).failed_with(facts);
}

fn weights(desk: &Desk, run: &str) -> Vec<u8> {
    std::fs::read(desk.path(run).join("model/model.safetensors")).unwrap()
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_weights() {
    let desk = Desk::empty();
    let command = format!("{SHORT} --checkpoint-every 3 --quiet");
    desk.run(&format!("{command} --out whole")).succeeded();
    let mut rng = Rng::new(11);
    let mut kills = 0;
    for attempt in 0..100 {
        let mut process =
            desk.program().args(format!("{command} --out broken --resume").split_whitespace()).spawn().unwrap();
        // Short at first, so that it is killed in many states; then longer, so that it gets to its end.
        std::thread::sleep(Duration::from_millis(50 + rng.below(150 + 60 * attempt) as u64));
        let ended = process.try_wait().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => kills += 1,
        }
    }
    assert!(kills >= 3, "killed {kills} times");
    assert!(weights(&desk, "whole") == weights(&desk, "broken"), "bit by bit");
    let rows = |run: &str| read_log(&desk.path(run).join("tables")).unwrap();
    let losses = |run: &str| rows(run).iter().map(|row| (row.step, row.loss.to_bits())).collect::<Vec<_>>();
    assert_eq!(losses("whole"), losses("broken"));
    let telemetry = |run: &str| read_telemetry(&desk.path(run).join("tables")).unwrap();
    assert_eq!(telemetry("whole"), telemetry("broken"));
    let names: Vec<_> =
        desk.files().into_iter().filter(|file| file.contains(".tmp") || file.contains(".model")).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_run_leaves_a_model_and_tables_that_the_other_verbs_read() {
    let desk = Desk::empty();
    let outcome = desk.run(&format!("{SHORT} --placement lns --out run")).succeeded();
    assert!(outcome.stdout.contains("held-out loss"), "{}", outcome.stdout);
    let log = read_log(&desk.path("run/tables")).unwrap();
    assert_eq!(log.iter().map(|row| row.step).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert!(log[29].loss < log[0].loss - 0.5, "{} after {}", log[29].loss, log[0].loss);
    assert!(log[29].held_out_loss.is_some());
    assert_eq!(log[29].tokens, 30 * 4 * 32);
    let telemetry = read_telemetry(&desk.path("run/tables")).unwrap();
    let steps: Vec<u64> = telemetry.iter().step_by(4).map(|row| row.step).collect();
    assert_eq!(steps, [0, 10, 20, 30]);
    assert!(telemetry.iter().all(|row| row.output_variance > 0.0 && row.gradient_norm > 0.0));
    let config = desk.json("run/model/config.json");
    assert_eq!(config["architectures"][0], "LlamaForCausalLM");
    desk.run("scan --model run/model --samples 4 --seq-len 32 --quiet --out scanned").succeeded();
    desk.run("verify --model run/model --quiet").succeeded();
}

#[test]
fn a_placement_that_other_programs_lack_is_read_back() {
    let desk = Desk::empty();
    desk.run(&format!("{SMALL} --placement mix-ln:0.5 --steps 2 --quiet --out run")).succeeded();
    let config = desk.json("run/model/config.json");
    assert_eq!((config["model_type"].as_str(), config["mix_ln_share"].as_f64()), (Some("depthscope"), Some(0.5)));
    desk.run("prune --model run/model --samples 4 --seq-len 32 --quiet").succeeded();
    refused(&desk, "verify --model run/model", &["norm placement", "compare with transformers"]);
}

#[test]
fn text_of_ones_own_gets_a_tokenizer_of_its_own() {
    let desk = Desk::empty();
    desk.write("page.txt", "The quick brown fox jumps over the lazy dog. ".repeat(200));
    desk.run(&format!("{SHORT} --text page.txt --quiet --out run")).succeeded();
    let log = read_log(&desk.path("run/tables")).unwrap();
    assert!(log[29].loss < log[0].loss / 2.0, "{} after {}", log[29].loss, log[0].loss);
    assert!(desk.path("run/model/tokenizer.json").exists());
}

/// The losses of the last `count` steps, on average.
fn last_losses(desk: &Desk, run: &str, count: usize) -> f64 {
    let log = read_log(&desk.path(run).join("tables")).unwrap();
    log[log.len() - count..].iter().map(|row| row.loss).sum::<f64>() / count as f64
}

#[test]
fn a_tiny_model_learns_a_page_by_heart_and_a_bigger_budget_gives_a_lower_loss() {
    let desk = Desk::empty();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    desk.write("page.txt", std::fs::read_to_string(root.join("LICENSE-MIT")).unwrap());
    let tokenizer = root.join("data/tokenizers/builtin.json");
    let read = format!("{SMALL} --text page.txt --tokenizer {} --quiet", tokenizer.display());
    for steps in [60, 600] {
        desk.run(&format!("{read} --steps {steps} --out s{steps}")).succeeded();
    }
    let (short, long) = (last_losses(&desk, "s60", 10), last_losses(&desk, "s600", 10));
    assert!(long < 0.1, "{long} nats per token of a page read {} times", 600 * 4 * 32 / 600);
    assert!(short > 1.0, "{short}");
    let held_out = |run: &str| desk.json(&format!("{run}/manifest.json"))["held_out_loss"].as_f64().unwrap();
    for steps in [30, 300] {
        desk.run(&format!("{SMALL} --quiet --steps {steps} --out b{steps}")).succeeded();
    }
    assert!(held_out("b300") < held_out("b30") - 0.5, "{} after {}", held_out("b300"), held_out("b30"));
}

/// A trained model and a file of examples for it.
fn to_fine_tune() -> Desk {
    let desk = Desk::empty();
    desk.run(&format!("{SMALL} --steps 20 --quiet --placement lns --out base")).succeeded();
    let example = |i: usize| {
        let (name, place) = (["Anna", "Ben", "Clara", "Leo"][i % 4], ["mill", "barn", "cave", "hall"][i % 4]);
        format!(
            "{}\n",
            serde_json::json!({ "prompt": format!("Story {i}: {name} is in the"), "response": format!(" {place}.") })
        )
    };
    desk.write("sft.jsonl", (0..40).map(example).collect::<String>());
    desk
}

const FINE_TUNE: &str =
    "train --recipe tiny --batch-size 4 --from base/model --sft sft.jsonl --learning-rate 1e-2 --quiet";

#[test]
fn fine_tuning_teaches_the_responses_and_leaves_a_model_of_the_same_kind() {
    let desk = to_fine_tune();
    desk.write("base/model/tokenizer_config.json", r#"{"eos_token": "</s>"}"#);
    desk.write("base/model/chat_template.jinja", "{% for message in messages %}{{ message.content }}{% endfor %}");
    desk.run(&format!("{FINE_TUNE} --steps 250 --out tuned")).succeeded();
    let kept = desk.json("tuned/model/tokenizer_config.json");
    assert!(kept["chat_template"].as_str().is_some_and(|template| template.contains("message.content")), "{kept}");
    let log = read_log(&desk.path("tuned/tables")).unwrap();
    // Three tokens of each response, all of which follow from the prompt; the prompt's numbers, which do not, are not counted.
    assert!(log[0].loss > 2.0 && last_losses(&desk, "tuned", 5) < 0.05, "{} to {}", log[0].loss, log[249].loss);
    let [before, after] = ["base", "tuned"].map(|run| desk.json(&format!("{run}/model/config.json")));
    assert_eq!(before, after);
    let tokenizer = |run: &str| desk.json(&format!("{run}/model/tokenizer.json"));
    assert_eq!(tokenizer("base"), tokenizer("tuned"));
    desk.run("prune --model tuned/model --samples 2 --seq-len 32 --quiet").succeeded();
    // Prompts are no held-out text: `compare` then reads the built-in corpus.
    assert!(desk.path("base/held_out.json").exists() && !desk.path("tuned/held_out.json").exists());
}

#[test]
fn fine_tuning_is_resumed_like_any_run() {
    let desk = to_fine_tune();
    desk.run(&format!("{FINE_TUNE} --steps 12 --checkpoint-every 4 --out whole")).succeeded();
    let mut process = desk
        .program()
        .args(format!("{FINE_TUNE} --steps 12 --checkpoint-every 4 --out broken").split_whitespace())
        .spawn()
        .unwrap();
    while !desk.path("broken/checkpoint/state.safetensors").exists() && process.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    desk.run(&format!("{FINE_TUNE} --steps 12 --checkpoint-every 4 --resume --out broken")).succeeded();
    assert!(weights(&desk, "whole") == weights(&desk, "broken"), "bit by bit");
    let rows = |run: &str| read_log(&desk.path(run).join("tables")).unwrap();
    assert_eq!(rows("whole")[11].tokens, rows("broken")[11].tokens);
}

#[test]
fn what_cannot_be_fine_tuned_is_refused() {
    let desk = to_fine_tune();
    refused(&desk, "train --recipe tiny --sft sft.jsonl --out x", &["--from"]);
    refused(&desk, "train --recipe tiny --from base/model --placement lns --out x", &["--placement"]);
    refused(&desk, "train --recipe tiny --from nosuch --sft sft.jsonl --out x", &["nosuch", "does not exist"]);
    refused(&desk, "train --recipe tiny --from base/model --sft nosuch.jsonl --out x", &["nosuch.jsonl"]);
    desk.write("bad.jsonl", "{\"prompt\": \"a\", \"response\": \"b\"}\n{\"prompt\": \"a\"}\n");
    refused(&desk, "train --recipe tiny --from base/model --sft bad.jsonl --out x", &["bad.jsonl, line 2", "response"]);
    desk.write(
        "chat.jsonl",
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
    );
    refused(&desk, "train --recipe tiny --from base/model --sft chat.jsonl --out x", &["chat template"]);
    assert!(!desk.path("x").exists());
}

#[test]
fn a_dry_run_says_what_it_would_cost_and_does_nothing() {
    let desk = Desk::empty();
    let outcome = desk.run("train --recipe 130m --dry-run --out run").succeeded();
    for fact in ["134,105,856", "512 × 256", "2,621,440,000", "GiB"] {
        assert!(outcome.stdout.contains(fact), "{fact} is not in {}", outcome.stdout);
    }
    assert!(desk.files().is_empty());
}

#[test]
fn divergence_stops_with_the_last_good_weights() {
    let desk = Desk::empty();
    let wild = format!("{SHORT} --placement post --learning-rate 1e30 --out run");
    refused(&desk, &wild, &["training diverged", "--on-divergence skip", "--learning-rate"]);
    assert_finite(&desk.path("run/model/model.safetensors"));
    let skipped = desk.run(&format!("{wild} --resume --on-divergence skip")).succeeded();
    assert!(skipped.stdout.contains("steps were skipped"), "{}", skipped.stdout);
    assert_finite(&desk.path("run/model/model.safetensors"));
}

fn assert_finite(path: &Path) {
    for (name, tensor) in candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap() {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|x| x.is_finite()), "{name}");
    }
}

#[test]
fn runs_that_cannot_be_are_refused_with_what_to_do() {
    let desk = Desk::empty();
    refused(&desk, "train --recipe nosuch --out run", &["nosuch", "tiny", "130m"]);
    desk.write("my.toml", "steps = 3\nlerning_rate = 1");
    refused(&desk, "train --recipe my.toml --out run", &["my.toml", "lerning_rate"]);
    refused(&desk, "train --recipe tiny --text nosuch.txt --out run", &["nosuch.txt"]);
    refused(&desk, "train --recipe tiny --steps 0 --out run", &["steps"]);
    desk.run(&format!("{SMALL} --steps 2 --quiet --out run")).succeeded();
    refused(&desk, &format!("{SMALL} --steps 2 --out run"), &["holds a run already", "--resume"]);
    refused(&desk, &format!("{SMALL} --steps 3 --out run --resume"), &["steps = 2", "--out"]);
    desk.write("other.txt", "Another text altogether, and long enough. ".repeat(100));
    refused(&desk, &format!("{SMALL} --steps 2 --text other.txt --out run --resume"), &["other data", "--text"]);
}

#[test]
fn scaling_twice_is_advised_against() {
    let desk = Desk::empty();
    let outcome = desk.run("train --recipe tiny --placement lns --init scaled --dry-run --out run").succeeded();
    assert!(outcome.stderr.contains("warning: lns is combined with scaled initialisation"), "{}", outcome.stderr);
}

#[test]
fn a_tokenizer_is_learned_and_used() {
    let desk = Desk::empty();
    desk.write("page.txt", "The quick brown fox jumps over the lazy dog. ".repeat(200));
    let outcome = desk.run("tokenizer train --text page.txt --vocab 300 --out own").succeeded();
    assert!(outcome.stdout.contains("tokens in own/tokenizer.json"), "{}", outcome.stdout);
    desk.run(&format!("{SHORT} --text page.txt --tokenizer own --quiet --out run")).succeeded();
    let files = ["own/tokenizer.json", "run/model/tokenizer.json"].map(|file| std::fs::read(desk.path(file)).unwrap());
    assert!(files[0] == files[1]);
    refused(&desk, "tokenizer train --text page.txt --vocab 20 --out own", &["--vocab", "257"]);
    refused(&desk, "tokenizer train --text nosuch.txt --out own", &["nosuch.txt"]);
}
