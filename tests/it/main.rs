//! The program's laws as stories, on real llama.cpp with tiny random models of all four memory
//! classes. One binary, one file per scenario.

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/client.rs"]
mod client;
#[path = "../support/gallery.rs"]
mod gallery;
#[cfg(unix)]
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/history.rs"]
mod history;
#[path = "../support/house.rs"]
mod house;
#[cfg(target_os = "linux")]
#[path = "../support/lines.rs"]
mod lines;
#[path = "../support/lying.rs"]
mod lying;
#[path = "../support/model.rs"]
mod model;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/schemas.rs"]
mod schemas;
#[cfg(unix)]
#[path = "../support/screen.rs"]
mod screen;
#[path = "../support/talk.rs"]
mod talk;
#[path = "../support/witness.rs"]
mod witness;
#[cfg(unix)]
#[path = "../support/yard.rs"]
mod yard;

mod agent_grammar;
mod agent_orders;
mod agent_plans;
#[cfg(target_os = "linux")]
mod agent_programs;
mod agent_prompts;
#[cfg(target_os = "linux")]
mod agent_servers;
mod agent_sessions;
mod agent_states;
mod agent_turns;
mod asides;
#[cfg(unix)]
mod attached;
mod bad_days;
mod bases;
#[cfg(unix)]
mod besides;
mod boundaries;
#[cfg(unix)]
mod chats;
#[cfg(target_os = "linux")]
mod command_lines;
mod compressions;
mod conversations;
mod crashes;
#[cfg(unix)]
mod crons;
mod damage;
mod damaged_sessions;
#[cfg(unix)]
mod decisions;
mod deep;
mod edits;
mod endings;
mod ends;
mod exact_resume;
mod exact_switch;
mod failing_lives;
mod failures;
mod fits;
mod foreign;
mod forks;
mod frozen_head;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(unix)]
mod gateway_apis;
#[cfg(unix)]
mod gateway_completions;
#[cfg(unix)]
mod gateway_doors;
#[cfg(unix)]
mod gateway_lives;
#[cfg(unix)]
mod gateway_peers;
#[cfg(unix)]
mod gateway_sessions;
#[cfg(unix)]
mod goes_on;
#[cfg(unix)]
mod hermes;
mod histories;
mod hostile;
#[cfg(target_os = "linux")]
mod hostile_commands;
mod idle;
mod interrupts;
mod kills;
mod known_models;
mod kv_deleted;
mod lineage;
#[cfg(target_os = "linux")]
mod live_calls;
#[cfg(unix)]
mod locked;
mod long;
mod loops;
mod manners;
mod mcp;
mod merging;
#[cfg(target_os = "linux")]
mod neighbours;
mod new_tokens;
mod odds;
mod one_version;
#[cfg(unix)]
mod own_models;
mod pipes;
mod plain_replies;
#[cfg(target_os = "linux")]
mod planted_repositories;
mod policies;
mod portable;
mod prefaces;
mod prunes;
mod pulls;
mod random_orders;
mod random_talks;
#[cfg(unix)]
#[cfg(unix)]
mod readable;
#[cfg(unix)]
mod readers;
mod real;
mod refusals;
mod reloads;
mod retries;
mod rewinds;
mod schemas_in_use;
#[cfg(target_os = "linux")]
mod secrets;
#[cfg(unix)]
#[cfg(unix)]
mod served;
mod setup;
mod sharing;
mod shifts;
mod small_models;
mod snapshots;
mod soak;
#[cfg(unix)]
mod strange_words;
#[cfg(target_os = "linux")]
mod strangers;
mod switches;
mod templates;
#[cfg(target_os = "linux")]
mod terminals;
mod thinking;
mod trajectories;
#[cfg(unix)]
mod typing;
mod undos;
mod warming;
mod window;
mod withdrawals;
