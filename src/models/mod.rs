//! The models on this machine, and downloading another. npast opens a model of another program where that
//! program put it, and puts a model that it pulls where those programs find it. Nothing here prints, and
//! only an [`Env`] reads the environment.
//!
//! - [`ModelPlaces`], [`LocalModel`]: every model of this machine under the name that `-m` takes
//! - [`FoundAgain`]: whether a session's model is where it was, and where else
//! - [`Hub`]: the cache of the Hugging Face hub, read and written; Ollama's store is only read
//! - [`PullSource`]: what can be pulled; [`SHORT`]: what has a short name
//! - [`pull`]: downloads it. No unproven file ever has a name that is used: the bytes come into a file
//!   with a name for unfinished ones, which is renamed when length, sum and form are proven

mod again;
mod error;
mod file;
mod hub;
mod known;
mod ollama;
mod pull;
mod remote;
mod short;
mod source;
mod step;

pub use again::{FoundAgain, has_tensors_of};
pub use error::ModelsError;
pub use hub::Hub;
pub use known::{Env, LocalModel, ModelPlaces, Origin};
pub use pull::{Pulled, pull};
pub use remote::{HubAccess, HubClient};
pub use short::{ModelShape, SHORT, Short};
pub use source::{PullSource, Repo, Sha256Text};
pub use step::{PullStep, PullWatch};
