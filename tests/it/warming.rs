//! Before a model is there, the files that the session's restore will want are asked for: they are
//! read while weights load.

use npast::agent::{AgentError, Input, Options, WhichSession, preflight};

use crate::model::Class;
use crate::talk::{Desk, greedy};

/// Bytes that are asked for; `None` where nothing is warmed.
fn asked(options: &Options, session: &str) -> Result<Option<u64>, AgentError> {
    let warming = preflight(options, &WhichSession::Named(session.to_owned()), "folder")?;
    Ok(warming.map(|warming| warming.wait()))
}

#[test]
fn what_a_sessions_restore_reads_is_asked_for_before_the_model_is_loaded_on_every_class() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        for (session, words) in [("other", "Something else."), ("work", "Hello there.")] {
            let reply = r#"{"content": "Good day to you, whoever you are!"}"#;
            let input = Input::Text(words.to_owned());
            desk.turn(session, input, &greedy(100), Some(reply))
                .expect("a turn");
        }
        let options = desk.options();
        let bytes = asked(&options, "work").expect("a session").expect("it");

        let again = Input::Text("And then?".to_owned());
        let said = desk
            .turn("work", again, &greedy(1), None)
            .expect("a turn in a new process");
        let restored = said.receipt().restored_bytes;
        // Files hold their headers, tokens and logits rows besides.
        assert!(
            restored > 0 && restored <= bytes && bytes < restored + restored / 2 + (64 << 10),
            "{class:?}: {bytes} asked for, {restored} restored"
        );
        assert_eq!(asked(&options, "new").expect("no session"), None);
        let off = Options {
            store_kv: false,
            ..options
        };
        assert_eq!(asked(&off, "work").expect("a session"), None);
    }
}
