//! One model call on the conversation: what is sampled is stored, then shown, then accounted for.

pub(in crate::agent) mod answer;
pub(in crate::agent) mod coming;
pub(in crate::agent) mod reason;
pub(in crate::agent) mod record;
