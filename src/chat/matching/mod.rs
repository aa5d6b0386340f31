//! The history that a client sends, compared with what is stored. Pure.
//!
//! - `rules`, `blocks`, `overlooked`: what of a changed head may be overlooked.
//! - `values`: when two texts or JSON values count as the same.
//! - `tools`: lists of tools, compared as sets.
//! - `pins`: whether the pinned head of a conversation may stay.
//! - `said`, `chain`, `check`: a history in the form in which histories are compared; its digest; what no
//!   conversation can be.
//! - `same`: how far two histories are the same.
//! - `beside`: whether a request stands beside the conversations, such as a title.

pub mod beside;
mod blocks;
mod chain;
mod check;
mod overlooked;
pub mod pins;
mod rules;
mod said;
pub mod same;
mod tools;
mod values;
