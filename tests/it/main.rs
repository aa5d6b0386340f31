//! The program's laws as stories, on real llama.cpp with tiny random models of all four memory
//! classes. One binary, one file per scenario.

#[path = "../support/gallery.rs"]
mod gallery;
#[path = "../support/model.rs"]
mod model;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/talk.rs"]
mod talk;

mod conversations;
mod exact_resume;
mod forks;
mod frozen_head;
mod hostile;
mod kv_deleted;
mod policies;
mod rewinds;
mod templates;
