//! npast: a local AI agent that never reads the same token twice.
//!
//! The map, in dependency order; nothing imports upwards:
//!
//! - [`harmless`]: text that npast did not write, made safe for a terminal (pure).
//! - [`durable`]: files replaced atomically and durably; files that only this user may read.
//! - [`ledger`]: the exact tokens of a conversation, their spans and digests, and the plan (pure).
//! - [`llama`]: the FFI boundary. Model, vocabulary, context, state, sampler, chat bridge, GGUF. Every `unsafe` line is here.
//! - [`kv`]: states on disk: segment files, index, fingerprint, a writer thread of its own.
//! - [`slot`]: the engine thread and its handle: plan, apply, rewind, fork, export, import.
//! - [`chat`]: messages to tokens and tokens to messages.
//! - [`tools`]: what a model can do: files, commands, notes; a long result is cut once.
//! - [`approve`]: who may run what: rules, grants, the hard list.
//! - [`session`]: npast.db: sessions, messages, ledgers, lineage, migrations.
//! - [`cron`]: when a prompt that is run at times is due.
//! - [`trajectory`]: sessions as JSON Lines, and back.
//! - [`agent`]: the turn: from a user's message to a stored answer and its receipts.
//! - [`models`]: the models on this machine, and downloading another one.
//! - [`config`]: defaults, file, environment.
//! - [`service`]: what one process is to all its clients: engine, scheduler, open sessions.
//! - [`attach`]: a service over a Unix socket: the gateway's side and a command line's.
//! - [`gateway`]: HTTP: the APIs of OpenAI and Anthropic, npast's own paths, who may call.
//! - [`cli`]: arguments, subcommands, terminal output.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod agent;
pub mod approve;
pub mod attach;
pub mod chat;
pub mod cli;
pub mod config;
pub mod cron;
pub mod durable;
pub mod gateway;
pub mod harmless;
pub mod kv;
pub mod ledger;
pub mod llama;
pub mod models;
pub mod service;
pub mod session;
pub mod slot;
pub mod tools;
pub mod trajectory;

// Unit tests of every room use the tests' tiny models, which name this crate from outside.
#[cfg(test)]
extern crate self as npast;
#[cfg(test)]
#[path = "../tests/support/model.rs"]
pub(crate) mod tiny;
