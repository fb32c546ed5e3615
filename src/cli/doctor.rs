//! `depthscope doctor`.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;

use super::{CHECK_FAILED, DONE, args::Format, output::print};
use crate::plan::{Checkup, Folder, MemorySize, Presence, Problem, checkup};

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

pub fn run(args: &DoctorArgs) -> Result<u8> {
    let found = checkup();
    match args.format {
        Format::Json => print(&(serde_json::to_string_pretty(&found)? + "\n"))?,
        Format::Table => print(&render(&found)?)?,
    }
    Ok(if found.problems.iter().any(Problem::is_serious) { CHECK_FAILED } else { DONE })
}

fn render(found: &Checkup) -> Result<String> {
    let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut text = String::new();
    writeln!(text, "depthscope {} for {}, features: {}", found.version, found.target, list(&found.features))?;
    writeln!(text, "threads     {}, instructions: {}", found.threads, list(&found.instructions))?;
    for device in &found.devices {
        writeln!(text, "device      {}, --memory is {} by default", device.device, MemorySize(device.memory))?;
    }
    if let Some(cache) = &found.cache {
        writeln!(text, "Hub cache   {}", folder(cache))?;
    }
    let token = match found.token {
        Presence::Present => "there",
        Presence::Absent => "none; gated and private models need HF_TOKEN",
    };
    writeln!(text, "Hub token   {token}{}", if found.offline { "; HF_HUB_OFFLINE is set" } else { "" })?;
    writeln!(text, "temporary   {}", folder(&found.temporary))?;
    for problem in &found.problems {
        writeln!(text, "problem: {problem}")?;
    }
    if found.problems.is_empty() {
        writeln!(text, "Nothing to fix.")?;
    }
    Ok(text)
}

fn folder(folder: &Folder) -> String {
    let size = folder.bytes.map_or_else(String::new, |bytes| format!(", {}", MemorySize(bytes)));
    let writable = if folder.writable { "writable" } else { "NOT writable" };
    format!("{}{size}, {writable}", folder.path.display())
}
