//! What a turn costs besides decoding, on a ledger of 100,000 tokens: part by part, each through
//! the room's own public call, then whole turns through the agent.

use std::sync::Arc;

use npast::chat::Message;
use npast::chat::reply::ReplyReader;
use npast::chat::template::{After, ChatTemplate, Marks, TemplateFrame};
use npast::chat::tokenize::{Authored, Tokenizer};
use npast::kv::Store;
use npast::ledger::plan::{MemoryShape, ResidentPrefix, StoredPrefixes, plan};
use npast::ledger::{Digest, RunningDigest, Token, common_prefix};
use npast::llama::Vocab;
use npast::slot::{SlotHandle, Target};

use super::measure::{call, load, median, row, slot, timed, title, tokens};
use super::model::{self, Class, Options};
use super::{store, turns};

/// Tokens of the ledger.
pub const LEDGER: usize = 100_000;
/// Bytes of a user's message.
pub const MESSAGE: usize = 1000;
/// What the host may take of a turn, besides decoding and fsync.
const BUDGET_MS: f64 = 5.0;

/// Runs and prints all parts.
pub fn run() {
    title(&format!(
        "host work of a turn on a ledger of {LEDGER} tokens: a message of {MESSAGE} bytes"
    ));
    // A recurrent model: 100,000 tokens are evaluated in seconds, and the host does not care.
    let model = load(&model::tiny_model(Class::Recurrent, &Options::default()));
    let running = slot(&model, LEDGER + 4096, Store::off());
    let ledger = tokens(1, LEDGER);
    let text = words(MESSAGE);

    let mut sum = 0.0;
    let mut part = |name: &str, value: f64| {
        row(name, value);
        sum += value;
    };
    // A gateway's comparison of foreign history belongs here, before rendering.
    let template = ChatTemplate::new(model::CHATML, marks(model.vocab())).expect("our template");
    let pieces = render(&template, &text);
    part(
        "render: one message after a reply",
        rendering(&template, &text),
    );
    let tokenizer = Tokenizer::new(model.vocab().clone(), model::CHATML).expect("our vocabulary");
    part(
        "tokenize: its text",
        tokenizing(&tokenizer, &ledger, &pieces),
    );
    let new = tokenizer.continuation(&ledger, &pieces).expect("tokens");
    part("digest: the new tokens", digest(&ledger, &new));
    part("plan", planning());
    let (tail, whole) = resolving(&running.handle(), &ledger);
    part("slot: a call that has nothing to decode", tail);
    part(
        "reply: its parser, and 64 tokens of text",
        replying(&template),
    );
    let stored = store::commits(&ledger, &text, &new);
    part("store: three commits, without fsync", stored.host);
    println!("{:<58}{:>10.3} ms of {BUDGET_MS}", "sum", sum);

    println!("\nbesides:");
    row("store: fsync of the three commits", stored.fsync);
    row(
        "digest: all tokens, once when a session is opened",
        first_digest(&ledger),
    );
    row(
        "compare: all tokens with a ledger in memory",
        comparing(&ledger),
    );
    row("slot: the same call with the whole ledger in it", whole);
    drop(running);
    turns::run();
}

/// Text of `bytes` bytes that no template takes for its own.
pub fn words(bytes: usize) -> String {
    "a line of a file, or of a question about it; "
        .chars()
        .cycle()
        .take(bytes)
        .collect()
}

/// The vocabulary's texts that matter to templates.
fn marks(vocab: &Vocab) -> Marks {
    let text = |token: Token| String::from_utf8_lossy(&vocab.piece(token, true)).into_owned();
    Marks {
        bos: vocab.bos().map(text).unwrap_or_default(),
        eos: vocab.eos().map(text).unwrap_or_default(),
        eog: vocab
            .tokens()
            .filter(|t| vocab.is_end(*t))
            .map(text)
            .collect(),
        control: vocab
            .tokens()
            .filter(|t| vocab.is_control(*t))
            .map(text)
            .collect(),
    }
}

