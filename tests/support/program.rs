//! Runs the program as a user does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::random_model::{self, Edit, Shape};

/// What a run said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Outcome {
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Exit code 2, nothing on stdout, and one message: `error: …` with every one of `facts`, no panic, no backtrace.
    #[track_caller]
    pub fn failed_with(self, facts: &[&str]) -> Self {
        assert_eq!(self.code, Some(2), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        self.says(facts)
    }

    #[track_caller]
    pub fn says(self, facts: &[&str]) -> Self {
        for fact in facts {
            assert!(self.stderr.contains(fact), "`{fact}` is not in: {}", self.stderr);
        }
        for never in ["panicked", "backtrace", "   0: ", "\n\n\n"] {
            assert!(!self.stderr.contains(never), "{}", self.stderr);
        }
        self
    }
}

/// A folder for one test, in which the program runs: `model` with a checkpoint, `tokens.json`, and whatever the test adds.
pub struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A tiny random model and four sequences of random tokens.
    pub fn new() -> Self {
        Self::with(Shape::TINY, &|_, _| ())
    }

    pub fn with(shape: Shape, edit: Edit) -> Self {
        let desk = Self::empty();
        std::fs::create_dir(desk.path("model")).unwrap();
        random_model::write(&desk.path("model"), shape, 7, edit);
        desk.tokens(&random_model::sequences(&[12, 5, 9, 16], shape.vocab, 3));
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn tokens(&self, sequences: &[Vec<u32>]) {
        self.write("tokens.json", serde_json::to_string(sequences).unwrap());
    }

    /// Changes fields of the model's configuration; null takes a field away.
    pub fn configure(&self, changes: &serde_json::Value) {
        let mut config = super::json(&self.path("model/config.json"));
        for (field, value) in changes.as_object().unwrap() {
            match value {
                serde_json::Value::Null => drop(config.as_object_mut().unwrap().remove(field)),
                value => config[field] = value.clone(),
            }
        }
        self.write("model/config.json", config.to_string());
    }

    pub fn json(&self, name: &str) -> serde_json::Value {
        super::json(&self.path(name))
    }

    /// Everything in the folder, hidden files too, relative and sorted.
    pub fn files(&self) -> Vec<String> {
        fn visit(root: &Path, folder: &Path, files: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                if path.is_dir() {
                    visit(root, &path, files);
                }
            }
        }
        let mut files = Vec::new();
        visit(self.folder.path(), self.folder.path(), &mut files);
        files.sort();
        files
    }

    /// The program, away from the user's Hub, and with backtraces wanted, so that none can hide.
    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_depthscope"));
        self.prepare(&mut command);
        command
    }

    pub fn prepare(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).env("RUST_BACKTRACE", "1");
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("no-hub"));
        command.env("DEPTHSCOPE_CACHE", self.path(".cache"));
        command.env_remove("HF_HUB_CACHE").env_remove("HF_TOKEN").env_remove("HF_ENDPOINT");
    }

    /// Runs it with these arguments, separated by spaces.
    pub fn run(&self, arguments: &str) -> Outcome {
        self.program().args(arguments.split_whitespace()).output().unwrap().into()
    }

    /// The same with `--model model --tokens tokens.json`.
    pub fn measure(&self, arguments: &str) -> Outcome {
        let (verb, rest) = arguments.split_once(' ').unwrap_or((arguments, ""));
        self.run(&format!("{verb} --model model --tokens tokens.json {rest}"))
    }

    /// The same, which fails with these facts and leaves nothing behind.
    #[track_caller]
    pub fn refuses(&self, arguments: &str, facts: &[&str]) {
        self.leaves_nothing(|| self.measure(arguments).failed_with(facts));
    }

    #[track_caller]
    pub fn leaves_nothing<T>(&self, run: impl FnOnce() -> T) -> T {
        let before = self.files();
        let outcome = run();
        assert_eq!(self.files(), before);
        outcome
    }
}
