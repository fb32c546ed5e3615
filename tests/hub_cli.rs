//! The command line on models and data sets of a Hub on loopback: as a user has it, environment and all.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/hub_server.rs"]
#[allow(dead_code, reason = "shared with tests/hub.rs")]
mod hub_server;
#[path = "support/random_model.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod random_model;

use std::{
    path::Path,
    process::{Command, Output},
};

use hub_server::{Access, HubServer, READER, Repo, commit};
use random_model::Shape;

/// A random model, as a repository.
fn repo(name: &str) -> Repo {
    let folder = tempfile::tempdir().unwrap();
    random_model::write(folder.path(), Shape::TINY, 3, &|_, _| ());
    ["config.json", "model.safetensors"]
        .into_iter()
        .fold(Repo::model(name), |repo, file| repo.file(file, std::fs::read(folder.path().join(file)).unwrap()))
}

/// `depthscope variance` with a cache, a Hub and other variables.
fn variance(home: &Path, endpoint: &str, model: &str, variables: &[(&str, &str)]) -> Output {
    let tokens = home.join("tokens.json");
    std::fs::write(&tokens, "[[1, 2, 3, 4], [5, 6, 7]]").unwrap();
    Command::new(env!("CARGO_BIN_EXE_depthscope"))
        .args(["variance", "--model", model, "--format", "json", "--tokens"])
        .arg(tokens)
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_HUB_CACHE")
        .env("HF_HOME", home)
        .env("HF_ENDPOINT", endpoint)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn document(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_model_of_the_hub_is_measured_and_its_commit_is_in_the_manifest() {
    let (server, home) = (HubServer::start([repo("org/tiny").revision("v1")]), tempfile::tempdir().unwrap());
    for (model, revision) in [("org/tiny", "main"), ("org/tiny@v1", "v1")] {
        let document = document(&variance(home.path(), &server.endpoint(), model, &[]));
        assert_eq!(document["manifest"]["model"]["commit"], commit(revision));
        assert_eq!(document["layers"].as_array().unwrap().len(), Shape::TINY.layers);
        assert_eq!(document["layers"][0]["model"], model);
    }
}

#[test]
fn once_cached_a_model_is_measured_offline_and_otherwise_the_remedy_is_named() {
    let (server, home) = (HubServer::start([repo("org/tiny")]), tempfile::tempdir().unwrap());
    let endpoint = server.endpoint();
    let offline = [("HF_HUB_OFFLINE", "1")];
    let refused = variance(home.path(), &endpoint, "org/tiny", &offline);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("HF_HUB_OFFLINE"));
    let online = document(&variance(home.path(), &endpoint, "org/tiny", &[]));
    drop(server);
    let cached = document(&variance(home.path(), &endpoint, "org/tiny", &offline));
    assert_eq!(online["layers"], cached["layers"]);
}

#[test]
fn a_gated_model_says_how_to_get_access_and_a_token_opens_it() {
    let (server, home) = (HubServer::start([repo("org/gated").access(Access::Gated)]), tempfile::tempdir().unwrap());
    let refused = variance(home.path(), &server.endpoint(), "org/gated", &[]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2));
    assert!(message.contains("HF_TOKEN") && message.contains("org/gated"), "{message}");
    assert!(refused.stdout.is_empty());
    document(&variance(home.path(), &server.endpoint(), "org/gated", &[("HF_TOKEN", READER)]));
}

#[test]
fn text_comes_from_a_data_set_on_the_hub() {
    let stories = "{\"text\": \"a b a b b a\"}\n{\"text\": \"b b a a\"}\n";
    let server = HubServer::start([
        repo("org/words").file("tokenizer.json", TOKENIZER),
        Repo::dataset("org/stories").file("data/train.jsonl", stories),
    ]);
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_depthscope"))
        .args(["variance", "--model", "org/words", "--text", "org/stories", "--per-document", "--format", "json"])
        .env("HF_HOME", home.path())
        .env("HF_ENDPOINT", server.endpoint())
        .output()
        .unwrap();
    let document = document(&output);
    assert_eq!(document["manifest"]["input"]["sequences"], 2);
    assert_eq!(document["manifest"]["input"]["tokens"], 10);
}

/// Two words, cut at spaces.
const TOKENIZER: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "?": 2}, "unk_token": "?"}
}"#;
