//! What a grant does not cover: calls that a rule of the user's asks about, and files with instructions.

use serde_json::json;

use super::tests::{home, judged, rules, setup, tool};
use super::*;

fn asked(approvals: &Approvals, name: &str, call: &Value) -> Question {
    match approvals.judge(&tool(name), call) {
        CallVerdict::Ask(question) => question,
        other => panic!("{name} {call}: {other:?}"),
    }
}

/// What a grant would open, as rules and in words.
fn opened(question: &Question, project: &str) -> (Vec<String>, Option<String>) {
    let rules = question.rules.iter();
    let rules = rules.map(|rule| rule.to_string().replace(project, "PROJECT"));
    (rules.collect(), question.scope.clone())
}

#[test]
fn where_a_rule_asks_only_a_grant_of_that_very_call_counts() {
    let (_dir, data) = home();
    let mut setup = setup(&data);
    setup.rules.ask = rules(&[
        "write_file: src/*",
        "edit_file: src/*",
        "read_file: src/secret",
        "fetch_url: https://a.b/private/*",
        "server_call",
        "terminal: git commit *",
    ]);
    let project = setup.places.project.to_string_lossy().into_owned();
    let (mut approvals, _) = Approvals::new(setup);
    let write = |path: &str| json!({"path": path});
    let url = |path: &str| json!({"url": format!("https://a.b/{path}")});
    let call = |text: &str| json!({"call": text});
    let run = |text: &str| json!({"command": text});
    // Broad grants: all edits, all pages of a server, a command.
    let broad = [
        ("write_file", write("README")),
        ("fetch_url", url("page")),
        ("terminal", run("make")),
    ];
    for (name, arguments) in broad {
        let question = asked(&approvals, name, &arguments);
        approvals.grant(&question, Grant::Always);
        assert_eq!(judged(&approvals, name, arguments), '+');
    }
    assert_eq!(judged(&approvals, "write_file", write("other")), '+');
    assert_eq!(judged(&approvals, "fetch_url", url("other")), '+');
    let table = [
        (
            "write_file",
            write("src/a"),
            write("src/b"),
            vec!["edit_file: PROJECT/src/a", "write_file: PROJECT/src/a"],
            "all changes of this file",
        ),
        (
            "read_file",
            write("src/secret"),
            write("src/secret"),
            vec!["read_file: PROJECT/src/secret"],
            "read_file for this path",
        ),
        (
            "fetch_url",
            url("private/a*"),
            url("private/abc"),
            vec!["fetch_url: https://a.b/private/a[*]"],
            "exactly this address",
        ),
        (
            "server_call",
            call("send {}"),
            call("send {1}"),
            vec!["server_call: send [{][}]"],
            "exactly this call",
        ),
        (
            "terminal",
            run("git commit -m x && make"),
            run("git commit -m y"),
            vec!["terminal: git commit -m x", "terminal: make"],
            "exactly these commands",
        ),
    ];
    for (name, arguments, other, rules, scope) in table {
        let question = asked(&approvals, name, &arguments);
        assert!(question.why.as_ref().unwrap().starts_with("the rule \""));
        let rules = rules.into_iter().map(str::to_owned).collect();
        let want = (rules, Some(scope.to_owned()));
        assert_eq!(opened(&question, &project), want);
        approvals.grant(&question, Grant::Session);
        assert_eq!(judged(&approvals, name, arguments), '+', "{name}");
        if name != "read_file" {
            assert_eq!(judged(&approvals, name, other), '?', "{name}");
        }
    }
    // A call that is no short line is granted once.
    let long = call(&"x".repeat(5000));
    assert_eq!(asked(&approvals, "server_call", &long).rules, []);
    let lines = call("send\n{}");
    assert_eq!(asked(&approvals, "server_call", &lines).rules, []);
}

#[test]
fn no_grant_and_no_mode_for_edits_covers_instructions_to_agents_or_what_git_runs() {
    let (_dir, data) = home();
    let files = [
        "AGENTS.md",
        "src/CLAUDE.md",
        ".npast.md",
        ".npast/skills/a/SKILL.md",
        "src/.npast/skills/a/run.sh",
        ".git/config",
    ];
    let with = |policy, attended, allow: &[&str]| {
        let mut setup = ApprovalSetup {
            policy,
            attended,
            ..setup(&data)
        };
        setup.rules.allow = rules(allow);
        Approvals::new(setup).0
    };
    let mut approvals = with(Approve::Ask, true, &[]);
    let plain = json!({"path": "src/a"});
    let question = asked(&approvals, "write_file", &plain);
    approvals.grant(&question, Grant::Always);
    let after = with(Approve::Ask, true, &[]);
    for granted in [&approvals, &after] {
        assert_eq!(judged(granted, "write_file", plain.clone()), '+');
        for path in files {
            let question = asked(granted, "write_file", &json!({"path": path}));
            assert_eq!(opened(&question, "").0, [""; 0], "{path}");
            assert_eq!(question.scope, None, "{path}");
            assert!(question.why.is_some(), "{path}");
            // Reading them is free.
            assert_eq!(judged(granted, "read_file", json!({"path": path})), '+');
        }
    }
    // An answer for one of them, whatever it is, is for that call.
    let question = asked(&approvals, "write_file", &json!({"path": "AGENTS.md"}));
    approvals.grant(&question, Grant::Session);
    assert_eq!(
        judged(&approvals, "write_file", json!({"path": "AGENTS.md"})),
        '?'
    );
    let table = [
        (Approve::Edits, true, &[][..], '?', '?'),
        (Approve::Edits, false, &[], '-', '-'),
        (Approve::Auto, true, &[], '+', '?'),
        (Approve::Ask, true, &["write_file: **"], '+', '?'),
    ];
    for (policy, attended, allow, instructions, git) in table {
        let approvals = with(policy, attended, allow);
        for path in files {
            let want = match path.starts_with(".git") {
                true => git,
                false => instructions,
            };
            let got = judged(&approvals, "write_file", json!({"path": path}));
            assert_eq!(got, want, "{policy:?} {attended} {path}");
        }
    }
}
