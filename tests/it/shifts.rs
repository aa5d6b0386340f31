//! `--shift`: after a compression the last turns move in memory instead of being read again. Their state is
//! approximate, receipts say so, and nothing of it is ever stored or used by another conversation.

use std::sync::Arc;

use npast::agent::{
    CompressOptions, Conversation, Engine, Event, IdleJob, Input, Receipt, TurnOptions,
    WhichSession,
};
use npast::chat::ReplyScript;
use npast::ledger::{Finish, Token, common_prefix};
use npast::llama::{CacheType, Context, ContextOptions, Seq, StatePart};
use npast::session::Db;
use npast::slot::{CallKind, Outcome};
use serde_json::{Value, json};

use crate::model::Class;
use crate::rig::{Rig, Stop, load, tokens};
use crate::talk::{self, Desk, Said, turn};

/// The keys of the first layer by their position: they come of their token and their position alone.
fn first_keys(state: &[u8], cache: CacheType) -> Vec<(i32, Vec<f32>)> {
    let word = |at: usize| u32::from_le_bytes(state[at..at + 4].try_into().expect("four bytes"));
    let cells = word(12) as usize;
    let positions: Vec<i32> = (0..cells).map(|i| word(16 + 12 * i) as i32).collect();
    let at = 16 + 12 * cells + 16;
    let row = word(at + 4) as usize;
    let rows = &state[at + 12..at + 12 + row * cells];
    let half = |b: &[u8]| {
        let bits = u16::from_le_bytes([b[0], b[1]]);
        let (exponent, part) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
        let size = match exponent {
            0 => part * 2f32.powi(-24),
            _ => (1024.0 + part) * 2f32.powi(exponent - 25),
        };
        if bits >> 15 == 1 { -size } else { size }
    };
    let numbers = |row: &[u8]| -> Vec<f32> {
        match cache {
            CacheType::F16 => row.chunks_exact(2).map(half).collect(),
            CacheType::F32 => {
                let single = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                row.chunks_exact(4).map(single).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    let keys = rows.chunks_exact(row).map(numbers);
    let mut all: Vec<_> = positions.into_iter().zip(keys).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    let of = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    of(&difference) / of(b)
}

/// What llama.cpp is asked for: the end waits on scratch at its new positions while the gap before it is
/// evaluated, and comes back with the keys that these positions give.
#[test]
fn keys_that_were_moved_are_those_of_their_new_positions() {
    let model = load(Class::Dense, 1);
    let (head, old, gap, end) = (tokens(1, 10), tokens(2, 40), tokens(3, 10), tokens(4, 30));
    for cache in [CacheType::F32, CacheType::F16] {
        let fresh = || {
            let options = ContextOptions {
                cells: 512,
                ubatch: 128,
                cache,
                ..ContextOptions::default()
            };
            Context::new(&model, &options).expect("a context")
        };
        let decode = |ctx: &mut Context, at: usize, tokens: &[Token]| {
            ctx.decode(Seq::Main, at, tokens, true).expect("a decode");
        };
        let mut ctx = fresh();
        decode(&mut ctx, 0, &[&head[..], &old, &end].concat());
        let before = ctx.export(Seq::Main, StatePart::Whole).expect("a state");
        ctx.share(Seq::Main, Seq::Scratch, 50, 80);
        assert!(ctx.cut(Seq::Main, 10) && ctx.can_move());
        assert!(!ctx.move_back(Seq::Scratch, 50, 80, 51), "before the start");
        assert!(ctx.move_back(Seq::Scratch, 50, 80, 30));
        assert_eq!(
            (ctx.pos_min(Seq::Scratch), ctx.pos_max(Seq::Scratch)),
            (Some(20), Some(49))
        );
        decode(&mut ctx, 10, &gap);
        ctx.share(Seq::Scratch, Seq::Main, 20, 50);
        ctx.clear(Seq::Scratch);
        let moved = ctx.export(Seq::Main, StatePart::Whole).expect("a state");
        decode(&mut ctx, 50, &end[..1]);

        let mut plain = fresh();
        decode(&mut plain, 0, &[&head[..], &gap, &end].concat());
        let exact = plain.export(Seq::Main, StatePart::Whole).expect("a state");
        let (before, moved, exact) = (
            first_keys(&before, cache),
            first_keys(&moved, cache),
            first_keys(&exact, cache),
        );
        assert_eq!((moved.len(), exact.len()), (50, 50));
        let most = 0.002;
        for (at, (moved, exact)) in moved.iter().zip(&exact).enumerate() {
            assert_eq!((moved.0, exact.0), (at as i32, at as i32));
            let part = apart(&moved.1, &exact.1);
            assert!(part < most, "{cache:?}, position {at}: {part}");
            if at < 10 {
                assert_eq!(moved.1, before[at].1, "what stays does not change");
            }
            if at >= 20 {
                // It is the turning that does it.
                let unturned = apart(&before[at + 30].1, &exact.1);
                assert!(
                    unturned > 10.0 * most,
                    "{cache:?}, position {at}: {unturned}"
                );
            }
        }
    }
    // llama.cpp aborts or crashes where it is to turn these.
    for cache in [CacheType::Bf16, CacheType::Q8_0] {
        let options = ContextOptions {
            cells: 512,
            cache,
            ..ContextOptions::default()
        };
        let mut ctx = Context::new(&model, &options).expect("a context");
        ctx.decode(Seq::Main, 0, &head, true).expect("a decode");
        assert!(!ctx.can_move() && !ctx.move_back(Seq::Main, 5, 10, 1));
    }
    // Where RoPE scales keys too, those that stay would be scaled once more.
    let scaling = |kind: &str, factor| ContextOptions {
        cells: 512,
        rope_scaling: Some(kind.to_owned()),
        yarn_attn_factor: factor,
        ..ContextOptions::default()
    };
    for (kind, factor, moves) in [
        ("none", None, true),
        ("linear", None, true),
        ("linear", Some(1.2), false),
        ("yarn", None, false),
    ] {
        let ctx = Context::new(&model, &scaling(kind, factor)).expect("a context");
        assert_eq!(ctx.can_move(), moves, "{kind} {factor:?}");
    }
}

/// A beginning, what goes, what comes in its place, and what stays behind it. All of them are whole batches, so
/// that the same tokens are evaluated in the same ones.
struct Story {
    before: Vec<Token>,
    after: Vec<Token>,
    by: usize,
    gap: usize,
    end: usize,
    head: usize,
}

fn story() -> Story {
    let (head, old, gap, end) = (tokens(1, 96), tokens(2, 288), tokens(3, 64), tokens(4, 224));
    Story {
        before: [&head[..], &old, &end].concat(),
        after: [&head[..], &gap, &end].concat(),
        by: old.len() - gap.len(),
        gap: gap.len(),
        end: end.len(),
        head: head.len(),
    }
}

fn costs(o: &Outcome) -> (usize, usize, usize, usize, bool) {
    assert!(o.error.is_none(), "{:?}", o.error);
    (o.kept, o.shifted, o.restored, o.evaluated, o.approximate)
}

/// What a process gives that never moved anything.
fn exact_rows(after: &[Token], reply: &[Token], home: Option<&std::path::Path>) -> Vec<Vec<u32>> {
    let mut rig = Rig::new(Class::Dense, home);
    rig.say(after, reply).1
}

#[test]
fn an_end_that_was_moved_is_not_evaluated_and_is_neither_stored_nor_anothers() {
    let Story {
        before,
        after,
        by,
        gap,
        end,
        head,
    } = story();
    let reply = tokens(9, 8);
    let exact = exact_rows(&after, &reply, None);
    let home = tempfile::tempdir().expect("a folder");
    let mut rig = Rig::new(Class::Dense, Some(home.path()));
    rig.say(&before, &reply[..1]);
    rig.moved = Some(by);
    let (outcome, _) = rig.ask("child", &after, None, Stop::Never);
    let outcome = outcome.expect("a call");
    assert_eq!(costs(&outcome), (head + end, end, 0, gap, true));
    assert!(outcome.evaluated <= outcome.appended && outcome.miss.is_none());
    assert_eq!(rig.held(), after);

    // The next call goes on there, and its state is approximate too.
    let (outcome, rows) = rig.ask("child", &after, Some(&reply), Stop::Never);
    let outcome = outcome.expect("a call");
    assert_eq!(
        costs(&outcome),
        (after.len() - 1, 0, 0, 1, true),
        "{outcome:?}"
    );
    assert!(rows != exact, "what was moved has what stood before it");

    // Side work of the conversation says it, other side work shares what is exact alone.
    let base = rig.base(true);
    let (fork, _) = rig.fork(base, &tokens(20, 5), &tokens(21, 2));
    assert!(fork.approximate);
    let room = npast::slot::Base::Beside { room: 0 };
    let (fork, _) = rig.fork(room, &after, &tokens(21, 2));
    assert_eq!((fork.kept, fork.approximate), (head + gap, false));

    // Another conversation with the same tokens gets none of it: from the store comes what was evaluated.
    let (outcome, rows) = rig.ask("other", &after, Some(&reply), Stop::Never);
    let outcome = outcome.expect("a call");
    assert_eq!(outcome.kept + outcome.restored, head + gap, "{outcome:?}");
    assert_eq!(
        (outcome.evaluated, outcome.approximate),
        (end, false),
        "{outcome:?}"
    );
    assert!(rows == exact, "other logits");

    // Nor does the next process.
    rig.say(&before, &reply[..1]);
    rig.moved = Some(by);
    let (outcome, _) = rig.ask(
        "child",
        &after[..after.len() - 1],
        Some(&reply),
        Stop::Never,
    );
    assert!(outcome.expect("a call").approximate);
    let mut rig = rig.restart();
    let (outcome, rows) = rig.ask("third", &after, Some(&reply), Stop::Never);
    assert!(!outcome.expect("a call").approximate);
    assert!(rows == exact, "other logits after a restart");
}

#[test]
fn after_a_restart_an_end_that_was_moved_is_evaluated_and_what_stands_before_it_is_restored() {
    let Story {
        before,
        after,
        by,
        gap,
        end,
        head,
    } = story();
    let reply = tokens(9, 8);
    let home = tempfile::tempdir().expect("a folder");
    let mut rig = Rig::new(Class::Dense, Some(home.path()));
    rig.say(&before, &reply[..1]);
    rig.moved = Some(by);
    let (outcome, _) = rig.ask("child", &after, Some(&reply), Stop::Never);
    assert!(outcome.expect("a call").approximate);
    let mut rig = rig.restart();
    let (outcome, rows) = rig.ask("child", &after, Some(&reply), Stop::Never);
    let outcome = outcome.expect("a call");
    assert_eq!(costs(&outcome), (0, 0, head + gap, end, false));
    assert!(outcome.miss.is_some());
    assert!(rows == exact_rows(&after, &reply, None), "other logits");
}

#[test]
fn an_end_is_moved_again_and_taken_back_and_read_where_it_cannot_be_moved() {
    let Story {
        before,
        after,
        by,
        head,
        ..
    } = story();
    let reply = tokens(9, 8);
    let home = tempfile::tempdir().expect("a folder");
    let mut rig = Rig::new(Class::Dense, Some(home.path()));
    rig.say(&before, &reply[..1]);
    rig.moved = Some(by);
    let (moved, _) = rig.ask("child", &after, None, Stop::Never);
    assert!(moved.expect("a call").approximate);
    // It goes on, and the end of that is moved a second time.
    let longer = [&after[..], &tokens(30, 150)].concat();
    let (outcome, _) = rig.ask("child", &longer, Some(&reply), Stop::Never);
    assert!(outcome.expect("a call").approximate);
    let gap = tokens(40, 70);
    let last = &longer[longer.len() - 180..];
    let third = [&longer[..head], &gap, last].concat();
    rig.moved = Some(longer.len() - third.len());
    let (outcome, _) = rig.ask("grandchild", &third, None, Stop::Never);
    let outcome = outcome.expect("a call");
    assert_eq!(
        costs(&outcome),
        (head + last.len(), last.len(), 0, gap.len(), true)
    );
    // Taken back behind what was moved: nothing approximate is left, and what is stored is used.
    let back = [&third[..head + 30], &tokens(50, 40)[..]].concat();
    let (outcome, rows) = rig.ask("grandchild", &back, Some(&reply), Stop::Never);
    let outcome = outcome.expect("a call");
    assert!(!outcome.approximate, "{outcome:?}");
    assert!(rows == exact_rows(&back, &reply, None), "other logits");

    // A cancel in the gap leaves a beginning of the target, which the next call goes on with.
    let Story {
        before,
        after,
        by,
        head,
        gap,
        ..
    } = story();
    let mut rig = Rig::new(Class::Dense, None);
    rig.say(&before, &reply[..1]);
    rig.moved = Some(by);
    let (outcome, _) = rig.ask("child", &after, None, Stop::Prompt(1));
    let outcome = outcome.expect("a call");
    assert!(outcome.evaluated < after.len() - head && outcome.shifted == 0 || outcome.approximate);
    let held = rig.held();
    assert_eq!(held, after[..held.len()]);
    let (outcome, rows) = rig.ask("child", &after, Some(&reply), Stop::Never);
    let outcome = outcome.expect("a call");
    assert!(outcome.error.is_none());
    if !outcome.approximate {
        assert!(rows == exact_rows(&after, &reply, None), "other logits");
    }
    // What ends otherwise is read, without a word: nothing could be moved.
    let mut rig = Rig::new(Class::Dense, None);
    rig.say(&before, &reply[..1]);
    rig.moved = Some(by - 1);
    let (outcome, rows) = rig.ask("child", &after, Some(&reply), Stop::Never);
    let outcome = outcome.expect("a call");
    assert_eq!(
        (outcome.shifted, outcome.approximate, &outcome.unmoved),
        (0, false, &None)
    );
    assert!(rows == exact_rows(&after, &reply, None), "other logits");
    assert!(gap > 0);
}

#[test]
fn other_classes_and_cache_types_read_the_end_and_say_why() {
    let Story {
        before, after, by, ..
    } = story();
    let reply = tokens(9, 4);
    for class in [Class::Swa, Class::Hybrid, Class::Recurrent] {
        let rows = |moved: bool| {
            let mut rig = Rig::new(class, None);
            rig.say(&before, &reply[..1]);
            rig.moved = moved.then_some(by);
            let (outcome, rows) = rig.ask("child", &after, Some(&reply), Stop::Never);
            let outcome = outcome.expect("a call");
            assert_eq!(
                (outcome.shifted, outcome.approximate),
                (0, false),
                "{class:?}"
            );
            assert_eq!(outcome.unmoved.is_some(), moved, "{class:?}");
            rows
        };
        assert!(rows(true) == rows(false), "{class:?}: other logits");
    }
}

const LIMIT: usize = 2048;

fn desk(class: Class) -> Desk {
    let mut desk = Desk::new(class, None);
    desk.system = Some("You are brief.".to_owned());
    desk.limit = LIMIT;
    desk.shift = true;
    desk
}

fn open(engine: &Engine, desk: &Desk) -> Conversation {
    let open = WhichSession::Named("work".to_owned());
    let talk = engine.conversation(open, desk.new_session());
    talk.expect("a session")
}

fn options() -> TurnOptions {
    TurnOptions {
        compress: Some(CompressOptions::default()),
        idle: true,
        ..talk::greedy(400)
    }
}

fn words(seed: usize, count: usize) -> String {
    let word = |i: usize| format!("{} ", (i * i * 7 + seed * 131) % 997);
    let words: String = (0..count).map(word).collect();
    words.trim_end().to_owned()
}

fn script(lines: &[Value]) -> ReplyScript {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    ReplyScript::read(lines.join("\n").as_bytes()).expect("a script")
}

fn say(talk: &mut Conversation, words: &str) -> Said {
    let mut script = script(&[json!({"content": "Noted."})]);
    let input = Input::Text(words.to_owned());
    turn(talk, input, &options(), Some(&mut script), &|_| false).expect("a turn")
}

/// Turns until a compression is due.
fn fill(talk: &mut Conversation, from: usize) {
    for at in from.. {
        say(talk, &format!("Fact {at} is {}", words(at, 15)));
        if talk.idle_jobs(&options()).contains(&IdleJob::Compress) {
            return;
        }
    }
}

/// A compression in idle time: its receipts.
fn compressed(talk: &mut Conversation) -> Vec<Receipt> {
    let mut script = script(&[json!({"job": "compress", "content": "Goal: facts."})]);
    let mut receipts = Vec::new();
    let job = IdleJob::Compress;
    let on = &mut |event| {
        if let Event::Receipt(receipt) = event {
            receipts.push(*receipt);
        }
    };
    let done = talk.idle(
        job,
        &options(),
        None,
        Some(&mut script),
        &Arc::default(),
        on,
    );
    done.expect("no error");
    receipts
}

fn stored(desk: &Desk, name: &str) -> Vec<Value> {
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    let session = db.find(name).expect("a query").expect("a session");
    db.receipts(session.id).expect("receipts")
}

#[test]
fn a_compression_moves_the_last_turns_and_every_receipt_says_it_until_they_are_read_again() {
    let desk = desk(Class::Dense);
    let engine = desk.engine().expect("an engine");
    let mut talk = open(&engine, &desk);
    println!("     kept  moved  read    new  context");
    let line = |what: &str, r: &Receipt| {
        let (kept, moved, read, new) = (r.kept, r.shifted, r.evaluated, r.appended);
        println!(
            "{kept:>9} {moved:>6} {read:>5} {new:>6} {:>8}  {what}",
            r.context
        );
    };
    for round in 0..2 {
        fill(&mut talk, 100 * round);
        let before = talk.mirror().ledger;
        let receipts = compressed(&mut talk);
        let [fork, read] = &receipts[..] else {
            panic!("{receipts:?}");
        };
        line("instruction", fork);
        line("read", read);
        let after = talk.mirror().ledger;
        // What both end with.
        let same = before.iter().rev().zip(after.iter().rev());
        let same = same.take_while(|(a, b)| a == b).count();
        let common = common_prefix(&before, &after);
        assert_eq!((fork.approximate, fork.shifted), (round > 0, 0));
        assert!(read.approximate && read.shifted + 1 == same, "{read:?}");
        assert_eq!(read.evaluated, after.len() - same - common, "{read:?}");
        assert_eq!(read.kept, common + read.shifted);
        assert_eq!((&read.miss, read.finish), (&None, Finish::Stop));
        assert!(read.evaluated < read.appended);
        for _ in 0..2 {
            let said = say(&mut talk, "And now?");
            let r = said.receipt();
            line("message", r);
            assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{r:?}");
            assert!(r.approximate && r.shifted == 0, "{r:?}");
        }
    }
    assert_eq!(talk.info().name, "work-3");
    let all = stored(&desk, "work-3");
    assert!(all.iter().all(|r| r["approximate"] == true), "{all:?}");
    assert!(all[0]["shifted"].as_u64() > Some(0), "{all:?}");
    talk.close().expect("a close");
    drop(engine);

    // The next process reads the turns, and says why.
    let engine = desk.engine().expect("an engine");
    let mut talk = open(&engine, &desk);
    let said = say(&mut talk, "And after a restart?");
    let r = said.receipt();
    line("restart", r);
    let why = r.miss.as_ref().map(|miss| miss.reason.as_str());
    assert!(
        why.is_some_and(|why| why.contains("--shift had moved it")),
        "{r:?}"
    );
    assert!(
        !r.approximate && r.restored > 0 && r.evaluated > r.appended,
        "{r:?}"
    );
    let said = say(&mut talk, "And again?");
    let r = said.receipt();
    assert_eq!(
        (r.evaluated, &r.miss, r.approximate),
        (r.appended, &None, false),
        "{r:?}"
    );
    talk.close().expect("a close");
    drop(engine);

    // It was fixed when the session started, whatever a later process says.
    let mut other = Desk::with_model(&desk.model);
    (other.home, other.limit) = (desk.home.clone(), LIMIT);
    let mut options = other.options();
    options.shift = Some(false);
    let engine = Engine::open(&options, &mut |_| true).expect("an engine");
    let mut talk = open(&engine, &other);
    let said = say(&mut talk, "Are you there?");
    let keeps = "session work-3 keeps the setting of --shift it was started with, on";
    assert!(
        said.notices.iter().any(|n| n == keeps),
        "{:?}",
        said.notices
    );
    let r = said.receipt();
    assert_eq!(
        (r.evaluated, &r.miss, r.approximate),
        (r.appended, &None, false),
        "{r:?}"
    );
    fill(&mut talk, 500);
    assert!(compressed(&mut talk)[1].shifted > 0);
}

#[test]
fn a_message_that_comes_before_the_reading_has_the_last_turns_moved_too() {
    let desk = desk(Class::Dense);
    let engine = desk.engine().expect("an engine");
    let mut talk = open(&engine, &desk);
    fill(&mut talk, 0);
    let cancel: Arc<std::sync::atomic::AtomicBool> = Arc::default();
    let flag = cancel.clone();
    let mut lines = script(&[json!({"job": "compress", "content": "Goal: facts."})]);
    let on = &mut |event| {
        if let Event::Compress {
            stage: npast::agent::CompressStage::Written,
        } = event
        {
            flag.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    };
    let job = IdleJob::Compress;
    talk.idle(job, &options(), None, Some(&mut lines), &cancel, on)
        .expect("no error");
    assert_eq!(talk.idle_jobs(&options()), [IdleJob::Read]);
    let said = say(&mut talk, "Meanwhile.");
    let r = said.receipt();
    assert_eq!(
        (r.kind, r.approximate, &r.miss),
        (CallKind::Turn, true, &None),
        "{r:?}"
    );
    assert!(r.shifted > 0 && r.evaluated < r.appended, "{r:?}");
}

#[test]
fn what_cannot_be_moved_is_read_and_that_is_said_once() {
    for class in [Class::Swa, Class::Hybrid, Class::Recurrent] {
        let desk = desk(class);
        let engine = desk.engine().expect("an engine");
        let mut talk = open(&engine, &desk);
        let mut said = 0;
        for round in 0..2 {
            fill(&mut talk, 100 * round);
            let receipts = compressed(&mut talk);
            let read = receipts.last().expect("a receipt");
            assert_eq!((read.shifted, read.approximate), (0, false), "{class:?}");
            let r = say(&mut talk, "And now?");
            let here = r
                .notices
                .iter()
                .filter(|n| n.contains("--shift moves nothing"));
            said += here.count();
            assert_eq!(
                (r.receipt().evaluated, &r.receipt().miss),
                (r.receipt().appended, &None)
            );
        }
        assert_eq!(said, 1, "{class:?}");
    }
}
