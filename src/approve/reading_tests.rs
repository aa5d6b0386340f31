//! What is read unasked, under each rule and policy.

use super::super::tests::{home, rules, setup};
use super::super::{ApprovalRules, ApprovalSetup, Approve};
use super::*;

/// A file's content is told to those who may read it.
#[test]
fn what_may_be_read_unasked_follows_rules_grants_and_the_policy() {
    let (_dir, data) = home();
    let work = data.parent().unwrap().join("work");
    let outside = data.parent().unwrap().join("elsewhere/a");
    let with = |policy, attended, deny: &[&str], ask: &[&str], allow: &[&str]| {
        let [deny, ask, allow] = [deny, ask, allow].map(rules);
        let rules = ApprovalRules { allow, ask, deny };
        let setup = ApprovalSetup {
            policy,
            attended,
            rules,
            ..setup(&data)
        };
        Approvals::new(setup).0
    };
    let plain = with(Approve::Ask, true, &[], &[], &[]);
    assert!(plain.reads_unasked(&work.join("a")));
    assert!(!plain.reads_unasked(&outside));
    assert!(with(Approve::Auto, true, &[], &[], &[]).reads_unasked(&outside));
    assert!(!with(Approve::Auto, true, &[], &["read_file"], &[]).reads_unasked(&outside));
    assert!(
        with(Approve::Ask, true, &[], &[], &["read_file: ~/elsewhere/*"]).reads_unasked(&outside)
    );
    let denied = with(Approve::Auto, true, &["read_file: **/a"], &[], &[]);
    assert!(!denied.reads_unasked(&work.join("a")));
    assert!(denied.reads_unasked(&work.join("b")));
    assert!(!with(Approve::Auto, true, &[], &["read_file: a"], &[]).reads_unasked(&work.join("a")));
}
