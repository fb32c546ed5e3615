//! Examples for fine-tuning: what is given, what is to be said, and which tokens the loss counts.
//!
//! A line of the file is `{"prompt": …, "response": …}`, put one after the other as they are, or `{"messages": [{"role": …, "content": …}, …]}`,
//! written out by the tokenizer's chat template. Only tokens of responses, and the end of text after the last, are targets.

use std::{ops::Range, path::Path};

use minijinja::{Environment, ErrorKind, context, syntax::SyntaxConfig, value::Serde};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::{CorpusError, files};
use crate::foreign::guarded;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Dialogue {
    /// Text and what follows it.
    Pair {
        /// Given.
        prompt: String,
        /// To be said.
        response: String,
    },
    /// A conversation; what the assistant says is to be said.
    Messages {
        /// In order.
        messages: Vec<Message>,
    },
}

/// A sequence of tokens with those that are to be predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether each of them is part of a response.
    pub said: Vec<bool>,
}

/// The lines of a jsonl file, with their numbers from 1.
///
/// # Errors
/// A file that cannot be read, a line that is no example.
pub fn dialogues(path: &Path) -> Result<Vec<(usize, Dialogue)>, CorpusError> {
    let mut text = String::new();
    let unreadable = |source| CorpusError::Unreadable { path: path.to_owned(), source };
    std::io::Read::read_to_string(&mut files::open(path)?, &mut text).map_err(unreadable)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let dialogues = lines.map(|(index, line)| {
        let invalid = |reason: String| CorpusError::Dialogue { path: path.to_owned(), line: index + 1, reason };
        let value: serde_json::Value = serde_json::from_str(line).map_err(|error| invalid(error.to_string()))?;
        let dialogue = serde_json::from_value(value).map_err(|_| {
            invalid("neither `prompt` and `response` nor `messages` with `role` and `content`".to_owned())
        })?;
        Ok((index + 1, dialogue))
    });
    let dialogues: Vec<_> = dialogues.collect::<Result<_, CorpusError>>()?;
    if dialogues.is_empty() {
        let reason = "it has no line".to_owned();
        return Err(CorpusError::Dialogue { path: path.to_owned(), line: 1, reason });
    }
    Ok(dialogues)
}

/// Tokenises a file of dialogues.
///
/// # Errors
/// What [`dialogues`] refuses; conversations without a chat template, or that it cannot write; an example without a response.
pub fn examples(
    path: &Path,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    end_of_text: Option<u32>,
) -> Result<Vec<Example>, CorpusError> {
    let mut tokenizer = tokenizer.clone();
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| CorpusError::Tokenizer { document: 0, reason: error.to_string() })?;
    dialogues(path)?
        .par_iter()
        .map(|(line, dialogue)| {
            let written = match dialogue {
                Dialogue::Pair { prompt, response } => Ok(pair(prompt, response)),
                Dialogue::Messages { messages } => match template {
                    Some(template) => template.write(messages),
                    None => Err("`messages` need a chat template, and the model's folder has none".to_owned()),
                },
            };
            let example = written.and_then(|written| encode(&written, &tokenizer, end_of_text));
            example.map_err(|reason| CorpusError::Dialogue { path: path.to_owned(), line: *line, reason })
        })
        .collect()
}

/// Text with the responses in it, as ranges of bytes.
struct Written {
    text: String,
    said: Vec<Range<usize>>,
    /// Whether the tokenizer adds its special tokens, or the template has written them.
    special: bool,
}

fn pair(prompt: &str, response: &str) -> Written {
    let said = prompt.len()..prompt.len() + response.len();
    Written { text: format!("{prompt}{response}"), said: Vec::from([said]), special: true }
}

fn encode(written: &Written, tokenizer: &Tokenizer, end_of_text: Option<u32>) -> Result<Example, String> {
    let encoding = guarded(|| tokenizer.encode(written.text.as_str(), written.special))?;
    let encoding = encoding.map_err(|error| error.to_string())?;
    let special = encoding.get_special_tokens_mask();
    // A token that reaches from before a response into it (a blank and the first word) is part of it: without it, the first word would not
    // be learned.
    let part_of = |&(start, end): &(usize, usize)| {
        end > start && written.said.iter().any(|range| end > range.start && end <= range.end)
    };
    let mut ids = encoding.get_ids().to_vec();
    // What the tokenizer adds has no place in the text; what the template wrote has.
    let mut said: Vec<bool> = encoding
        .get_offsets()
        .iter()
        .zip(special)
        .map(|(offsets, &special)| part_of(offsets) && !(written.special && special == 1))
        .collect();
    if let Some(end) = end_of_text.filter(|_| written.special) {
        if ids.last() == Some(&end) {
            said.pop();
            ids.pop();
        }
        ids.push(end);
        said.push(true);
    }
    if written.said.iter().all(Range::is_empty) {
        return Err("it has no response".to_owned());
    }
    Ok(Example { ids, said })
}

/// A tokenizer's chat template (Jinja), with the tokens that it may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    /// The template.
    pub source: String,
    /// What stands before a conversation.
    pub bos_token: String,
    /// What ends a turn.
    pub eos_token: String,
}

