//! What one process is to all its clients: a command line, programs over HTTP, editors. It owns the
//! engine, says who uses the slot, and keeps the open sessions. Clients send [`Request`]s and get
//! [`crate::agent::Event`]s, both plain values; nothing else uses the slot.
//!
//! - `process`: the service itself; `inner`: what its sessions share; `table`: those that are open;
//!   `client`: a client's hold of one; `request`: what a client wants; `job`: what its thread gets.
//! - `worker`: the thread of one open session; `desk`: what it shares with its clients; `mailbox`:
//!   events on their way to a client that may be slow.
//! - `scheduler`: which call uses the slot, and the work of idle time.
//! - `project_tools`: what serves the tools of a project; `projects`: all of them; `setup`: what a
//!   session gets of them; `gate`: who may call what.

mod client;
mod desk;
mod gate;
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
mod worker;

pub use client::{Closing, OpenSession};
pub use inner::SessionOpening;
pub use mailbox::{Events, NextMail};
pub use process::Service;
pub use project_tools::ProjectTools;
pub use projects::{Projects, SharedTools};
pub use request::Request;
pub use scheduler::Scheduler;
pub use setup::setup;
