//! What a task file makes of a row.

use minijinja::Environment;
use toml::Spanned;

use super::{Kind, Row, TaskError, TaskFile, TextSize, formula::Formula};

/// The keys of a task file, ready to be used on rows.
pub(super) struct Form<'e, 's> {
    pub file: &'s TaskFile,
    fields: Vec<(&'s str, Formula<'e, 's>)>,
    id: Option<Formula<'e, 's>>,
    subject: Option<Formula<'e, 's>>,
    description: Option<Formula<'e, 's>>,
    prompt: Option<Formula<'e, 's>>,
    options: Option<Formula<'e, 's>>,
    gold: Option<Formula<'e, 's>>,
    target: Option<Formula<'e, 's>>,
    text: Option<Formula<'e, 's>>,
    original: Option<Formula<'e, 's>>,
}

/// What is asked about a row, without what stands before it.
pub(super) enum Asked {
    Choice { prompt: String, options: Vec<String>, gold: usize },
    Contexts { options: Vec<String>, target: String, gold: usize },
    Continuation { prompt: String, target: String },
    Text { text: String, size: TextSize },
}

impl<'e, 's> Form<'e, 's> {
    /// Finds mistakes in templates and expressions that need no row.
    pub fn compile(environment: &'e Environment<'s>, file: &'s TaskFile) -> Result<Self, TaskError> {
        let template = |key, source: &'s Option<Spanned<String>>| {
            source.as_ref().map(|source| Formula::template(environment, file, key, source)).transpose()
        };
        let expression = |key, source: &'s Option<Spanned<String>>| {
            source.as_ref().map(|source| Formula::expression(environment, file, key, source)).transpose()
        };
        let field = |(name, source): (&'s String, &'s Spanned<String>)| {
            Ok((name.as_str(), Formula::expression(environment, file, &format!("fields.{name}"), source)?))
        };
        Ok(Self {
            file,
            fields: file.fields.iter().map(field).collect::<Result<_, TaskError>>()?,
            id: expression("id", &file.id)?,
            subject: expression("subject", &file.subject)?,
            description: template("description", &file.description)?,
            prompt: template("prompt", &file.prompt)?,
            options: expression("options", &file.options)?,
            gold: expression("gold", &file.gold)?,
            target: expression("target", &file.target)?,
            text: expression("text", &file.text)?,
            original: expression("original", &file.original)?,
        })
    }

    /// The row with the columns that it lacks made from those that it has.
    pub fn complete(&self, row: Row) -> Result<Row, TaskError> {
        let absent = self.fields.iter().filter(|(name, _)| !row.has(name));
        let made = absent.map(|(name, formula)| Ok(((*name).to_owned(), formula.value(&row)?)));
        let made = made.collect::<Result<Vec<_>, TaskError>>()?;
        Ok(row.with(made))
    }

    pub fn id(&self, row: &Row) -> Result<Option<String>, TaskError> {
        self.id.as_ref().map(|formula| formula.name(row)).transpose()
    }

    pub fn subject(&self, row: &Row) -> Result<Option<String>, TaskError> {
        self.subject.as_ref().map(|formula| formula.name(row)).transpose()
    }

    pub fn description(&self, row: &Row) -> Result<String, TaskError> {
        Ok(self.description.as_ref().map(|formula| formula.text(row)).transpose()?.unwrap_or_default())
    }

    pub fn asked(&self, row: &Row) -> Result<Asked, TaskError> {
        let prompt = || self.needed(self.prompt.as_ref(), "prompt")?.text(row);
        let target = || self.needed(self.target.as_ref(), "target")?.text(row);
        let options = || self.needed(self.options.as_ref(), "options")?.texts(row);
        Ok(match self.file.kind {
            Kind::Choice => {
                let options = options()?;
                Asked::Choice { prompt: prompt()?, gold: self.gold(row, options.len())?, options }
            }
            Kind::Contexts => {
                let options = options()?;
                Asked::Contexts { target: target()?, gold: self.gold(row, options.len())?, options }
            }
            Kind::Continuation => Asked::Continuation { prompt: prompt()?, target: target()? },
            Kind::Text => {
                let text = self.needed(self.text.as_ref(), "text")?.text(row)?;
                let original = self.original.as_ref().map(|formula| formula.text(row)).transpose()?;
                Asked::Text { size: TextSize::of(original.as_ref().unwrap_or(&text)), text }
            }
        })
    }

    /// The row with its answer, as it stands before a question.
    pub fn example(&self, row: &Row) -> Result<String, TaskError> {
        let delimiter = &self.file.delimiter;
        Ok(match self.asked(row)? {
            Asked::Choice { prompt, options, gold } => format!("{prompt}{delimiter}{}", options[gold]),
            Asked::Contexts { options, target, gold } => format!("{}{delimiter}{target}", options[gold]),
            // Between a prompt and a target with its own blank there are two, as in lm-evaluation-harness.
            Asked::Continuation { prompt, target } => format!("{prompt}{delimiter}{target}"),
            Asked::Text { text, .. } => text,
        })
    }

    fn gold(&self, row: &Row, options: usize) -> Result<usize, TaskError> {
        let formula = self.needed(self.gold.as_ref(), "gold")?;
        let gold = formula.number(row)?;
        let inside = usize::try_from(gold).ok().filter(|&gold| gold < options);
        inside.ok_or_else(|| TaskError::Answer { row: row.at.clone(), gold, options, at: formula.at() })
    }

    fn needed<'f>(&self, formula: Option<&'f Formula<'e, 's>>, key: &str) -> Result<&'f Formula<'e, 's>, TaskError> {
        formula.ok_or_else(|| self.file.invalid(None, format!("`{key}` is missing")))
    }
}
