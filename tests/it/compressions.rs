//! Conversations that come to the context's end and go on: what a compression reads, what stays, what
//! it is refused for, and what a crash in the middle of one leaves.

use npast::agent::{
    CompressOptions, Conversation, Engine, Input, NewSession, Open, Receipt, TurnOptions,
};
use npast::chat::Script;
use npast::ledger::Finish;
use npast::session::{Db, Made, Session};
use npast::slot::Kind;
use serde_json::json;

use crate::model::Class;
use crate::talk::{self, Desk, Said, turn};
use crate::witness::{Reader, Stored};

fn desk(class: Class, limit: usize) -> Desk {
    let mut desk = Desk::new(class, None);
    desk.system = Some("You are brief.".to_owned());
    desk.limit = limit;
    desk
}

fn auto() -> TurnOptions {
    TurnOptions {
        compress: Some(CompressOptions::default()),
        ..talk::greedy(400)
    }
}

fn open(engine: &Engine, desk: &Desk, name: &str) -> Conversation {
    let new: NewSession = desk.new_session();
    let open = Open::Named(name.to_owned());
    engine.conversation(open, new).expect("a session")
}

/// A reply and, for a compression that may follow it, a summary.
fn lines(reply: &str, summary: &str) -> Script {
    let lines = [
        json!({ "content": reply }),
        json!({"job": "compress", "content": summary}),
    ];
    let text = lines.map(|line| line.to_string()).join("\n");
    Script::read(text.as_bytes()).expect("a script")
}

fn say(talk: &mut Conversation, words: &str, reply: &str, summary: &str) -> Said {
    let mut script = lines(reply, summary);
    let input = Input::Text(words.to_owned());
    turn(talk, input, &auto(), Some(&mut script), &|_| false).expect("a turn")
}

/// Words that differ from one turn to the next.
fn words(seed: usize, count: usize) -> String {
    let word = |i: usize| format!("{} ", (i * i * 7 + seed * 131) % 997);
    (0..count)
        .map(word)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn row(desk: &Desk, name: &str) -> Session {
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    db.find(name).expect("a query").expect("a session")
}

fn names(desk: &Desk, name: &str) -> Vec<String> {
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    let id = db.find(name).expect("a query").expect("a session").id;
    let chain = db.lineage(id).expect("a lineage");
    chain.into_iter().map(|session| session.name).collect()
}

/// What one compression cost.
struct Cost {
    turn: usize,
    before: usize,
    fork: Receipt,
    read: Receipt,
    after: usize,
}

fn print(class: Class, costs: &[Cost], turns: &[Receipt]) {
    println!(
        "\n{:<10} turn  tokens  instruction  summary    kept  restored    read  tokens",
        class.as_str()
    );
    for cost in costs {
        println!(
            "{:>15} {:>7} {:>12} {:>8} {:>7} {:>9} {:>7} {:>7}",
            cost.turn,
            cost.before,
            cost.fork.evaluated,
            cost.fork.generated,
            cost.read.kept,
            cost.read.restored,
            cost.read.evaluated,
            cost.after
        );
    }
    let sum = |of: fn(&Receipt) -> usize| turns.iter().map(of).sum::<usize>();
    println!(
        "{} other calls: evaluated {}, appended {}",
        turns.len(),
        sum(|r| r.evaluated),
        sum(|r| r.appended)
    );
}

#[test]
fn sixty_turns_with_six_compressions_and_restarts_read_nothing_twice_on_every_class() {
    for class in Class::ALL {
        let desk = desk(class, LIMIT);
        let (mut engine, mut costs, mut turns) =
            (desk.engine().expect("an engine"), Vec::new(), Vec::new());
        let mut talk = open(&engine, &desk, "work");
        let mut context = 0;
        for at in 0..TURNS {
            let said = say(
                &mut talk,
                &format!(
                    "Fact {at} is {}",
                    words(at, if at == 0 { 4 } else { WORDS })
                ),
                &format!(
                    "Noted {at}: {}",
                    words(at + 1000, if at == 0 { 4 } else { WORDS / 2 })
                ),
                &format!(
                    "Goal\nkeep facts\nDone\nfacts up to {at}, among them {}",
                    words(at, 20)
                ),
            );
            let what = format!("{class:?}, turn {at}");
            let of = |kind| said.receipts.iter().filter(move |r| r.kind == kind);
            let call = of(Kind::Turn).next().expect("a reply");
            assert_eq!(
                (call.evaluated, &call.miss),
                (call.appended, &None),
                "{what}: {call:?}"
            );
            turns.push(call.clone());
            let held = std::mem::replace(&mut context, call.context);
            match &of(Kind::Fork).chain(of(Kind::Idle)).collect::<Vec<_>>()[..] {
                [] => {}
                [fork, read] => {
                    let child = Stored::of(&desk, &talk.info().name);
                    // The instruction follows what the slot holds.
                    let after = said.receipts[0].kind == Kind::Turn;
                    let held = if after { call.context } else { held };
                    assert_eq!((fork.kept, fork.restored), (held, 0), "{what}");
                    assert_eq!(fork.evaluated, fork.appended);
                    // Summary, tail and what stands around them; not what stays in its place.
                    // Where the memory can be cut anywhere, the marks before the note are there too.
                    let found = read.appended - read.evaluated;
                    assert!(found < 16, "{what}: {read:?}");
                    assert_eq!(
                        (&read.miss, read.finish),
                        (&None, Finish::Stop),
                        "{what}: {read:?}"
                    );
                    assert_eq!(read.prompt(), read.context);
                    costs.push(Cost {
                        turn: at,
                        before: held + 1,
                        fork: (*fork).clone(),
                        read: (*read).clone(),
                        after: read.prompt() + 1,
                    });
                    Reader::of(&desk).render(&child);
                    if costs.len() % 2 == 0 {
                        talk.close().expect("a close");
                        drop(engine);
                        engine = desk.engine().expect("an engine");
                        talk = open(&engine, &desk, "work");
                        assert_eq!(talk.info().name, format!("work-{}", costs.len() + 1));
                    }
                }
                other => panic!("{what}: {other:?}"),
            }
        }
        print(class, &costs, &turns);
        assert_eq!(costs.len(), 6, "{class:?}");
        let chain = names(&desk, "work");
        assert_eq!(
            chain,
            [
                "work", "work-2", "work-3", "work-4", "work-5", "work-6", "work-7"
            ]
        );
        assert_eq!(row(&desk, "work-7").made, Some(Made::Compressed));
        talk.close().expect("a close");
    }
}

const LIMIT: usize = 2048;
const TURNS: usize = 60;
const WORDS: usize = 40;
