//! The gateway: what one process does for the people and programs of one machine over HTTP. It
//! reads requests of four APIs, hands them to the service, and writes what comes back as each API has
//! it. It never prints.
//!
//! - `ask`: the one value that every request becomes.
//! - [`wire`]: the APIs as JSON, both ways. Pure.
//! - [`http`]: paths, who may call, connections.

mod ask;
pub mod http;
pub mod wire;
