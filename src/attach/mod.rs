//! A command line that works through the gateway of its data folder, and the gateway's side of it: a
//! Unix socket in that folder, on which requests of the service go up and its events come down, a line
//! of JSON each. The two ways to have a service, in this process or in the gateway's, are one type for
//! the command line.
//!
//! The socket asks nobody for a token: only its owner can reach it. It has nothing to do with the
//! address, the limits and the rules of HTTP, and its end is the client's end.
//!
//! - `place`: where the socket is, and who may have it; `frame`: what goes over it; `lines`: bytes to
//!   frames, bounded.
//! - `clients`: what all clients share; `server`: the gateway's side; `connection`: one client there.
//! - `peer`: the gateway, as a command line has it; `remote`: a session of it.
//! - `either`: a service or a session, here or there.

mod clients;
mod connection;
mod either;
mod frame;
mod lines;
mod peer;
mod place;
mod remote;
mod server;
#[cfg(test)]
mod tests;

pub use clients::Clients;
pub use either::{Serving, Steer, Talking};
pub use frame::{Hello, Joining, PROTOCOL};
pub use peer::{AttachError, Greeting, Peer, find};
pub use place::{Seat, SeatError};
pub use remote::RemoteSession;
pub use server::serve;
