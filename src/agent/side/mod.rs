//! Model calls that are no reply of the conversation. Its tokens and its next logits stay what they were
//! (law 8).

pub(in crate::agent) mod aside;
