use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::session::{MessageState, Span, testing};

/// Adds a user's message and a reply of some tokens each; the reply's last one is pending.
fn turn(db: &mut Db, id: SessionId, words: &str, tokens: i32) -> (MessageId, MessageId) {
    let mut unit = db.begin(id).unwrap();
    let new: Vec<Token> = (0..tokens).map(|i| Token(i + words.len() as i32)).collect();
    let span = |start: usize| Span {
        start,
        end: start + new.len(),
    };
    let at = unit.ledger_len();
    let body = |role: &str| json!({"role": role, "content": words});
    let user = unit.add_message("user", &body("user"), MessageState::Answered);
    let user = user.unwrap();
    unit.append_tokens(at, &new).unwrap();
    unit.set_span(user, span(at)).unwrap();
    let reply = unit.add_message("assistant", &body("assistant"), MessageState::Answered);
    let reply = reply.unwrap();
    unit.append_tokens(at + new.len(), &new).unwrap();
    unit.set_span(reply, span(at + new.len())).unwrap();
    unit.set_pending(1).unwrap();
    unit.commit().unwrap();
    (user, reply)
}

/// The texts of a conversation's users, its tokens, and whether one is pending.
fn seen(db: &Db, id: SessionId) -> (Vec<String>, Vec<Token>, usize) {
    let texts = db.messages(id).unwrap().into_iter();
    let texts = texts.filter(|m| m.role == "user");
    let texts = texts.map(|m| m.body["content"].as_str().unwrap().to_owned());
    (
        texts.collect(),
        db.ledger(id).unwrap(),
        db.pending(id).unwrap(),
    )
}

fn after(reply: MessageId, at: usize) -> CutPoint {
    CutPoint {
        after: Some(reply),
        at,
        pending: 1,
    }
}

fn abandon(db: &mut Db, id: SessionId, cut: CutPoint, why: Why) -> BranchId {
    let mut unit = db.begin(id).unwrap();
    let branch = unit.abandon(cut, why).unwrap();
    unit.commit().unwrap();
    branch
}

fn reattach(db: &mut Db, id: SessionId, branch: BranchId) -> Result<()> {
    let mut unit = db.begin(id).unwrap();
    unit.reattach(branch)?;
    unit.commit()
}

#[test]
fn what_is_taken_off_is_gone_from_the_conversation_and_comes_back_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, session) = testing::disk(home.path());
    let id = session.id;
    let (_, first) = turn(&mut db, id, "one", 3);
    turn(&mut db, id, "two", 2);
    turn(&mut db, id, "three", 4);
    let whole = seen(&db, id);
    let messages = db.messages(id).unwrap();

    let branch = abandon(&mut db, id, after(first, 10), Why::Undo);
    let (texts, ledger, pending) = seen(&db, id);
    assert_eq!((texts, pending), (vec!["one".to_owned()], 1));
    assert_eq!(ledger, whole.1[..10]);
    assert_eq!(db.list().unwrap()[0].messages, 2);
    assert_eq!(db.branch_messages(id, branch).unwrap(), messages[2..]);
    let left = db.branches(id).unwrap();
    assert_eq!(
        (left[0].at, left[0].tokens, left[0].why),
        (10, 12, Why::Undo)
    );

    // What is said instead gets its own place, and neither is lost when they change places.
    turn(&mut db, id, "other", 5);
    let other = seen(&db, id);
    reattach(&mut db, id, branch).unwrap();
    assert_eq!(seen(&db, id), whole);
    assert_eq!(db.messages(id).unwrap(), messages);
    let left = db.branches(id).unwrap();
    assert_eq!((left.len(), left[0].why), (1, Why::Redo));
    reattach(&mut db, id, left[0].id).unwrap();
    assert_eq!(seen(&db, id), other);
}

#[test]
fn a_branch_of_what_was_taken_off_waits_until_that_is_back() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, session) = testing::disk(home.path());
    let id = session.id;
    let (_, first) = turn(&mut db, id, "one", 3);
    let (_, second) = turn(&mut db, id, "two", 2);
    turn(&mut db, id, "three", 4);
    let whole = seen(&db, id);
    let inner = abandon(&mut db, id, after(second, 14), Why::Undo);
    let outer = abandon(&mut db, id, after(first, 10), Why::Undo);
    let parents: Vec<_> = db.branches(id).unwrap().iter().map(|b| b.parent).collect();
    assert_eq!(parents, [Some(outer), None]);
    let error = reattach(&mut db, id, inner).unwrap_err();
    assert!(
        error.to_string().contains("must be put back first"),
        "{error}"
    );
    reattach(&mut db, id, outer).unwrap();
    reattach(&mut db, id, inner).unwrap();
    assert_eq!(seen(&db, id), whole);
    assert_eq!(db.branches(id).unwrap(), []);
}

