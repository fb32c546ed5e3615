//! The embedding table.

/// `table[ids[i]] += gradient[i]`, row by row in the order of the tokens; `gradient: [ids.len(), width]`.
pub fn add_rows(table: &mut [f32], ids: &[u32], gradient: &[f32], width: usize) {
    for (&id, gradient) in ids.iter().zip(gradient.chunks_exact(width)) {
        for (sum, &part) in table[id as usize * width..][..width].iter_mut().zip(gradient) {
            *sum += part;
        }
    }
}
