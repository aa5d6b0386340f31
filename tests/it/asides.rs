//! Questions beside the conversation: answered with all that it holds, at the cost of the question, and
//! the conversation is afterwards what it was, to the last bit (law 8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npast::agent::{Conversation, Event, Input, Receipt, TurnEnd, WhichSession};
use npast::chat::ReplyScript;
use npast::ledger::Finish;
use npast::slot::CallKind;

use crate::model::Class;
use crate::talk::{Desk, greedy, turn};

struct Answer {
    text: String,
    receipts: Vec<Receipt>,
    end: Result<TurnEnd, npast::agent::AgentError>,
}

fn aside(talk: &mut Conversation, question: &str, script: Option<&str>, cut: bool) -> Answer {
    let cancel = Arc::new(AtomicBool::new(false));
    let mut script = script.map(|text| ReplyScript::read(text.as_bytes()).expect("a script"));
    let (mut text, mut receipts) = (String::new(), Vec::new());
    let flag = cancel.clone();
    let end = talk.aside(
        question,
        &greedy(40),
        script.as_mut(),
        &cancel,
        &mut |event| match event {
            Event::Text { text: more } => {
                text += &more;
                flag.store(cut, Ordering::SeqCst);
            }
            Event::Receipt(receipt) => receipts.push(*receipt),
            _ => {}
        },
    );
    Answer {
        text,
        receipts,
        end,
    }
}

fn say(talk: &mut Conversation, text: &str, most: usize) -> Receipt {
    let input = Input::Text(text.to_owned());
    let said = turn(talk, input, &greedy(most), None, &|_| false).expect("a turn");
    said.receipt().clone()
}

/// The three questions: one whose answer is prepared, one that is sampled, one that is interrupted.
fn questions(talk: &mut Conversation) -> Vec<Receipt> {
    let line = r#"{"job":"btw","content":"It was seventeen."}"#;
    let scripted = aside(talk, "Which number was it?", Some(line), false);
    assert_eq!(scripted.text, "It was seventeen.");
    assert_eq!(scripted.end.expect("an answer").finish, Finish::Stop);
    let sampled = aside(talk, "Which number was it?", None, false);
    sampled.end.expect("an answer");
    let long = "one and then ".repeat(400);
    let line = format!(r#"{{"job":"btw","content":"{long}"}}"#);
    let cut = aside(talk, "Count to a thousand.", Some(&line), true);
    assert!(cut.text.len() < long.len());
    [scripted.receipts, sampled.receipts, cut.receipts].concat()
}

#[test]
fn a_question_beside_the_conversation_costs_itself_and_changes_nothing_on_every_class() {
    for class in Class::ALL {
        let next = |asked: bool| {
            let desk = Desk::new(class, None);
            let engine = desk.engine().expect("an engine");
            let open = WhichSession::Named("work".to_owned());
            let mut talk = engine
                .conversation(open, desk.new_session())
                .expect("a session");
            let early = aside(&mut talk, "Anything?", None, false);
            assert_eq!(early.end.expect_err("nothing was said yet").kind(), "input");
            say(&mut talk, &"Remember seventeen, please. ".repeat(12), 12);
            let before = talk.mirror();
            if asked {
                let receipts = questions(&mut talk);
                assert_eq!(receipts.len(), 3, "one receipt a question");
                for receipt in receipts {
                    assert_eq!((receipt.kind, receipt.restored), (CallKind::Fork, 0));
                    assert_eq!(
                        receipt.evaluated, receipt.appended,
                        "{class:?}: {receipt:?}"
                    );
                    assert!(receipt.kept > receipt.evaluated, "{class:?}: {receipt:?}");
                }
            }
            assert_eq!(talk.mirror(), before, "{class:?}");
            let next = say(&mut talk, "Go on.", 0);
            assert_eq!(next.evaluated, next.appended, "{class:?}");
            let row = talk.next_logits().expect("an engine").expect("a row");
            let bits: Vec<u32> = row.iter().map(|x| x.to_bits()).collect();
            (bits, talk.mirror().ledger)
        };
        assert_eq!(next(true), next(false), "{class:?}");
    }
}