impl ChatTemplate {
    /// That of a `tokenizer_config.json`; of several, the one called `default`.
    #[must_use]
    pub fn of(config: &serde_json::Value) -> Option<Self> {
        let named = |list: &Vec<serde_json::Value>| {
            let template = list.iter().find(|template| template["name"] == "default")?;
            template["template"].as_str().map(str::to_owned)
        };
        let template = &config["chat_template"];
        let source = template.as_str().map(str::to_owned).or_else(|| template.as_array().and_then(named))?;
        let token = |name: &str| {
            let token = &config[name];
            token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().to_owned()
        };
        Some(Self { source, bos_token: token("bos_token"), eos_token: token("eos_token") })
    }

    /// The conversation, with each assistant's message as what it adds to the conversation before it and the header of its turn.
    fn write(&self, messages: &[Message]) -> Result<Written, String> {
        let mut said = Vec::new();
        let text = self.render(messages, false)?;
        for (place, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let (before, with) = (self.render(&messages[..place], true)?, self.render(&messages[..=place], false)?);
            if !with.starts_with(&before) || !text.starts_with(&with) {
                return Err("the chat template writes a message otherwise when others follow".to_owned());
            }
            said.push(before.len()..with.len());
        }
        Ok(Written { text, said, special: false })
    }

    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, String> {
        let mut environment = Environment::new();
        // As transformers sets it.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| error.to_string())?);
        // Templates are written for Python's Jinja: `.strip()`, `.items()` and the like.
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let Self { source, bos_token, eos_token } = self;
        let rendered = environment
            .render_str(source, context! { messages => Serde(messages), add_generation_prompt, bos_token, eos_token });
        rendered.map_err(|error| format!("the chat template refuses it: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_bytes(crate::corpus::builtin::TOKENIZER).unwrap()
    }

    fn read(lines: &str, template: Option<&str>) -> Result<Vec<Example>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, lines).unwrap();
        let config =
            serde_json::json!({ "chat_template": template, "bos_token": { "content": "<s>" }, "eos_token": " ;" });
        examples(&path, &tokenizer(), ChatTemplate::of(&config).as_ref(), Some(0)).map_err(|error| error.to_string())
    }

    fn told(example: &Example) -> String {
        let ids: Vec<u32> =
            example.ids.iter().zip(&example.said).filter(|(_, said)| **said).map(|(id, _)| *id).collect();
        tokenizer().decode(&ids, false).unwrap()
    }

    #[test]
    fn only_the_response_and_the_end_are_said() {
        let line = r#"{"prompt": "Where is Anna? Anna is in the", "response": " mill."}"#;
        let example = read(line, None).unwrap().remove(0);
        let end = tokenizer().id_to_token(0).unwrap();
        assert_eq!(told(&example), format!(" mill.{end}"));
        assert_eq!(example.ids[0], 1, "begins as every text does");
        assert_eq!(example.said.iter().filter(|said| **said).count(), 3);
    }

    const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '[' + message['role'] + '] ' + message.content.strip() + eos_token }}\
                            {% endfor %}{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}";

    #[test]
    fn every_turn_of_the_assistant_is_said_and_no_other() {
        let line =
            r#"{"messages": [{"role": "user", "content": "Who has it? "}, {"role": "assistant", "content": "Ben"},
            {"role": "user", "content": "And the cup?"}, {"role": "assistant", "content": "Anna"}]}"#
                .replace('\n', " ");
        let example = read(&line, Some(TEMPLATE)).unwrap().remove(0);
        assert_eq!(told(&example), " Ben ; Anna ;");
        let whole = tokenizer().decode(&example.ids, false).unwrap();
        assert_eq!(whole, "<s>[user] Who has it? ;[assistant] Ben ;[user] And the cup? ;[assistant] Anna ;");
        assert_eq!(example.ids.iter().filter(|id| **id == 1).count(), 1, "the template's beginning alone");
    }

    #[test]
    fn what_is_no_example_is_refused_with_its_line() {
        let good = r#"{"prompt": "a", "response": "b"}"#;
        for (lines, template, facts) in [
            (format!("{good}\n{{\"prompt\": \"a\"}}"), None, ["line 2", "response"]),
            (format!("{good}\n\nnot json"), None, ["line 3", "expected"]),
            (r#"{"prompt": "a", "response": ""}"#.to_owned(), None, ["line 1", "no response"]),
            (
                r#"{"messages": [{"role": "user", "content": "a"}]}"#.to_owned(),
                Some(TEMPLATE),
                ["line 1", "no response"],
            ),
            (r#"{"messages": []}"#.to_owned(), None, ["line 1", "chat template"]),
            (r#"{"messages": []}"#.to_owned(), Some("{{ raise_exception('no messages') }}"), ["line 1", "no messages"]),
            (String::new(), None, ["line 1", "no line"]),
        ] {
            let error = read(&lines, template).unwrap_err();
            assert!(facts.iter().all(|fact| error.contains(fact)), "{error}");
        }
    }
}
