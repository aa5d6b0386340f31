//! The turn: a user's message becomes durable, then tokens, then a stored answer with its receipts.
//! This room joins the others: chat (messages and tokens), session (npast.db), slot (what is decoded).
//! It knows no terminal and no HTTP: callers pass requests in and get events out.
//!
//! The parts, in the order in which they import each other. A part neither imports nor calls what stands
//! below it in this list:
//! 1. `values`: what callers pass in and get back: options, events, receipts, errors.
//! 2. `engine`: model, slot and stores of one process: how they are chosen, tried, opened and shared.
//! 3. `notes`: MEMORY.md and USER.md, the lists that the agent and people edit.
//! 4. `prompt`: the system prompt, built once for a session.
//! 5. `frozen`: what a session fixes at its start, and how messages become tokens under it.
//! 6. `conversation`: what an open conversation is, and how it is read from npast.db.
//! 7. `input`: an input becomes durable messages and tokens, or is withdrawn.
//! 8. `opening`: starting, opening, mending and closing a conversation; one operation on it.
//! 9. `model_call`: one model call: sampled, stored, shown, accounted for.
//! 10. `side`: model calls beside the conversation, which leave it as it was.
//! 11. `tool_calls`: the tools of a session, and running the calls of a reply.
//! 12. `compression`: a conversation near the context's end goes on with a summary of its middle.
//! 13. `turn`: reply, calls, results, reply, until a reply has no call.
//! 14. `branches`: undo, redo, edit, retry, fork; removing a session.
//! 15. `idle`: what is done while nobody waits: compressing, reading ahead, titles, the next session's head.
//! 16. `history`: a client sends its whole conversation: whose it is, and how it is followed.
//!
//! Each folder's `mod.rs` lists its files in the same way. Methods of [`Conversation`] stand in the part
//! that their law belongs to.

mod branches;
mod compression;
mod conversation;
mod engine;
mod frozen;
mod history;
mod idle;
mod input;
mod model_call;
mod notes;
mod opening;
mod prompt;
mod side;
mod tool_calls;
mod turn;
mod values;

pub use branches::fork::fork;
pub use branches::remove::remove;
pub use branches::undo::{behind, redo, undo};
pub use conversation::handle::{Conversation, Mirror};
pub use conversation::names::{BASE, call_handle, key_handle, kv_owner};
pub use engine::fit::demand;
pub use engine::fit_words::words as fit_words;
pub use engine::handle::{Engine, EngineFacts};
pub use engine::pass::{Passes, Rank, SlotPass, Want};
pub use engine::probe;
pub use frozen::cost::{HeadCost, PartCost, cost, vocabulary};
pub use frozen::maker::{Maker, OfferedFormat};
pub use history::beside::{Names, Side};
pub use history::follow::Followed;
pub use history::goes_on::Behind;
pub use history::sent::ClientHistory;
pub use history::whose::{Whose, whose};
pub use idle::recorder::IdleRecorder;
pub use idle::work::{IdleJob, Idled};
pub use model_call::complete::RawPrompt;
pub use notes::edit::Notes;
pub use opening::open::preflight;
pub use prompt::build::{AgentPrompt, PromptPart, PromptSurroundings};
pub use tool_calls::rounds::Budget;
pub use tool_calls::steering::Steering;
pub use tool_calls::temp;
pub use tool_calls::toolset::{CallGate, GatedCall, Toolset};
pub use values::error::{AgentError, ErrorKind};
pub use values::event::{Done, Event, OpenQuestion, Stage};
pub use values::notice::Notice;
pub use values::odds::{Likely, Weighed};
pub use values::options::{
    AgentSetup, CompressOptions, Input, Leeway, NewSession, Options, Policy, TurnOptions,
    WhichSession,
};
pub use values::outcome::{
    CompressStage, Compressed, Info, LastExchange, Pruned, TurnEnd, TurnStop, UndoneTurns,
};
pub use values::receipt::{Milliseconds, MissNote, Receipt, TurnSum};
pub use values::refused::Refused;
