//! What a task file must and must not have. Every mistake is found before a row is read.

use std::collections::BTreeMap;

use toml::Spanned;

use super::{Kind, Metric, TaskError, TaskFile, form::Form, formula::environment};

impl Kind {
    /// Keys that it needs.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Choice => &["prompt", "options", "gold"],
            Self::Contexts => &["options", "target", "gold"],
            Self::Continuation => &["prompt", "target"],
            Self::Text => &["text"],
        }
    }

    const fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Choice => &[Metric::Acc, Metric::AccNorm],
            // Its continuations are all the same: there is nothing to normalise.
            Self::Contexts => &[Metric::Acc],
            Self::Continuation => &[Metric::Acc, Metric::Perplexity],
            Self::Text => {
                &[Metric::WordPerplexity, Metric::BytePerplexity, Metric::BitsPerByte, Metric::TokenPerplexity]
            }
        }
    }
}

impl TaskFile {
    /// The keys that say what is asked, with what they say.
    fn keys(&self) -> [(&'static str, Option<&Spanned<String>>); 6] {
        [
            ("prompt", self.prompt.as_ref()),
            ("options", self.options.as_ref()),
            ("gold", self.gold.as_ref()),
            ("target", self.target.as_ref()),
            ("text", self.text.as_ref()),
            ("original", self.original.as_ref()),
        ]
    }

    pub(super) fn invalid(&self, line: Option<usize>, problem: String) -> TaskError {
        let at = line.map_or_else(|| self.at.clone(), |line| format!("{}:{line}", self.at));
        TaskError::Invalid { at, problem }
    }

    /// Refuses what cannot be asked.
    pub(super) fn check(&self) -> Result<(), TaskError> {
        self.check_keys()?;
        self.check_metrics()?;
        self.check_groups()?;
        if self.generated.is_none() && self.splits.is_empty() {
            return Err(self.invalid(None, "`splits` names none".to_owned()));
        }
        if let Some(hub) = self.hub.as_ref().filter(|hub| !hub.files.contains("{split}")) {
            return Err(self.invalid(None, format!("`hub.files` has no {{split}}: {}", hub.files)));
        }
        if let Some(begin) = self.pages.as_ref().and_then(|pages| pages.begin.as_ref()) {
            regex::Regex::new(begin.get_ref()).map_err(|error| {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.invalid(Some(self.line(begin)), format!("`pages.begin` is no regular expression, {reason}"))
            })?;
        }
        Form::compile(&environment(), self).map(|_| ())
    }

    fn check_keys(&self) -> Result<(), TaskError> {
        let needed = if self.generated.is_some() { &[] } else { self.kind.keys() };
        for (key, value) in self.keys() {
            let kind = self.kind.name();
            let optional = key == "original" && self.kind == Kind::Text;
            match value {
                None if needed.contains(&key) => {
                    return Err(self.invalid(None, format!("kind `{kind}` needs `{key}`")));
                }
                Some(value) if !needed.contains(&key) && !optional => {
                    return Err(
                        self.invalid(Some(self.line(value)), format!("`{key}` means nothing for kind `{kind}`"))
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_metrics(&self) -> Result<(), TaskError> {
        let (good, kind) = (self.kind.metrics(), self.kind.name());
        let names = || good.iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", ");
        if self.metrics.is_empty() {
            return Err(self.invalid(None, format!("`metrics` names none of {}", names())));
        }
        match self.metrics.iter().find(|metric| !good.contains(metric)) {
            Some(metric) => {
                let problem = format!("kind `{kind}` has no metric {}; it has {}", metric.name(), names());
                Err(self.invalid(None, problem))
            }
            None => Ok(()),
        }
    }

    fn check_groups(&self) -> Result<(), TaskError> {
        if !self.groups.is_empty() && self.subject.is_none() {
            return Err(self.invalid(None, "[groups] needs `subject`".to_owned()));
        }
        let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
        for (group, subjects) in &self.groups {
            for subject in subjects {
                if let Some(other) = groups.insert(subject, group) {
                    let problem = format!("[groups] has {subject} twice, in {other} and in {group}");
                    return Err(self.invalid(None, problem));
                }
            }
        }
        Ok(())
    }
}
