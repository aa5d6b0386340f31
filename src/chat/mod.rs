//! (under construction)
/// stand-in
#[derive(Clone, Debug)]
pub struct Message;
