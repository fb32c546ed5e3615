//! Templates and expressions of task files, with errors that name their place.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use minijinja::{
    Environment, Error, ErrorKind, Expression, Template, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Serde, ValueKind},
};
use regex::Regex;
use toml::Spanned;

use super::{Row, TaskError, TaskFile};

/// Jinja as lm-evaluation-harness sets it: what is undefined is an error, and a line break at the end stays.
pub(super) fn environment<'s>() -> Environment<'s> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Delimiters are the usual ones, which no builder refuses.
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    // Its templates are written for Python's Jinja: `.strip()`, `.split()` and the like.
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("index", index);
    // The same pattern meets every row.
    let known: Arc<Mutex<BTreeMap<String, Regex>>> = Arc::default();
    environment.add_filter("regex_replace", move |text: &str, pattern: &str, replacement: &str| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(pattern) {
            let regex = Regex::new(pattern)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("no regular expression: {error}")))?;
            known.insert(pattern.to_owned(), regex);
        }
        let regex = known.get(pattern).ok_or_else(|| Error::from(ErrorKind::InvalidOperation))?;
        Ok::<_, Error>(regex.replace_all(text, replacement).into_owned())
    });
    environment
}

/// The place of a value in a list, or -1: an answer that names no option is then outside the options.
fn index(Serde(list): Serde<Vec<serde_json::Value>>, Serde(value): Serde<serde_json::Value>) -> i64 {
    list.iter().position(|item| *item == value).and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)
}

enum Code<'e, 's> {
    Template(Template<'e, 's>),
    Expression(Expression<'e, 's>),
}

/// One key of a task file, ready to be used on rows.
pub(super) struct Formula<'e, 's> {
    key: String,
    file: &'s TaskFile,
    /// Where its text begins.
    line: usize,
    code: Code<'e, 's>,
}

impl<'e, 's> Formula<'e, 's> {
    /// Text with holes.
    pub fn template(
        environment: &'e Environment<'s>,
        file: &'s TaskFile,
        key: &str,
        source: &'s Spanned<String>,
    ) -> Result<Self, TaskError> {
        Self::compiled(file, key, source, environment.template_from_str(source.get_ref()).map(Code::Template))
    }

    /// A value.
    pub fn expression(
        environment: &'e Environment<'s>,
        file: &'s TaskFile,
        key: &str,
        source: &'s Spanned<String>,
    ) -> Result<Self, TaskError> {
        Self::compiled(file, key, source, environment.compile_expression(source.get_ref()).map(Code::Expression))
    }

    fn compiled(
        file: &'s TaskFile,
        key: &str,
        source: &Spanned<String>,
        code: Result<Code<'e, 's>, Error>,
    ) -> Result<Self, TaskError> {
        let line = file.line(source);
        match code {
            Ok(code) => Ok(Self { key: key.to_owned(), file, line, code }),
            Err(error) => Err(failed(&place(file, line, &error), key, &error, None)),
        }
    }

    /// Where it is, for errors.
    pub fn at(&self) -> String {
        format!("{}:{}", self.file.at, self.line)
    }

    /// What it is for this row, as text.
    pub fn text(&self, row: &Row) -> Result<String, TaskError> {
        match &self.code {
            Code::Template(template) => template.render(row.context()).map_err(|error| self.error(&error, row)),
            Code::Expression(_) => {
                let value = self.value(row)?;
                value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(row, &value, "text"))
            }
        }
    }

    /// What it is for this row: a number or a text, as text.
    pub fn name(&self, row: &Row) -> Result<String, TaskError> {
        let value = self.value(row)?;
        let good = value.as_str().is_some() || value.is_number();
        if good { Ok(value.to_string()) } else { Err(self.wrong(row, &value, "text or a number")) }
    }

    /// A whole number.
    pub fn number(&self, row: &Row) -> Result<i64, TaskError> {
        let value = self.value(row)?;
        let number = if value.is_number() { value.as_i64() } else { None };
        number.ok_or_else(|| self.wrong(row, &value, "a whole number"))
    }

    /// A list of texts.
    pub fn texts(&self, row: &Row) -> Result<Vec<String>, TaskError> {
        let value = self.value(row)?;
        let wrong = || self.wrong(row, &value, "a list of texts, at least one");
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return Err(wrong());
        }
        let items: Vec<Value> = value.try_iter().map_err(|error| self.error(&error, row))?.collect();
        // A list may hold what is undefined without an error of the engine.
        if items.iter().any(Value::is_undefined) {
            return Err(self.error(&Error::from(ErrorKind::UndefinedError), row));
        }
        let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        texts.filter(|texts| !texts.is_empty()).ok_or_else(wrong)
    }

    /// What it is for this row.
    pub fn value(&self, row: &Row) -> Result<Value, TaskError> {
        let Code::Expression(expression) = &self.code else { return Ok(Value::from(self.text(row)?)) };
        let value = expression.eval(row.context()).map_err(|error| self.error(&error, row))?;
        if value.is_undefined() {
            return Err(self.error(&Error::from(ErrorKind::UndefinedError), row));
        }
        Ok(value)
    }

    fn error(&self, error: &Error, row: &Row) -> TaskError {
        let read = match &self.code {
            Code::Template(template) => template.undeclared_variables(false),
            Code::Expression(expression) => expression.undeclared_variables(false),
        };
        let absent = read.into_iter().filter(|name| !row.has(name)).min();
        match absent.filter(|_| error.kind() == ErrorKind::UndefinedError) {
            Some(column) => TaskError::MissingColumn {
                column,
                key: self.key.clone(),
                at: self.at(),
                row: row.at.clone(),
                present: row.columns(),
            },
            None => failed(&place(self.file, self.line, error), &self.key, error, Some(&row.at)),
        }
    }

    fn wrong(&self, row: &Row, value: &Value, wanted: &'static str) -> TaskError {
        let mut found = format!("{} {value}", value.kind());
        if let Some((end, _)) = found.char_indices().nth(60) {
            found.truncate(end);
            found.push('…');
        }
        TaskError::Value { at: self.at(), key: self.key.clone(), found, wanted, row: row.at.clone() }
    }
}

/// The engine counts lines from the beginning of the template.
fn place(file: &TaskFile, line: usize, error: &Error) -> String {
    format!("{}:{}", file.at, line + error.line().unwrap_or(1).saturating_sub(1))
}

fn failed(at: &str, key: &str, error: &Error, row: Option<&str>) -> TaskError {
    let kind = error.kind().to_string();
    let reason = error.detail().map_or(kind.clone(), |detail| format!("{kind}: {detail}"));
    TaskError::Template { at: at.to_owned(), key: key.to_owned(), reason, row: row.map(str::to_owned) }
}
