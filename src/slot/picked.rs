//! The logits of a sample: a few of a row's, always the same ones.

/// Logits of a sample, spread evenly over the vocabulary: 1 KiB.
const LOGITS: usize = 256;

/// A row's logits at the sampled ids.
pub(super) fn picked(row: &[f32]) -> Vec<f32> {
    let n = row.len().min(LOGITS);
    (0..n).map(|i| row[i * row.len() / n]).collect()
}
