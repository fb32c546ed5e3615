//! The name of a repository, and where that puts it on the Hub and in the cache.

use std::path::{Component, Path};

use hf_hub::{Repo, RepoType};

use super::HubError;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Dataset,
}

impl Kind {
    const fn noun(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        }
    }
}

/// A checked name at a checked revision.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    kind: Kind,
    name: String,
    revision: String,
}

impl Repository {
    pub fn new(kind: Kind, name: &str, revision: Option<&str>) -> Result<Self, HubError> {
        if let Some(problem) = name_problem(name) {
            return Err(HubError::BadName { kind: kind.noun(), name: name.to_owned(), problem });
        }
        let revision = revision.unwrap_or("main");
        let repository = Self { kind, name: name.to_owned(), revision: revision.to_owned() };
        // The revision becomes a path in the cache's `refs`.
        if !stays_inside(revision) || revision.contains(char::is_whitespace) {
            return Err(HubError::BadRevision { repo: repository.shown(), revision: revision.to_owned() });
        }
        Ok(repository)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// `model org/name`, as errors say it.
    pub fn shown(&self) -> String {
        format!("{} {}", self.kind.noun(), self.name)
    }

    /// A full commit never moves, so that the cache needs no confirmation.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }

    /// The same repository in the words of hf-hub, which knows the layout of the cache.
    pub fn layout(&self) -> Repo {
        let kind = match self.kind {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.name.clone(), kind, self.revision.clone())
    }

    /// The page that a person would open.
    pub fn page(&self, endpoint: &str) -> String {
        format!("{endpoint}/{}", self.layout().url())
    }

    /// Tells the commit of the revision, and its files.
    pub fn listing_url(&self, endpoint: &str) -> String {
        let kind = match self.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        format!("{endpoint}/api/{kind}/{}/revision/{}", self.name, escape(&self.revision, ""))
    }

    /// The file at a commit: all files of a run come from one, even when the branch moves meanwhile.
    pub fn file_url(&self, endpoint: &str, commit: &str, file: &str) -> String {
        format!("{endpoint}/{}/resolve/{commit}/{}", self.layout().url(), escape(file, "/"))
    }
}

/// The Hub's own rules; `--` is what the cache writes for `/`.
fn name_problem(name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 {
        return Some("more than one slash");
    }
    for part in parts {
        if part.is_empty() || part.len() > 96 {
            return Some("an empty or overlong part");
        }
        if !part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Some("characters other than letters, digits, '-', '_' and '.'");
        }
        if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) || part.contains("--") || part.contains("..") {
            return Some("'-' or '.' at an end or doubled");
        }
    }
    None
}

/// Whether a relative path can only lead downwards, on any system.
pub(super) fn stays_inside(path: &str) -> bool {
    let normal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    // `a//b` and `a/./b` are silently cleaned by `components`, but are not names that a Hub has.
    let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    normal && plain && !path.contains(['\\', ':']) && !path.contains(char::is_control)
}

/// Whether this is a full commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Percent-encodes all but the unreserved characters and `keep`.
fn escape(text: &str, keep: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = char::from(byte);
        if plain.is_ascii_alphanumeric() || "-_.~".contains(plain) || keep.contains(plain) {
            escaped.push(plain);
        } else {
            let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
            escaped.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_hub() {
        for good in ["gpt2", "org/name", "Qwen/Qwen2.5-0.5B", "a_b/c.d-e"] {
            assert_eq!(name_problem(good), None, "{good}");
        }
        for bad in ["", "/", "a/b/c", "../x", "a/..", "a/b--c", "a b/c", "a/b?", "-a/b", "a/b."] {
            assert!(name_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn only_descending_paths_stay_inside() {
        for good in ["model.safetensors", "data/en/x.parquet", "refs/pr/1", "a..b"] {
            assert!(stays_inside(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a\\..\\b", "C:x", "a/", "a\nb"] {
            assert!(!stays_inside(bad), "{bad}");
        }
    }

    #[test]
    fn urls_escape_what_has_a_meaning_in_urls() {
        let repository = Repository::new(Kind::Dataset, "org/name", Some("refs/pr/1")).expect("a good name");
        assert_eq!(repository.listing_url("https://hub"), "https://hub/api/datasets/org/name/revision/refs%2Fpr%2F1");
        assert_eq!(
            repository.file_url("https://hub", "c0", "a b/ü#1?.txt"),
            "https://hub/datasets/org/name/resolve/c0/a%20b/%C3%BC%231%3F.txt"
        );
    }
}