#[test]
fn a_cut_that_was_not_committed_never_was() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, session) = testing::disk(home.path());
    let id = session.id;
    let (_, first) = turn(&mut db, id, "one", 3);
    turn(&mut db, id, "two", 2);
    let whole = seen(&db, id);
    let mut unit = db.begin(id).unwrap();
    unit.abandon(after(first, 10), Why::Undo).unwrap();
    drop(unit);
    assert_eq!(seen(&db, id), whole);
    assert_eq!(db.branches(id).unwrap(), []);
    let branch = abandon(&mut db, id, after(first, 10), Why::Undo);
    let cut = seen(&db, id);
    let mut unit = db.begin(id).unwrap();
    unit.reattach(branch).unwrap();
    drop(unit);
    assert_eq!(seen(&db, id), cut);
    assert_eq!(db.branches(id).unwrap().len(), 1);
}

#[test]
fn a_cut_is_refused_past_the_end_inside_the_head_and_at_a_message_of_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, session) = testing::disk(home.path());
    let id = session.id;
    let (_, first) = turn(&mut db, id, "one", 3);
    let other = db.create(&testing::new("other")).unwrap();
    let (_, foreign) = turn(&mut db, other.id, "x", 1);
    let wrong = |cut: CutPoint| {
        let mut db = Db::open(&home.path().join("npast.db")).unwrap();
        let mut unit = db.begin(id).unwrap();
        unit.abandon(cut, Why::Undo).unwrap_err()
    };
    assert!(matches!(wrong(after(first, 11)), DbError::Gap { .. }));
    assert!(matches!(wrong(after(first, 3)), DbError::Frozen { .. }));
    assert!(matches!(wrong(after(foreign, 10)), DbError::NotFound(_)));
    let error = reattach(&mut db, id, BranchId(9)).unwrap_err();
    assert_eq!(error.to_string(), "there is no branch 9");
}

#[test]
fn what_a_branch_followed_and_was_rewritten_since_keeps_it_from_coming_back() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, session) = testing::disk(home.path());
    let id = session.id;
    let (_, first) = turn(&mut db, id, "one", 3);
    turn(&mut db, id, "two", 2);
    let branch = abandon(&mut db, id, after(first, 10), Why::Undo);
    let mut unit = db.begin(id).unwrap();
    unit.cut_tokens(9).unwrap();
    unit.append_tokens(9, &[Token(77)]).unwrap();
    unit.commit().unwrap();
    let before = seen(&db, id);
    let error = reattach(&mut db, id, branch).unwrap_err();
    assert!(error.to_string().contains("was rewritten since"), "{error}");
    assert_eq!(seen(&db, id), before);
}

#[test]
fn a_fork_has_what_was_before_the_cut_and_goes_its_own_way() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, session) = testing::disk(home.path());
    let id = session.id;
    let (_, first) = turn(&mut db, id, "one", 3);
    turn(&mut db, id, "two", 2);
    let before = seen(&db, id);
    let seen_by = |db: &Db, id| db.messages(id).unwrap();
    let old = seen_by(&db, id);
    let child = db.fork(id, "child", after(first, 10), &old).unwrap();
    assert_eq!((child.parent, child.forked), (Some(id), Some(10)));
    assert_eq!((child.head, child.seed), (session.head, session.seed));
    turn(&mut db, child.id, "three", 1);
    let (texts, ledger, pending) = seen(&db, child.id);
    assert_eq!((texts, pending), (vec!["one".into(), "three".into()], 1));
    assert_eq!(ledger[..10], before.1[..10]);
    assert_eq!(seen(&db, id), before);
    db.remove(id).unwrap();
    assert_eq!(db.get(child.id).unwrap().parent, None);
    assert_eq!(seen(&db, child.id).1, ledger);
    for (name, error) in [("child", "exists already"), ("a/b", "separator")] {
        let now = seen_by(&db, child.id);
        let refused = db.fork(child.id, name, after(now[1].id, 10), &now);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(error), "{refused}");
    }
    // Another process said something since the cut was made.
    let stale = db.fork(child.id, "late", after(first, 10), &old);
    assert!(matches!(stale, Err(DbError::Locked)));
    assert_eq!(db.list().unwrap().len(), 1);
}

