//! What a model can do besides writing: one file per tool, one registry, a stable order. This room
//! runs calls and returns their results; it knows no model, no session and no terminal. The room
//! `approve` decides who may call what, by [`Tool::effect`] and [`Tool::subject`]; what tools need of the
//! agent (memory, plan, search of the past) is the trait [`ToolHost`].
//!
//! - `registry`: the tools of a session, their JSON, the one way to run them.
//! - `schema`: a tool's schema in the form that templates, grammars and `check` can use.
//! - `check`: arguments against a schema, errors as sentences for the model.
//! - `coerce`: arguments of another type, where one reading is possible.
//! - `host`: the trait, and what passes through it.
//! - `command`: what a command line would run, and the hard list.
//! - `read_file`, `write_file`, `edit_file` (and `nearest`: what is there instead), `list`, `search`,
//!   `todo`, `memory`, `session_search`: a tool each.
//! - `place`: where a path really leads, and opening exactly that; `walk`: folders as git sees them.
//! - `sandbox`: what the kernel enforces on programs; `terminal`: commands in the sandbox.
//! - `secret`: what no tool may touch, one list for all doors; `gate`: files of a prompt, opened as tools
//!   open them.
//! - `change`: a change of a file as a diff; `asked_file`: the file as it was when somebody was asked about
//!   it; `refusal`: why nobody has to be asked; `live`: what a program has written last, while it runs.
//! - `shown`: bytes as a model may see them; `shrink`: a long result is cut once, before it is stored;
//!   `results`: where the whole of it is kept, and for how long.

mod asked_file;
mod change;
mod check;
mod coerce;
pub mod command;
mod edit_file;
mod fetch_url;
pub mod gate;
mod host;
mod lines;
mod list;
mod live;
mod mcp;
mod memory;
mod nearest;
mod pattern;
mod place;
mod read_file;
mod refusal;
mod registry;
mod replace;
mod result_limits;
pub mod results;
#[cfg(unix)]
pub mod sandbox;
pub mod schema;
mod search;
mod secret;
mod seen;
mod session_search;
mod shown;
mod shrink;
mod todo;
mod tool;
mod walk;
mod write_file;

#[cfg(unix)]
mod terminal;
#[cfg(test)]
mod testing;

pub use asked_file::AskedFile;
pub use change::{FileChange, FileDiff, Unread};
pub use edit_file::EditFile;
pub use fetch_url::FetchUrl;
pub use host::{MemoryEdit, MemoryFile, SessionHit, TodoItem, TodoState, ToolHost};
pub use list::ListTool;
pub use live::LiveOutput;
pub use mcp::{Launch, ServerConfig, ServerSurroundings, Servers};
pub use memory::MemoryTool;
pub use read_file::ReadFile;
pub use refusal::ForeseenRefusal;
pub use registry::{Registry, RegistryError};
pub use result_limits::ResultLimits;
pub use results::Results;
pub use search::SearchTool;
pub use secret::{SecretOwner, Secrets};
pub use session_search::SessionSearch;
pub use shown::clean;
pub use shrink::{HeadAndTail, ends};
#[cfg(unix)]
pub use terminal::Terminal;
pub use todo::{Todo, plan_of, plan_set_by, plan_text, plan_value};
pub use tool::{CallContext, Effect, Spec, Subject, Tool, ToolAnswer};
pub use write_file::WriteFile;

/// The tools that every session can have; they need nothing but a [`CallContext`].
pub fn built_in() -> Vec<Box<dyn Tool>> {
    vec![
        Box::new(EditFile::default()),
        Box::new(ListTool::default()),
        Box::new(MemoryTool::default()),
        Box::new(ReadFile::default()),
        Box::new(SearchTool::default()),
        Box::new(SessionSearch::default()),
        Box::new(Todo::default()),
        Box::new(WriteFile::default()),
    ]
}
