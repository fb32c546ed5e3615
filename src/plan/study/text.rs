//! The text of a study, and the tokenizer that is learned from it once.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{StudyError, StudyPlan};
use crate::{
    corpus,
    files::write_atomically,
    plan::{
        Warning, input,
        train_text::{read_tokenizer, tokenizer_bytes, train_tokenizer},
    },
    source::hub,
};

/// The text of a study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextFacts {
    /// SHA-256 of its files.
    pub sha256: String,
    /// The tokenizer learned from it.
    #[serde(skip)]
    pub tokenizer: PathBuf,
    /// Its number of tokens: fewer than the study says where the text has no more to learn from.
    pub vocab: usize,
}

/// What a study's folder remembers: another text under the same name would go unnoticed.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    sha256: String,
    field: String,
    vocab: usize,
}

/// Makes sure that the text is the one that the study was begun on, and learns the tokenizer if it is not there.
pub(super) fn prepare(
    plan: &StudyPlan,
    downloads: &dyn hub::Progress,
    warn: &mut Vec<Warning>,
) -> Result<TextFacts, StudyError> {
    let paths = input::paths(&plan.text, downloads, warn)?;
    let sha256 = corpus::content_hash(&paths)?;
    let now = Begun { sha256: sha256.clone(), field: plan.field.clone(), vocab: plan.study.vocab };
    let path = plan.out.join("text.json");
    if path.exists() {
        let unreadable = |problem: String| StudyError::Unreadable { path: path.clone(), problem };
        let text = fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
        let begun: Begun = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let differs = [
            ("text", begun.sha256 != now.sha256),
            ("text field", begun.field != now.field),
            ("vocab", begun.vocab != now.vocab),
        ];
        if let Some((what, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            return Err(StudyError::OtherText { out: plan.out.clone(), what });
        }
    } else {
        let text = serde_json::to_vec(&now).unwrap_or_default();
        write_atomically(&path, |file| std::io::Write::write_all(file, &text))?;
    }
    let tokenizer = plan.out.join("tokenizer.json");
    let refused = |error| StudyError::Tokenizer(Box::new(error));
    if !tokenizer.exists() {
        train_tokenizer(&plan.text, &plan.field, plan.study.vocab, &tokenizer, downloads, warn).map_err(refused)?;
    }
    let bytes = tokenizer_bytes(&tokenizer).map_err(refused)?;
    let vocab = read_tokenizer(&bytes).map_err(refused)?.get_vocab_size(true);
    Ok(TextFacts { sha256, tokenizer, vocab })
}
