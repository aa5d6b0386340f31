//! An input becomes durable messages and tokens (laws 1 and 5), or is withdrawn.
//!
//! In the order in which these files import each other:
//! - `appended`: what an input became, and what it replaced.
//! - `unanswered`: calls of the last reply that have no result, and what stands for a missing result.
//! - `results`: results in call order, complete.
//! - `tokens`: the tokens of new messages, and where they go.
//! - `append`: the checks and the one transaction.
//! - `withdraw`: takes an input back before a token was sampled.

pub(in crate::agent) mod append;
pub(in crate::agent) mod appended;
pub(in crate::agent) mod results;
pub(in crate::agent) mod tokens;
pub(in crate::agent) mod unanswered;
pub(in crate::agent) mod withdraw;
