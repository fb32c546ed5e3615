//! What a run will do, for people.

use super::{count, wrapped};
use crate::plan::{MemorySize, Preview, WillCompute};

/// The whole preview.
pub fn render(preview: &Preview) -> String {
    let Preview { read, held, device, dtype, .. } = preview;
    let commit =
        preview.commit.as_deref().map_or_else(String::new, |commit| format!("@{}", &commit[..commit.len().min(8)]));
    let ahead = match held.read_ahead {
        crate::walk::ReadAhead::NextBlock => ", the next block read ahead",
        crate::walk::ReadAhead::Off => "",
    };
    let facts = [
        format!(
            "{}{commit}: {} blocks, {} parameters, {dtype} on {device}",
            preview.model,
            preview.layers,
            count(preview.parameters)
        ),
        format!(
            "read: {} in {} file{}; largest block {}, blocks in all {}",
            MemorySize(read.bytes),
            read.files.len(),
            if read.files.len() == 1 { "" } else { "s" },
            MemorySize(read.largest_block),
            MemorySize(read.blocks_in_all)
        ),
        format!(
            "held: of {} allowed, {} for weights ({}{ahead}), {} for work, {} for streams",
            MemorySize(held.budget),
            MemorySize(held.weights),
            held.residency,
            MemorySize(held.work),
            MemorySize(held.streams)
        ),
    ];
    let walks = preview.walks.iter().map(walk);
    let end = "Nothing was read of the weights; without --plan it is carried out.".to_owned();
    facts.into_iter().chain(walks).chain([end]).map(|fact| wrapped(&fact)).collect()
}

fn walk(walk: &WillCompute) -> String {
    let WillCompute { forecast, .. } = walk;
    format!(
        "computed of {}: {} tokens in {} sequences on {} routes, in {} pass{} ({} chunks × {} lots of routes); {} block evaluations \
         of a token, {} one by one; roughly {:.2} TFLOP",
        walk.of,
        walk.tokens,
        walk.sequences,
        walk.routes,
        forecast.passes(),
        if forecast.passes() == 1 { "" } else { "es" },
        forecast.chunks,
        forecast.route_lots,
        count(forecast.work.done / 2),
        count(forecast.work.one_by_one / 2),
        walk.flops / 1e12
    )
}
