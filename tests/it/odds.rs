//! How likely tokens were, by the rows that they were chosen from: of a conversation and of side work.

use std::sync::{Arc, Mutex};

use npast::ledger::Token;
use npast::slot::{Base, CallKind, Fork, Odds, ReplyOptions, SlotCall, SlotEvent, Target};
use tokio::sync::mpsc::unbounded_channel;

use crate::model::Class;
use crate::rig::{Rig, script, tokens};

/// All that a reply says of its tokens, and the rows that they were chosen from.
fn told(rig: &mut Rig, fork: bool, odds: Option<usize>) -> (Vec<Odds>, Vec<Vec<f32>>) {
    let rows: Arc<Mutex<Vec<Vec<f32>>>> = Arc::default();
    let seen = rows.clone();
    let observe = move |row: &[f32]| seen.lock().expect("rows").push(row.to_vec());
    let reply = ReplyOptions {
        odds,
        ..script(&tokens(2, 5), Box::new(observe))
    };
    let (events, mut inbox) = unbounded_channel();
    let answer = match fork {
        false => rig.handle().call(SlotCall {
            kind: CallKind::Turn,
            owner: "test".to_owned(),
            target: Target::whole(tokens(1, 70)),
            head: 0,
            common: 0,
            decoded: 0,
            moved: None,
            reply: Some(reply),
            step: false,
            cancel: Arc::default(),
            events,
        }),
        true => rig.handle().fork(Fork {
            base: Base::Nothing,
            keep: false,
            store: false,
            tokens: tokens(1, 70),
            reply,
            cancel: Arc::default(),
            events,
        }),
    };
    answer.expect("a live engine").wait().expect("an outcome");
    let (mut told, mut sampled) = (Vec::new(), Vec::new());
    while let Ok(event) = inbox.try_recv() {
        match event {
            SlotEvent::Odds(odds) => told.push(*odds),
            SlotEvent::Sampled(token) => sampled.push(token),
            _ => {}
        }
    }
    assert_eq!(sampled, tokens(2, 5));
    let rows = std::mem::take(&mut *rows.lock().expect("rows"));
    (told, rows)
}

#[test]
fn the_probabilities_of_a_vocabulary_are_one_together_and_are_those_of_the_tokens_own_row() {
    for class in Class::ALL {
        for fork in [false, true] {
            let mut rig = Rig::new(class, None);
            let (told, rows) = told(&mut rig, fork, Some(usize::MAX));
            assert_eq!(told.len(), 5);
            for ((odds, row), token) in told.iter().zip(&rows).zip(tokens(2, 5)) {
                assert_eq!(odds.token, token);
                assert_eq!(odds.top.len(), row.len());
                let sum: f64 = odds.top.iter().map(|(_, l)| f64::from(*l).exp()).sum();
                assert!((sum - 1.0).abs() < 1e-4, "{class:?}: {sum}");
                let likeliest = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
                let Token(first) = odds.top[0].0;
                assert_eq!(row[first as usize], row[likeliest.expect("a row")]);
                let of = |token: Token| odds.top.iter().find(|(t, _)| *t == token);
                assert_eq!(of(token).map(|(_, l)| *l), Some(odds.logprob));
                // The difference of two logits is that of their logarithms.
                let by_row = row[token.0 as usize] - row[first as usize];
                assert!((odds.logprob - odds.top[0].1 - by_row).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn nothing_is_told_where_nobody_asks() {
    let mut rig = Rig::new(Class::Dense, None);
    let (told, rows) = told(&mut rig, false, None);
    assert_eq!((told.len(), rows.len()), (0, 5));
}
