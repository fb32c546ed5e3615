//! Downloads from a Hub on loopback: what is asked for, what is kept, and what is said when it goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/hub_server.rs"]
mod hub_server;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use depthscope::source::hub::{
    HubConfig, HubError, Network, Origin, Progress, Silent, Snapshot, fetch_dataset, fetch_model,
};
use hub_server::{Access, Fault, HubServer, READER, Repo, commit, sha256};
use tempfile::TempDir;

const NAME: &str = "org/tiny";

fn weights() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn model() -> Repo {
    Repo::model(NAME)
        .file("README.md", "a model")
        .file("config.json", "{}")
        .file("generation_config.json", "{}")
        .file("model.safetensors", weights())
        .file("pytorch_model.bin", "pickle")
        .file("tokenizer.json", "{\"model\":1}")
        .file("tokenizer_config.json", "{\"a\":1}")
}

fn sharded(index: &str) -> Repo {
    Repo::model(NAME)
        .file("config.json", "{}")
        .file("model-00001-of-00002.safetensors", "one")
        .file("model-00002-of-00002.safetensors", "two")
        .file("model-unused.safetensors", "never named")
        .file("model.safetensors.index.json", index)
        .file("pytorch_model-00001-of-00001.bin", "pickle")
}

struct Fixture {
    server: HubServer,
    config: HubConfig,
    cache: TempDir,
}

fn hub(repos: impl IntoIterator<Item = Repo>) -> Fixture {
    let server = HubServer::start(repos);
    let cache = TempDir::new().unwrap();
    let config = HubConfig {
        endpoint: server.endpoint(),
        retries: 2,
        pause: Duration::from_millis(1),
        ..HubConfig::new(cache.path())
    };
    Fixture { server, config, cache }
}

impl Fixture {
    fn model(&self) -> Result<Snapshot, HubError> {
        fetch_model(&self.config, NAME, None, &Silent)
    }

    fn refusal(&self) -> String {
        let error = self.model().unwrap_err();
        let message = error.to_string();
        assert!(message.contains("; "), "no remedy in {message}");
        message
    }

    /// The files below `blobs`, by name.
    fn blobs(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.cache.path().join("models--org--tiny/blobs")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn a_model_arrives_with_only_the_files_that_are_needed() {
    let hub = hub([model()]);
    let snapshot = hub.model().unwrap();

    let needed = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(snapshot.files, needed);
    assert_eq!(hub.server.requested_files(), needed);
    assert_eq!(snapshot.commit, commit("main"));
    assert_eq!(snapshot.origin, Origin::Hub);
    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(fs::read_to_string(snapshot.folder.join("tokenizer.json")).unwrap(), "{\"model\":1}");
}

#[test]
fn the_cache_has_the_layout_of_the_python_library() {
    let hub = hub([model()]);
    let snapshot = hub.model().unwrap();

    let root = hub.cache.path().join("models--org--tiny");
    assert_eq!(snapshot.folder, root.join("snapshots").join(commit("main")));
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), commit("main"));
    assert!(root.join("blobs").join(sha256(&weights())).is_file());
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(snapshot.folder.join("model.safetensors")).unwrap(),
        Path::new("../../blobs").join(sha256(&weights()))
    );
    // The weak etag of a small file is its bare hash.
    assert!(root.join("blobs").join(&sha256(b"{}")[..40]).is_file());
}

#[test]
fn a_second_run_needs_no_server() {
    let mut hub = hub([model()]);
    let first = hub.model().unwrap();
    hub.server.stop();

    let second = hub.model().unwrap();
    assert_eq!(second, Snapshot { origin: Origin::Unanswered, ..first });
}

#[test]
fn a_second_run_asks_only_where_the_branch_is() {
    let hub = hub([model()]);
    hub.model().unwrap();
    let before = hub.server.log().len();

    assert_eq!(hub.model().unwrap().origin, Origin::Hub);
    let paths: Vec<String> = hub.server.log()[before..].iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/api/models/org/tiny/revision/main"]);
}

#[test]
fn a_cached_commit_is_not_asked_for() {
    let hub = hub([model()]);
    let first = hub.model().unwrap();
    let before = hub.server.log().len();

    let second = fetch_model(&hub.config, NAME, Some(&first.commit), &Silent).unwrap();
    assert_eq!(second, first);
    assert_eq!(hub.server.log().len(), before);
}

