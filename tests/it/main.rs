//! The program's laws as stories, on real llama.cpp with tiny random models of all four memory
//! classes. One binary, one file per scenario.

#[path = "../support/gallery.rs"]
mod gallery;
#[path = "../support/history.rs"]
mod history;
#[path = "../support/model.rs"]
mod model;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/talk.rs"]
mod talk;
#[path = "../support/witness.rs"]
mod witness;

mod bad_days;
mod boundaries;
mod conversations;
mod crashes;
mod damage;
mod edits;
mod endings;
mod ends;
mod exact_resume;
mod foreign;
mod forks;
mod frozen_head;
mod hostile;
mod interrupts;
mod kills;
mod kv_deleted;
mod lineage;
mod merging;
mod policies;
mod random_orders;
mod random_talks;
mod retries;
mod rewinds;
mod snapshots;
mod soak;
mod switches;
mod templates;
mod undos;
mod window;
mod withdrawals;