fn render(template: &ChatTemplate, text: &str) -> Vec<Authored> {
    use npast::chat::pieces::Piece as Written;
    let (reply, next) = (Message::assistant("Done."), [Message::user(text)]);
    let delta = template.delta(&TemplateFrame::default(), &reply, &next);
    let pieces = delta
        .expect("our template appends messages")
        .pieces
        .into_iter();
    pieces
        .map(|piece| match piece {
            Written::Template(text) => Authored::Template(text),
            Written::Content { text, .. } => Authored::Content(text),
        })
        .collect()
}

fn rendering(template: &ChatTemplate, text: &str) -> f64 {
    timed(50, || drop(render(template, text)))
}

fn tokenizing(tokenizer: &Tokenizer, ledger: &[Token], pieces: &[Authored]) -> f64 {
    timed(50, || {
        std::hint::black_box(tokenizer.continuation(ledger, pieces).expect("tokens"));
    })
}

/// What a call makes to read a reply, and reading a short one as it comes.
fn replying(template: &ChatTemplate) -> f64 {
    let format = template.format(&TemplateFrame::default(), After::User);
    let format = format.expect("our template has a reply format");
    let text = words(64);
    timed(50, || {
        let mut reader = ReplyReader::new(&format).expect("a parser");
        for at in 0..text.len() {
            std::hint::black_box(reader.push(&text[at..at + 1]));
        }
        std::hint::black_box(reader.finish(true, 1));
    })
}

fn digest(ledger: &[Token], new: &[Token]) -> f64 {
    let mut before = RunningDigest::new(Digest::of(b"bench"));
    before.extend(ledger);
    timed(50, || {
        let mut running = before.clone();
        running.extend(new);
        std::hint::black_box(running.digest());
    })
}

fn first_digest(ledger: &[Token]) -> f64 {
    timed(9, || {
        let mut running = RunningDigest::new(Digest::of(b"bench"));
        running.extend(ledger);
        std::hint::black_box(running.digest());
    })
}

fn comparing(ledger: &[Token]) -> f64 {
    let other = ledger.to_vec();
    timed(9, || {
        assert_eq!(std::hint::black_box(common_prefix(ledger, &other)), LEDGER);
    })
}

/// A plan with a hundred segments and snapshots to choose from.
fn planning() -> f64 {
    let ends: Vec<usize> = (1..=100).map(|i| i * LEDGER / 100).collect();
    let nodes: Vec<(usize, bool)> = ends.iter().map(|at| (*at, false)).collect();
    let held = ResidentPrefix {
        len: LEDGER,
        common: LEDGER,
        floor: LEDGER,
        row: true,
        prompt: false,
        snapshots: nodes.clone(),
    };
    let (stored, shape) = (
        StoredPrefixes { edges: ends, nodes },
        MemoryShape {
            segments: true,
            snapshots: true,
        },
    );
    timed(50, || {
        std::hint::black_box(plan(shape, &held, &stored, LEDGER + 300, true));
    })
}

/// A call whose target is what the slot holds: channels, comparison, digest and plan, and no
/// decode. First after a mark, then with the whole ledger compared.
fn resolving(slot: &SlotHandle, ledger: &[Token]) -> (f64, f64) {
    let (outcome, _) = call(slot, Target::whole(ledger.to_vec()), 0, None);
    assert_eq!(outcome.context(), LEDGER);
    let mark = outcome.mark;
    let shared = Arc::new(ledger.to_vec());
    let again = |target: &dyn Fn() -> Target| {
        let took = (0..25).map(|_| {
            let (outcome, took) = call(slot, target(), LEDGER, None);
            assert_eq!((outcome.kept, outcome.evaluated), (LEDGER, 0));
            took
        });
        median(took.collect())
    };
    (
        again(&|| Target::after(mark, shared.clone())),
        again(&|| Target::whole(shared.clone())),
    )
}