#[test]
fn a_branch_that_moved_is_followed_and_shares_unchanged_blobs() {
    let hub = hub([model()]);
    hub.model().unwrap();
    let before = hub.server.log().len();
    hub.server.replace(model().file("config.json", "{\"new\":1}").revision("v2"));

    let second = fetch_model(&hub.config, NAME, Some("v2"), &Silent).unwrap();
    assert_eq!(second.commit, commit("v2"));
    assert_eq!(fs::read_to_string(second.folder.join("config.json")).unwrap(), "{\"new\":1}");
    let log = hub.server.log();
    let transfers = log[before..].iter().filter(|request| request.is_transfer() && request.path.contains("storage"));
    assert_eq!(transfers.count(), 0, "the weights did not change");
}

#[test]
fn a_revision_is_a_branch_a_tag_or_a_commit() {
    let hub = hub([model().revision("v1").revision("refs/pr/7")]);
    for revision in ["v1", "refs/pr/7"] {
        let snapshot = fetch_model(&hub.config, NAME, Some(revision), &Silent).unwrap();
        assert_eq!(snapshot.commit, commit(revision));
        let noted = hub.cache.path().join("models--org--tiny/refs").join(revision);
        assert_eq!(fs::read_to_string(noted).unwrap(), commit(revision));
    }
    let snapshot = fetch_model(&hub.config, NAME, Some(&commit("main")), &Silent).unwrap();
    assert_eq!(snapshot.commit, commit("main"));
    let log = hub.server.log();
    assert!(log.iter().any(|request| request.path.ends_with("/revision/refs%2Fpr%2F7")), "{log:?}");
}

#[test]
fn an_unknown_revision_is_named() {
    let hub = hub([model()]);
    let message = fetch_model(&hub.config, NAME, Some("v9"), &Silent).unwrap_err().to_string();
    assert_says(&message, &["model org/tiny has no revision \"v9\"", "404", "/org/tiny/refs"]);
}

#[test]
fn names_and_revisions_that_climb_are_refused_before_any_request() {
    let hub = hub([model()]);
    for name in ["../../etc", "/etc/passwd", "a/b/c", "org\\tiny", "", "org/..", "org/a--b"] {
        let message = fetch_model(&hub.config, name, None, &Silent).unwrap_err().to_string();
        assert_says(&message, &["model name is malformed", "org/name"]);
    }
    for revision in ["../main", "/main", "", "a\\b", "two words"] {
        let message = fetch_model(&hub.config, NAME, Some(revision), &Silent).unwrap_err().to_string();
        assert_says(&message, &["revision of model org/tiny is malformed", "a branch, a tag or a commit"]);
    }
    assert!(hub.server.log().is_empty());
}

#[test]
fn a_gated_model_without_token_says_how_to_get_access() {
    let hub = hub([model().access(Access::Gated)]);
    let page = format!("ask for access at {}/org/tiny", hub.server.endpoint());
    let facts = ["model org/tiny is gated", "401", "no token was sent", &page, "set HF_TOKEN", "/settings/tokens"];
    assert_says(&hub.refusal(), &facts);
    assert!(hub.blobs().is_empty());
}

#[test]
fn a_gated_model_with_a_token_that_may_not_read_says_so() {
    let mut hub = hub([model().access(Access::Gated)]);
    hub.config.token = Some("hf_stranger".to_owned());
    let message = hub.refusal();
    assert_says(&message, &["is gated", "403", "a token was sent", "not in the authorized list", "ask for access at"]);
    assert!(!message.contains("hf_stranger"), "{message}");
}

#[test]
fn a_token_is_sent_to_the_hub_and_not_to_its_file_servers() {
    let mut hub = hub([model().access(Access::Gated)]);
    hub.config.token = Some(READER.to_owned());
    hub.model().unwrap();

    let log = hub.server.log();
    let (storage, own): (Vec<_>, Vec<_>) = log.iter().partition(|request| request.path.starts_with("/storage/"));
    assert!(!storage.is_empty());
    assert!(storage.iter().all(|request| request.header("authorization").is_none()), "{storage:?}");
    assert!(own.iter().all(|request| request.header("authorization") == Some("Bearer hf_reader")), "{own:?}");
    assert!(!format!("{:?}", hub.config).contains(READER));
}

#[test]
fn a_refused_token_is_said_to_be_the_trouble() {
    let mut hub = hub([model()]);
    hub.config.token = Some("expired".to_owned());
    assert_says(
        &hub.refusal(),
        &["Hub token is refused", "401", "Invalid credentials", "/settings/tokens", "HF_TOKEN"],
    );
}

