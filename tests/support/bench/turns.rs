//! Whole turns through the agent on a long ledger: all that lies between a user's message and the
//! stored answer, less what the receipt says was decoding.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use npast::agent::{
    Conversation, Engine, Event, Input, NewSession, Options, TurnOptions, WhichSession,
};
use npast::llama::{ContextOptions, ModelOptions, Sampling};

use super::host::{LEDGER, MESSAGE, words};
use super::measure::{UBATCH, median, ms, threads};
use super::model::{self, Class};
use super::store::{disk_folder, memory_folder};

/// Tokens of a reply.
const REPLY: usize = 8;
/// Turns that are measured once the ledger is long. Receipts have whole milliseconds: the middle of
/// many is finer than one.
const TURNS: usize = 40;

/// One turn, in milliseconds.
struct Turn {
    context: usize,
    /// Besides restoring, evaluating, sampling and saving KV.
    host: f64,
}

/// Runs and prints it.
pub fn run() {
    let memory = memory_folder();
    let (without, note) = match &memory {
        Some(folder) => (host(folder.path()), ""),
        None => (host(disk_folder().path()), ", fsync included"),
    };
    println!("\nwhole turns through the agent, median of {TURNS}:");
    println!(
        "{:<58}{:>10.1} ms{note}",
        format!("besides decoding, at {} tokens", without.1),
        without.0
    );
    if memory.is_some() {
        let with = host(disk_folder().path()).0;
        println!("{:<58}{:>10.1} ms", "the same on a disk, with fsync", with);
    }
}

/// The host work of a turn on a long ledger, and the ledger's length.
fn host(home: &Path) -> (f64, usize) {
    let options = Options {
        home: home.to_owned(),
        model: model::tiny_model(Class::Recurrent, &model::Options::default()),
        weights: ModelOptions::default(),
        limit: Some(LEDGER + LEDGER / 2),
        context: ContextOptions {
            threads: threads(),
            threads_batch: threads(),
            ..ContextOptions::default()
        },
        leeway: Default::default(),
        ubatch: Some(UBATCH),
        policy: Default::default(),
        shift: None,
        store_kv: false,
        kv_quota: None,
        chat_template: None,
        thinking: Some(false),
        apart: None,
    };
    let engine = Engine::open(&options, &mut |_| true).expect("an engine");
    let mut conversation = engine
        .conversation(
            WhichSession::Named("bench".to_owned()),
            NewSession::default(),
        )
        .expect("a session");
    // First one long message, then as many turns as a long ledger has.
    let mut context = turn(&mut conversation, LEDGER / 2).context;
    while context < LEDGER {
        context = turn(&mut conversation, 2 * MESSAGE).context;
    }
    let host = (0..TURNS).map(|_| turn(&mut conversation, MESSAGE).host);
    (median(host.collect()), context)
}

fn turn(conversation: &mut Conversation, bytes: usize) -> Turn {
    let options = TurnOptions {
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        max_tokens: Some(REPLY),
        ..TurnOptions::default()
    };
    let mut receipt = None;
    let begun = Instant::now();
    let ended = conversation.turn(
        Input::Text(words(bytes)),
        &options,
        None,
        &Arc::default(),
        &mut |event| {
            if let Event::Receipt(r) = event {
                receipt = Some(*r);
            }
        },
    );
    let took = ms(begun);
    ended.expect("a turn");
    let receipt = receipt.expect("every call has a receipt");
    assert_eq!(receipt.evaluated, receipt.appended, "{:?}", receipt.miss);
    let slot = receipt.ms.restore + receipt.ms.prefill + receipt.ms.decode + receipt.ms.save;
    Turn {
        context: receipt.context,
        host: took - slot as f64,
    }
}
