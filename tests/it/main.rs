//! The program's laws as stories, on real llama.cpp with tiny random models of all four memory
//! classes. One binary, one file per scenario.

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/gallery.rs"]
mod gallery;
#[path = "../support/history.rs"]
mod history;
#[path = "../support/model.rs"]
mod model;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/talk.rs"]
mod talk;
#[path = "../support/witness.rs"]
mod witness;
#[cfg(unix)]
#[path = "../support/yard.rs"]
mod yard;

mod agent_orders;
mod agent_prompts;
mod agent_sessions;
mod agent_turns;
mod boundaries;
mod conversations;
mod crashes;
mod damage;
mod endings;
mod ends;
mod exact_resume;
mod forks;
mod frozen_head;
mod hostile;
#[cfg(target_os = "linux")]
mod hostile_commands;
mod interrupts;
mod kv_deleted;
mod mcp;
mod policies;
mod random_orders;
mod random_talks;
mod rewinds;
mod templates;
#[cfg(target_os = "linux")]
mod terminals;
mod withdrawals;
