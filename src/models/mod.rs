//! Models on this machine, and how another comes to it. A model that some tool brought is found and
//! opened where it lies; one that is pulled lies where those tools find it. Nothing here prints, and
//! nothing reads the environment but through an [`Env`].
//!
//! - [`Places`], [`Found`]: every model of this machine under the name that `-m` takes
//! - [`Hub`]: the cache of the Hugging Face hub, read and written; Ollama's store is only read
//! - [`Source`]: what can be pulled; [`SHORT`]: what has a short name
//! - [`pull`]: brings it. Nothing wrong ever lies under a name that is used: bytes come under the
//!   name of something unfinished, and get another when their length, their sum and their form are
//!   proven

mod error;
mod file;
mod hub;
mod known;
mod ollama;
mod pull;
mod remote;
mod short;
mod source;

pub use error::Error;
pub use hub::Hub;
pub use known::{Env, Found, Origin, Places};
pub use pull::{Pulled, pull};
pub use remote::{Access, Client};
pub use short::{SHORT, Shape, Short};
pub use source::{Repo, Source, Sum};

/// What a pull does at the moment.
#[derive(Debug)]
pub enum Step<'a> {
    /// Another process fetches this file.
    Waiting(&'a str),
    /// A file begins, or goes on.
    Begin {
        /// Its name.
        name: &'a str,
        /// Bytes that are there already.
        have: u64,
        /// Bytes of all of it, if that is known.
        whole: Option<u64>,
    },
    /// So many bytes of it are there.
    Have(u64),
    /// So many bytes of it were read again for its sum.
    Proving(u64),
    /// It did not go on, for this reason; it is tried again in a moment.
    Again(&'a str),
}

/// Hears each step; `false` ends the pull, and what came stays.
pub type Watch<'a> = dyn FnMut(Step<'_>) -> bool + 'a;
