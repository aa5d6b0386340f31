//! How it ends: a context that is full, an engine that panics. Neither hangs, neither lies.

use npast::ledger::Finish;
use npast::slot::{CallKind, SlotCall, SlotError, Target};
use tokio::sync::mpsc::unbounded_channel;

use crate::model::Class;
use crate::rig::{Rig, Settings, Stop, script, tokens};

#[test]
fn a_full_conversation_says_so_and_can_still_fork_and_be_stored() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            limit: 400,
            ..Settings::default()
        };
        let mut rig = Rig::with(class, Some(home.path()), settings);
        let prompt = tokens(1, 380);
        let said = tokens(2, 60);
        let (outcome, _) = rig.say(&prompt, &said);
        assert_eq!(outcome.finish, Finish::Context, "{class:?}");
        assert_eq!((outcome.context(), outcome.pending), (400, 1));
        let full = [&prompt[..], &said[..20]].concat();
        assert_eq!(rig.held(), full);

        let more = [&full[..], &said[20..21]].concat();
        let (refused, rows) = rig.ask("test", &more, Some(&said), Stop::Never);
        let limits = match refused {
            Err(SlotError::TooLong { tokens, limit }) => (tokens, limit),
            other => panic!("{class:?}: {other:?}"),
        };
        assert_eq!((limits, rows.len()), ((401, 400), 0));
        assert_eq!(rig.held(), full, "a refusal changes nothing");

        let base = rig.base(true);
        let (side, rows) = rig.fork(base, &tokens(3, 300), &tokens(4, 60));
        assert!(side.error.is_none(), "{:?}", side.error);
        assert_eq!((side.evaluated, rows.len()), (300, 60));
        assert_eq!(rig.held(), full);

        let mut rig = rig.restart();
        let back = rig.rewind(&full);
        assert_eq!((back.restored, back.evaluated), (400, 0), "{class:?}");
    }
}

#[test]
fn an_engine_that_panics_fails_every_waiting_and_later_call_with_the_reason() {
    let rig = Rig::new(Class::Dense, None);
    let call = |observe: npast::slot::Observe| SlotCall {
        kind: CallKind::Turn,
        owner: "test".to_owned(),
        target: Target::whole(tokens(1, 90)),
        head: 0,
        common: 0,
        decoded: 0,
        moved: None,
        reply: Some(script(&tokens(2, 3), observe)),
        step: false,
        cancel: Default::default(),
        events: unbounded_channel().0,
    };
    // The engine waits inside the first call until the second one is queued behind it.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let handle = rig.handle().clone();
    let first = handle.call(call(Box::new(move |_| {
        let _ = wait.recv();
        panic!("on purpose");
    })));
    let second = handle.call(call(Box::new(|_| ())));
    go.send(()).expect("a waiting engine");
    for answer in [first, second] {
        let died = answer.expect("a live engine").wait();
        assert!(
            matches!(&died, Err(SlotError::Dead(why)) if why == "on purpose"),
            "{died:?}"
        );
    }
    let dead = |e: SlotError| matches!(e, SlotError::Dead(why) if why == "on purpose");
    assert!(handle.call(call(Box::new(|_| ()))).err().is_some_and(dead));
    assert!(handle.held().is_err_and(dead) && handle.row().is_err_and(dead));
}
