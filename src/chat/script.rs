//! x
use super::Message;
use crate::ledger::Finish;
/// x
pub struct Script;
/// x
pub enum Prepared {
    /// x
    Text(String),
    /// x
    Message(Box<Message>),
}
/// x
pub struct Line {
    /// x
    pub reply: Prepared,
    /// x
    pub finish: Option<Finish>,
}
impl Script {
/// x
pub fn parse(_: &str) -> Result<Script, String> { Err(String::new()) }
    /// x
    pub fn next_main(&mut self) -> Result<Line, String> {
        Err(String::new())
    }
}