#[test]
fn a_token_that_fits_in_no_header_is_refused_without_being_shown() {
    let mut hub = hub([model()]);
    hub.config.token = Some("hf_se cret\n".to_owned());
    let message = hub.refusal();
    assert_says(&message, &["Hub token is malformed", "HF_TOKEN"]);
    assert!(!message.contains("cret"), "{message}");
}

#[test]
fn a_model_that_is_not_there_may_be_misspelt_or_private() {
    let mut hub = hub([model().access(Access::Private)]);
    let facts = ["model org/tiny does not exist or is private", "check the spelling", "set HF_TOKEN"];
    assert_says(&hub.refusal(), &[&facts[..], &["401", "no token was sent"]].concat());
    hub.config.token = Some("hf_stranger".to_owned());
    assert_says(&hub.refusal(), &[&facts[..], &["404", "a token was sent"]].concat());
    hub.config.token = Some(READER.to_owned());
    hub.model().unwrap();
}

#[test]
fn a_truncated_download_is_retried_and_never_cached() {
    let hub = hub([model()]);
    hub.server.break_transfers("model.safetensors", [Fault::CutAfter(0); 3]);
    let message = hub.refusal();
    assert_says(
        &message,
        &["download of \"model.safetensors\" broke off", "0 of 200000 bytes after 3 tries", "run again"],
    );
    assert!(!hub.blobs().contains(&sha256(&weights())), "{:?}", hub.blobs());
    assert!(!hub.cache.path().join("models--org--tiny/refs/main").exists());

    let snapshot = hub.model().unwrap();
    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_dropped_connection_is_resumed_where_it_broke() {
    let hub = hub([model()]);
    // More breaks than `retries`: each brings something.
    hub.server.break_transfers("model.safetensors", [Fault::CutAfter(50_000); 3]);
    let snapshot = hub.model().unwrap();

    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
    let log = hub.server.log();
    let storage = log.iter().filter(|request| request.is_transfer() && request.path.starts_with("/storage/"));
    let ranges: Vec<Option<&str>> = storage.map(|request| request.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=50000-"), Some("bytes=100000-"), Some("bytes=150000-")]);
    assert!(hub.blobs().iter().all(|name| !name.ends_with(".incomplete")), "{:?}", hub.blobs());
}

#[test]
fn a_later_run_resumes_what_an_earlier_one_left() {
    let hub = hub([model()]);
    hub.server.break_transfers(
        "model.safetensors",
        [[Fault::CutAfter(70_000)].as_slice(), &[Fault::CutAfter(0); 3]].concat(),
    );
    assert_says(&hub.refusal(), &["70000 of 200000 bytes"]);
    hub.server.break_transfers("model.safetensors", []);

    let snapshot = hub.model().unwrap();
    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
    assert!(hub.server.log().iter().any(|request| request.header("range") == Some("bytes=70000-")));
}

#[test]
fn a_spoilt_partial_file_is_noticed_and_fetched_anew() {
    let hub = hub([model()]);
    let blobs = hub.cache.path().join("models--org--tiny/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", sha256(&weights()))), vec![7; 1000]).unwrap();

    let snapshot = hub.model().unwrap();
    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_server_without_ranges_sends_the_file_from_the_start_again() {
    let hub = hub([model()]);
    hub.server.break_transfers("model.safetensors", [Fault::CutAfter(50_000), Fault::IgnoreRange]);
    let snapshot = hub.model().unwrap();
    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_small_file_that_breaks_off_is_fetched_anew_for_no_hash_covers_it() {
    let hub = hub([model()]);
    hub.server.break_transfers("tokenizer.json", [Fault::CutAfter(5)]);
    let snapshot = hub.model().unwrap();
    assert_eq!(fs::read_to_string(snapshot.folder.join("tokenizer.json")).unwrap(), "{\"model\":1}");

    let broken = self::hub([model()]);
    broken.server.break_transfers("tokenizer.json", [Fault::CutAfter(5); 4]);
    assert_says(&broken.refusal(), &["\"tokenizer.json\" broke off", "5 of 11 bytes"]);
    let left = broken.blobs();
    assert!(left.iter().all(|name| !name.ends_with(".incomplete")), "{left:?}");
}

#[test]
fn bytes_that_do_not_have_the_hash_are_never_cached() {
    let hub = hub([model()]);
    hub.server.break_transfers("model.safetensors", [Fault::Garble; 2]);
    let message = hub.refusal();
    assert_says(
        &message,
        &["download of \"model.safetensors\" is corrupt", &sha256(&weights()), "nothing of it was kept"],
    );
    assert!(!hub.blobs().contains(&sha256(&weights())));

    hub.server.break_transfers("model.safetensors", [Fault::Garble]);
    let snapshot = hub.model().unwrap();
    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_server_that_is_ill_for_a_moment_is_asked_again() {
    let hub = hub([model()]);
    hub.server.break_transfers("model.safetensors", [Fault::Status(503), Fault::Status(429)]);
    hub.model().unwrap();

    let ill = self::hub([model()]);
    ill.server.break_transfers("model.safetensors", [Fault::Status(503); 3]);
    assert_says(&ill.refusal(), &["Hub failed (status 503", "broken on purpose", "try again later"]);
    ill.server.break_transfers("model.safetensors", [Fault::Status(429); 3]);
    assert_says(&ill.refusal(), &["limits the rate of requests", "429", "HF_TOKEN"]);
}

#[test]
fn a_silent_server_is_not_waited_for_forever() {
    let mut hub = hub([model()]);
    hub.config.timeout = Duration::from_millis(300);
    hub.server.break_transfers("model.safetensors", [Fault::Stall(3_000)]);
    hub.model().unwrap();
}

#[test]
fn an_unreachable_hub_without_cache_is_an_error() {
    let mut hub = hub([model()]);
    hub.server.stop();
    assert_says(&hub.refusal(), &["Hub is unreachable", &hub.config.endpoint, "HF_ENDPOINT", "local folder"]);
}

#[test]
fn offline_uses_the_cache_and_asks_nobody() {
    let mut hub = hub([model()]);
    let first = hub.model().unwrap();
    let before = hub.server.log().len();
    hub.config.network = Network::Offline;

    assert_eq!(hub.model().unwrap(), Snapshot { origin: Origin::Offline, ..first });
    assert_eq!(hub.server.log().len(), before);
}

#[test]
fn offline_names_what_is_missing() {
    let mut hub = hub([sharded(TWO_SHARDS)]);
    hub.config.network = Network::Offline;
    let miss = "model org/tiny is not in the cache (revision \"main\", missing all files";
    assert_says(&hub.refusal(), &[miss, "unset HF_HUB_OFFLINE"]);

    hub.config.network = Network::Online;
    let snapshot = hub.model().unwrap();
    hub.config.network = Network::Offline;
    fs::remove_file(hub.cache.path().join("models--org--tiny/blobs").join(sha256(b"two"))).unwrap();
    assert_says(&hub.refusal(), &["missing model-00002-of-00002.safetensors", "unset HF_HUB_OFFLINE"]);
    fs::remove_file(snapshot.folder.join("model.safetensors.index.json")).unwrap();
    assert_says(&hub.refusal(), &["missing model.safetensors or its shards"]);
    assert!(hub.server.log().iter().all(|request| !request.path.contains("pytorch_model")));

    // A link whose blob is gone does not stand in the way of a new download.
    hub.config.network = Network::Online;
    let again = hub.model().unwrap();
    assert_eq!(fs::read_to_string(again.folder.join("model-00002-of-00002.safetensors")).unwrap(), "two");
}

const TWO_SHARDS: &str = r#"{"metadata":{},"weight_map":{
    "a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}}"#;

#[test]
fn a_sharded_model_arrives_with_the_shards_that_its_index_names() {
    let hub = hub([sharded(TWO_SHARDS)]);
    let snapshot = hub.model().unwrap();
    let needed = [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(snapshot.files, needed);
    assert_eq!(hub.server.requested_files(), needed);
}

#[test]
fn a_shard_name_that_climbs_out_of_the_folder_is_refused() {
    for name in [
        "../evil.safetensors",
        "/etc/evil.safetensors",
        "a/../../evil.safetensors",
        "..\\evil.safetensors",
        "C:evil.safetensors",
    ] {
        let index = serde_json::json!({ "weight_map": { "a": name } }).to_string();
        let hub = hub([sharded(&index)]);
        let message = hub.refusal();
        assert_says(
            &message,
            &["file name of model org/tiny climbs out of its folder", &format!("{name:?}"), "do not trust"],
        );
        assert_eq!(hub.server.requested_files(), ["model.safetensors.index.json"]);
    }
}

#[test]
fn a_malformed_index_is_refused_with_the_reason() {
    let cases = [
        ("not json", "safetensors index of model org/tiny is malformed (expected"),
        ("{}", "it has no object weight_map"),
        (r#"{"weight_map":{}}"#, "its weight_map is empty"),
        (r#"{"weight_map":{"a":1}}"#, "the shard of \"a\" is not a name"),
        (r#"{"weight_map":{"a":"pytorch_model.bin"}}"#, "\"pytorch_model.bin\" is not a safetensors file"),
        (
            r#"{"weight_map":{"a":"other.safetensors"}}"#,
            "lacks shards that its index names (missing other.safetensors)",
        ),
    ];
    for (index, problem) in cases {
        assert_says(&hub([sharded(index)]).refusal(), &[problem]);
    }
}

#[test]
fn a_model_with_only_pickle_weights_says_how_to_convert_them() {
    let hub = hub([Repo::model(NAME).file("config.json", "{}").file("pytorch_model.bin", "pickle")]);
    let facts = ["model org/tiny has only pickle weights (pytorch_model.bin)", "never read", "safe_serialization=True"];
    assert_says(&hub.refusal(), &facts);
    assert!(hub.server.requested_files().is_empty());
}

#[test]
fn a_repository_that_is_no_checkpoint_says_what_it_has() {
    let gguf = hub([Repo::model(NAME).file("tiny.gguf", "gguf")]);
    assert_says(&gguf.refusal(), &["model org/tiny has no config.json (it has tiny.gguf)", "layout of transformers"]);
    let adapter = hub([Repo::model(NAME).file("config.json", "{}").file("adapter_model.safetensors", "lora")]);
    assert_says(&adapter.refusal(), &["has no model.safetensors", "it has adapter_model.safetensors, config.json"]);
}

#[test]
fn a_data_set_gives_the_files_of_its_test_split() {
    let data = Repo::dataset("org/texts")
        .file("README.md", "texts")
        .file("data/test-00000-of-00001.parquet", "test")
        .file("data/train-00000-of-00002.parquet", "train 0")
        .file("data/train-00001-of-00002.parquet", "train 1")
        .file("dataset_infos.json", "{}");
    let mut hub = hub([data]);

    let snapshot = fetch_dataset(&hub.config, "org/texts", None, &Silent).unwrap();
    assert_eq!(snapshot.files, ["data/test-00000-of-00001.parquet"]);
    assert_eq!(hub.server.requested_files(), snapshot.files);
    assert_eq!(snapshot.folder, hub.cache.path().join("datasets--org--texts/snapshots").join(commit("main")));
    assert_eq!(fs::read_to_string(snapshot.folder.join(&snapshot.files[0])).unwrap(), "test");

    let train = fetch_dataset(&hub.config, "org/texts/data/train-", None, &Silent).unwrap();
    assert_eq!(train.files, ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]);

    hub.server.stop();
    let again = fetch_dataset(&hub.config, "org/texts", None, &Silent).unwrap();
    assert_eq!(again, Snapshot { origin: Origin::Unanswered, ..snapshot });
}

#[test]
fn a_data_set_that_is_not_there_or_has_no_data_says_so() {
    let hub = hub([Repo::dataset("org/pictures").file("cat.png", "png")]);
    let fetch = |name| fetch_dataset(&hub.config, name, None, &Silent).unwrap_err().to_string();
    assert_says(
        &fetch("org/pictures"),
        &["data set org/pictures has no data files (it has cat.png)", "parquet, jsonl"],
    );
    assert_says(&fetch("org/nothing"), &["data set org/nothing does not exist or is private"]);
    assert_says(&fetch("org/../x"), &["data set name is malformed"]);
}

#[test]
fn an_empty_file_is_a_file() {
    let hub = hub([Repo::dataset("org/texts").file("empty.txt", "")]);
    let snapshot = fetch_dataset(&hub.config, "org/texts", None, &Silent).unwrap();
    assert_eq!(fs::read(snapshot.folder.join("empty.txt")).unwrap(), b"");
}

/// Sums per file what it is told.
#[derive(Default)]
struct Sums(Mutex<BTreeMap<String, (u64, u64, bool)>>);

impl Progress for Sums {
    fn start(&self, file: &str, bytes: u64) {
        self.0.lock().unwrap().insert(file.to_owned(), (bytes, 0, false));
    }
    fn advance(&self, file: &str, bytes: u64) {
        self.0.lock().unwrap().get_mut(file).unwrap().1 += bytes;
    }
    fn finish(&self, file: &str) {
        self.0.lock().unwrap().get_mut(file).unwrap().2 = true;
    }
}

#[test]
fn progress_adds_up_to_the_size_of_each_file_whatever_happens() {
    let hub = hub([model()]);
    hub.server.break_transfers("model.safetensors", [Fault::CutAfter(50_000), Fault::IgnoreRange]);
    hub.server.break_transfers("tokenizer.json", [Fault::CutAfter(5)]);
    let sums = Sums::default();
    fetch_model(&hub.config, NAME, None, &sums).unwrap();

    let sums = sums.0.into_inner().unwrap();
    assert_eq!(sums.len(), 4);
    assert!(sums.values().all(|&(bytes, sum, finished)| bytes == sum && finished), "{sums:?}");
    assert_eq!(sums["model.safetensors"].0, 200_000);
}

#[test]
fn two_runs_at_once_download_a_blob_once() {
    let hub = hub([model()]);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| hub.model().unwrap())).collect();
        for run in runs {
            let snapshot = run.join().unwrap();
            assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
        }
    });
    let log = hub.server.log();
    let transfers = log.iter().filter(|request| request.is_transfer() && request.path.starts_with("/storage/"));
    assert_eq!(transfers.count(), 1);
}

fn config_of(variables: &[(&str, &str)]) -> Result<HubConfig, HubError> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    HubConfig::from_lookup(|name| variables.get(name).map(|&value| value.to_owned()))
}

#[test]
fn the_environment_is_read_as_the_python_library_reads_it() {
    let plain = config_of(&[("HOME", "/home/me"), ("HF_ENDPOINT", ""), ("HF_TOKEN", " ")]).unwrap();
    assert_eq!(plain.endpoint, "https://huggingface.co");
    assert_eq!(plain.cache, Path::new("/home/me/.cache/huggingface/hub"));
    assert_eq!((plain.token, plain.network), (None, Network::Online));

    let set = config_of(&[
        ("HOME", "/home/me"),
        ("HF_HOME", "~/hf"),
        ("HF_TOKEN", "hf_x\n"),
        ("HF_ENDPOINT", "http://mirror:8080/hub/"),
        ("HF_HUB_OFFLINE", "True"),
    ])
    .unwrap();
    assert_eq!(set.endpoint, "http://mirror:8080/hub");
    assert_eq!(set.cache, Path::new("/home/me/hf/hub"));
    assert_eq!((set.token.as_deref(), set.network), (Some("hf_x"), Network::Offline));

    let cache = |variables: &[(&str, &str)]| config_of(variables).unwrap().cache;
    assert_eq!(cache(&[("HF_HOME", "/a"), ("HF_HUB_CACHE", "/b")]), Path::new("/b"));
    assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
    assert_eq!(config_of(&[("HOME", "/h"), ("HF_HUB_OFFLINE", "0")]).unwrap().network, Network::Online);
}

#[test]
fn the_token_file_is_read_where_no_variable_gives_a_token() {
    let home = TempDir::new().unwrap();
    let path = home.path().to_str().unwrap();
    fs::write(home.path().join("token"), "hf_file\n").unwrap();
    assert_eq!(config_of(&[("HF_HOME", path)]).unwrap().token.as_deref(), Some("hf_file"));
    assert_eq!(config_of(&[("HF_HOME", path), ("HF_TOKEN", "hf_env")]).unwrap().token.as_deref(), Some("hf_env"));
    let other = home.path().join("other");
    fs::write(&other, "hf_other").unwrap();
    let named = config_of(&[("HF_HOME", path), ("HF_TOKEN_PATH", other.to_str().unwrap())]).unwrap();
    assert_eq!(named.token.as_deref(), Some("hf_other"));
}

#[test]
fn an_environment_that_cannot_be_used_is_refused() {
    let message = |variables| config_of(variables).unwrap_err().to_string();
    assert_says(&message(&[]), &["Hub cache has no place", "set HF_HOME"]);
    assert_says(
        &message(&[("HOME", "/h"), ("HF_ENDPOINT", "mirror")]),
        &["\"mirror\"", "set HF_ENDPOINT to https://host"],
    );
    assert_says(&message(&[("HOME", "/h"), ("HF_TOKEN", "two words")]), &["Hub token is malformed"]);
}