#[test]
fn a_session_goes_with_its_branches() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, session) = testing::disk(home.path());
    let (_, first) = turn(&mut db, session.id, "one", 3);
    turn(&mut db, session.id, "two", 3);
    abandon(&mut db, session.id, after(first, 10), Why::Undo);
    db.remove(session.id).unwrap();
    for table in ["messages", "branches", "chunks"] {
        let sql = format!("SELECT count(*) FROM {table}");
        let left: i64 = db.conn.query_row(&sql, [], |r| r.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Say(i32),
    Undo(usize),
    Redo(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1i32..9).prop_map(Step::Say),
        2 => (0usize..9).prop_map(Step::Undo),
        2 => (0usize..9).prop_map(Step::Redo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Every message that was ever said is in the conversation or on a branch, with its tokens, and
    /// every branch can be reached.
    #[test]
    fn nothing_is_lost_in_any_order_of_turns_undos_and_redos(
        steps in prop::collection::vec(step(), 1..24)
    ) {
        let home = tempfile::tempdir().unwrap();
        let (mut db, session) = testing::disk(home.path());
        let id = session.id;
        let mut said: Vec<(String, Vec<Token>)> = Vec::new();
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Say(n) => {
                    let words = "x".repeat(i + 1);
                    turn(&mut db, id, &words, n);
                    said.push((words, seen(&db, id).1));
                }
                Step::Undo(n) => {
                    let messages = db.messages(id).unwrap();
                    let replies: Vec<_> = messages.iter().filter(|m| m.role == "assistant").collect();
                    let cut = match replies.get(n) {
                        Some(reply) => after(reply.id, reply.span.unwrap().end),
                        None => CutPoint { after: None, at: session.head, pending: 0 },
                    };
                    abandon(&mut db, id, cut, Why::Undo);
                }
                Step::Redo(n) => {
                    let branches = db.branches(id).unwrap();
                    let direct: Vec<_> = branches.iter().filter(|b| b.parent.is_none()).collect();
                    if let Some(branch) = direct.get(n % direct.len().max(1)) {
                        reattach(&mut db, id, branch.id).unwrap();
                    }
                }
            }
            let spans: Vec<Span> = db.messages(id).unwrap().iter().filter_map(|m| m.span).collect();
            let len = db.ledger(id).unwrap().len();
            prop_assert!(spans.windows(2).all(|w| w[0].end == w[1].start), "{:?}", spans);
            prop_assert_eq!(spans.last().map_or(session.head, |s| s.end), len);
        }
        // Each conversation that ever was can be had again, by the way down its branches.
        for (words, ledger) in said {
            let mut way = Vec::new();
            let branches = db.branches(id).unwrap();
            let holds = |b: &&Branch| {
                db.branch_messages(id, b.id).unwrap().iter().any(|m| m.body["content"] == words.as_str())
            };
            let mut next = branches.iter().find(holds);
            while let Some(branch) = next {
                way.push(branch.id);
                next = branches.iter().find(|b| Some(b.id) == branch.parent);
            }
            for branch in way.into_iter().rev() {
                reattach(&mut db, id, branch).unwrap();
            }
            prop_assert!(db.ledger(id).unwrap().starts_with(&ledger));
        }
    }
}

/// The files as a power cut leaves them, opened by a process that knows nothing of the first one.
#[test]
fn after_a_crash_a_conversation_is_as_before_a_cut_or_as_after_it() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, session) = testing::disk(home.path());
    let id = session.id;
    let (_, first) = turn(&mut db, id, "one", 3);
    turn(&mut db, id, "two", 2);
    let crashed = || {
        let other = tempfile::tempdir().unwrap();
        for name in ["npast.db", "npast.db-wal"] {
            std::fs::copy(home.path().join(name), other.path().join(name)).unwrap();
        }
        let db = Db::open(&other.path().join("npast.db")).unwrap();
        let branches = db.branches(id).unwrap().len();
        (seen(&db, id), branches)
    };
    let whole = (seen(&db, id), 0);
    let mut unit = db.begin(id).unwrap();
    unit.abandon(after(first, 10), Why::Undo).unwrap();
    assert_eq!(crashed(), whole);
    unit.commit().unwrap();
    let cut = (seen(&db, id), 1);
    assert_eq!(crashed(), cut);
    let branch = db.branches(id).unwrap()[0].id;
    let mut unit = db.begin(id).unwrap();
    unit.reattach(branch).unwrap();
    assert_eq!(crashed(), cut);
    unit.commit().unwrap();
    assert_eq!(crashed(), whole);
}
