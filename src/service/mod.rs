//! What one process is to all its clients: a command line, programs over HTTP, editors. It owns the
//! engine, says who uses the slot, and keeps the open sessions. Clients send [`Request`]s and get
//! [`crate::agent::Event`]s, both plain values; nothing else uses the slot.
//!
//! - `process`: the service itself; `inner`: what its sessions share; `table`: those that are open;
//!   `client`: a client's hold of one; `request`: what is asked; `job`: what its thread is sent;
//!   `beside`: requests without a session.
//! - `completion`: the model goes on with a text, for no session; `completing`: how many do so.
//! - `worker`: the thread of one open session; `desk`: what it shares with its clients; `mailbox`:
//!   events on their way to a client that may be slow.
//! - `scheduler`: who uses the slot, and what is done when nobody does; `book`: what that cost; `idle`: what
//!   an open session does meanwhile; `base`: what the next session of its folder starts with.
//! - `project_tools`: what serves the tools of a project; `projects`: all of them; `setup`: what a
//!   session gets of them; `terms`: how one client's requests run; `gate`: who may call what.

mod base;
mod beside;
mod book;
mod client;
mod completing;
mod completion;
mod desk;
mod gate;
mod idle;
mod inner;
mod job;
mod mailbox;
mod process;
mod project_tools;
mod projects;
mod request;
mod scheduler;
mod setup;
mod table;
mod terms;
mod worker;

pub use beside::Beside;
pub use book::{Book, IdleSum};
pub use client::{Closing, OpenSession};
pub use completion::Completion;
pub use inner::SessionOpening;
pub use mailbox::{Events, NextMail, Sink, mailbox};
pub use process::Service;
pub use project_tools::ProjectTools;
pub use projects::{Projects, SharedTools};
pub use request::Request;
pub use scheduler::Scheduler;
pub use setup::setup;
pub use terms::{Terms, Tooling};
