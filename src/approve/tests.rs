//! Stories of calls: what is allowed, asked and refused, and what a grant opens.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::tools::{CallContext, Spec, ToolAnswer};

/// A tool whose subject is what its arguments say.
pub(super) struct Fake {
    spec: Spec,
    effect: Effect,
}

impl Tool for Fake {
    fn spec(&self) -> &Spec {
        &self.spec
    }
    fn effect(&self, _: &Value) -> Effect {
        self.effect
    }
    fn subject(&self, arguments: &Value, project: &Path) -> Subject {
        let text = |key: &str| arguments[key].as_str().map(str::to_owned);
        match (text("command"), text("path"), text("url"), text("call")) {
            (Some(command), ..) => Subject::Command(command),
            (_, Some(path), ..) => Subject::Path(project.join(path)),
            (_, _, Some(url), _) => Subject::Url(url),
            (_, _, _, Some(call)) => Subject::Call(call),
            _ => Subject::Own,
        }
    }
    fn caution(&self) -> Option<&str> {
        let open = self.spec.name.starts_with("open_");
        open.then_some("its server may reach the network")
    }
    fn run(&self, _: &Value, _: &CallContext<'_>) -> ToolAnswer {
        ToolAnswer::good("")
    }
}

pub(super) fn tool(name: &str) -> Fake {
    let effect = match name {
        "terminal" | "server_call" => Effect::Runs,
        "write_file" => Effect::Writes,
        "fetch_url" => Effect::Network,
        _ => Effect::Reads,
    };
    Fake {
        spec: Spec::new(name, "", json!({"type": "object"})),
        effect,
    }
}

pub(super) fn setup(data: &Path) -> ApprovalSetup {
    let home = data.parent().unwrap().to_owned();
    ApprovalSetup {
        policy: Approve::Ask,
        rules: ApprovalRules::default(),
        places: ShellPlaces {
            project: home.join("work"),
            home,
            data: data.to_owned(),
        },
        temp: data.join("temp"),
        sandbox: SandboxMode::Sandbox,
        attended: true,
    }
}

pub(super) fn home() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    for name in ["data", "work/src", "elsewhere"] {
        std::fs::create_dir_all(top.join(name)).unwrap();
    }
    (dir, top.join("data"))
}

pub(super) fn rules(texts: &[&str]) -> Vec<ApprovalRule> {
    texts
        .iter()
        .map(|t| ApprovalRule::parse(t).unwrap())
        .collect()
}

/// `+` allowed, `?` asked, `-` refused.
pub(super) fn judged(approvals: &Approvals, name: &str, arguments: Value) -> char {
    match approvals.judge(&tool(name), &arguments) {
        CallVerdict::Allow(_) => '+',
        CallVerdict::Ask(_) => '?',
        CallVerdict::Deny(_) => '-',
    }
}

#[test]
fn each_policy_says_what_happens_without_a_rule() {
    let (_dir, data) = home();
    // ask, auto, deny, and ask with nobody there.
    let table = [
        ("read_file", json!({"path": "src/a.rs"}), "++++"),
        ("read_file", json!({"path": "/etc/passwd"}), "?+--"),
        ("write_file", json!({"path": "src/a.rs"}), "?+--"),
        (
            "write_file",
            json!({"path": ".git/hooks/pre-commit"}),
            "??--",
        ),
        ("write_file", json!({"path": "a/.GIT/config"}), "??--"),
        ("terminal", json!({"command": "make"}), "?+--"),
        ("terminal", json!({"command": "pwd; cd src"}), "++++"),
        ("terminal", json!({"command": "cd /etc"}), "?+--"),
        ("terminal", json!({"command": "echo x > y"}), "?+--"),
        ("terminal", json!({"command": "curl x | sh"}), "??--"),
        ("terminal", json!({"command": "echo 'open"}), "??--"),
        ("terminal", json!({"command": "[ -f x ] && make"}), "?+--"),
        ("terminal", json!({"command": "[ -f x ]"}), "?+--"),
        (
            "terminal",
            json!({"command": "if [[ -f x ]]; then make; fi"}),
            "?+--",
        ),
        ("terminal", json!({"command": "PATH=. ; echo"}), "?+--"),
        (
            "terminal",
            json!({"command": "for PATH in .; do echo; done"}),
            "?+--",
        ),
        (
            "terminal",
            json!({"command": "echo < /dev/tcp/a.b/1"}),
            "?+--",
        ),
        ("terminal", json!({"command": "$X"}), "??--"),
        ("terminal", json!({"command": "rm -rf /"}), "----"),
        ("terminal", json!({}), "++++"),
        ("fetch_url", json!({"url": "https://a.b/c"}), "?+--"),
        ("server_call", json!({"call": "x"}), "?+--"),
        ("todo", json!({}), "++++"),
    ];
    for (name, arguments, want) in table {
        let runs = [
            (Approve::Ask, true),
            (Approve::Auto, true),
            (Approve::Deny, true),
            (Approve::Ask, false),
        ];
        let got: String = runs
            .map(|(policy, attended)| {
                let (approvals, _) = Approvals::new(ApprovalSetup {
                    policy,
                    attended,
                    ..setup(&data)
                });
                judged(&approvals, name, arguments.clone())
            })
            .into_iter()
            .collect();
        assert_eq!(got, want, "{name} {arguments}");
    }
}

#[test]
fn a_chain_is_allowed_only_if_every_part_of_it_is() {
    let (_dir, data) = home();
    let (approvals, _) = Approvals::new(ApprovalSetup {
        rules: ApprovalRules {
            allow: rules(&[
                "terminal: cargo test *",
                "terminal: git status",
                "terminal: sort",
                "terminal: timeout *",
                "terminal: ls 'a*'",
                "terminal: [ -f *",
                "terminal: sh -c *",
            ]),
            ask: rules(&["terminal: git status --all"]),
            deny: rules(&["terminal: git push *", "server_*"]),
        },
        ..setup(&data)
    });
    let table = [
        ("cargo test", '+'),
        ("cargo test --lib 'a b' 2>/dev/null", '+'),
        ("cd src && cargo test | sort; git status", '?'),
        ("cargo test | sort; git status", '+'),
        ("timeout 5 cargo test", '+'),
        ("timeout 5 cargo run", '?'),
        ("cargo run", '?'),
        ("cargo test && make", '?'),
        ("cargo test $(make)", '?'),
        ("cargo test `make`", '?'),
        ("cargo test $X", '?'),
        ("cargo test *", '?'),
        ("cargo test > out", '?'),
        ("X=1 cargo test", '?'),
        ("PATH=. ; cargo test", '?'),
        ("export PATH=.; cargo test", '?'),
        ("cargo() { make; }; cargo test", '?'),
        ("alias cargo=make; cargo test", '?'),
        ("cargo test\nmake", '?'),
        ("[ -f Makefile ] && cargo test", '+'),
        ("if [ -f 'a b' ]; then git status; fi", '+'),
        ("[ -d Makefile ] && cargo test", '?'),
        ("[ -f Makefile ] && make", '?'),
        ("[ -f $(make) ]", '?'),
        ("for f in a b; do git status; done", '+'),
        ("for PATH in a b; do git status; done", '?'),
        ("for HOME in a b; do git status; done", '?'),
        ("read -r PATH; git status", '?'),
        ("sh -c 'git status'", '+'),
        ("sh -c 'for PATH in .; do git status; done'", '?'),
        ("sh -c '[[ x && make ]]'", '?'),
        ("git status < /dev/tcp/a/1", '?'),
        ("git status < in", '+'),
        ("cargo test & make", '?'),
        ("'cargo' te\"st\"", '+'),
        ("./cargo test", '?'),
        ("/tmp/cargo test", '?'),
        ("git status -s", '?'),
        ("ls 'a*'", '+'),
        ("ls abc", '?'),
        ("git push", '-'),
        ("/usr/bin/git push --force", '-'),
        ("sh -c 'git push'", '-'),
        ("make && git push origin", '-'),
        ("sudo git push", '-'),
    ];
    for (command, want) in table {
        assert_eq!(
            judged(&approvals, "terminal", json!({"command": command})),
            want,
            "{command}"
        );
    }
    assert_eq!(judged(&approvals, "server_call", json!({"call": "x"})), '-');
}

/// What bash runs otherwise than it looks needs somebody, and no rule and no policy lets it run.
#[test]
fn what_cannot_be_read_with_certainty_is_asked_about_whatever_the_rules_say() {
    let (_dir, data) = home();
    let many: Vec<String> = (0..70).map(|n| n.to_string()).collect();
    let table = [
        "echo x; [[ -v 'a[$(touch P)]' ]]".to_owned(),
        "echo x; [[ 'a[$(touch P)]' -eq 1 ]]".into(),
        "echo a && [[ x == x && -v 'a[$(touch P)]' ]] ; pwd".into(),
        "if [[ -v 'a[$(touch P)]' ]]; then :; fi; echo x".into(),
        "echo x; (( '$(touch P)' ))".into(),
        "for ((x='$(touch P)';0;)); do echo; done; echo x".into(),
        "for x in 'a[$(touch P)]'; do ((x)); echo y; done".into(),
        "for x in 'a[$(touch P)]'; do echo $((x)); done".into(),
        "echo {{1..70},$(touch P)}".into(),
        format!("echo {{{},$(touch P)}}", many.join(",")),
        r"echo $'\\'$(touch P)'\'".into(),
        "echo <<EF\nE\\\nF\ntouch P\nEF\n".into(),
        "echo <<$'E'\nE\ntouch P\nE\n".into(),
        "RANDOM='a[$(touch P)]'; echo".into(),
        "test -v 'a[$(touch P)]'".into(),
    ];
    for (policy, attended, want) in [
        (Approve::Ask, true, '?'),
        (Approve::Auto, true, '?'),
        (Approve::Auto, false, '-'),
        (Approve::Deny, true, '-'),
    ] {
        let mut setup = ApprovalSetup {
            policy,
            attended,
            ..setup(&data)
        };
        setup.rules.allow = rules(&["terminal"]);
        let (approvals, _) = Approvals::new(setup);
        for command in &table {
            let got = judged(&approvals, "terminal", json!({"command": command}));
            assert_eq!(got, want, "{policy:?} {command}");
        }
    }
    // Here bash runs what is read, and it is no `echo`.
    let (deny, _) = Approvals::new(ApprovalSetup {
        policy: Approve::Deny,
        ..setup(&data)
    });
    let seen = json!({"command": r"echo \$'\'; touch P #'\'"});
    assert_eq!(judged(&deny, "terminal", seen), '-');
}

#[test]
fn paths_and_addresses_match_by_glob() {
    let (_dir, data) = home();
    let (approvals, _) = Approvals::new(ApprovalSetup {
        rules: ApprovalRules {
            allow: rules(&[
                "write_file: src/**",
                "write_file: ~/elsewhere/*.txt",
                "fetch_url: https://docs.rs/*",
            ]),
            ask: Vec::new(),
            deny: rules(&["read_file: **/secret*"]),
        },
        ..setup(&data)
    });
    let table = [
        ("write_file", json!({"path": "src/a/b.rs"}), '+'),
        ("write_file", json!({"path": "README"}), '?'),
        ("write_file", json!({"path": "../elsewhere/a.txt"}), '?'),
        ("read_file", json!({"path": "src/secret.txt"}), '-'),
        ("fetch_url", json!({"url": "https://docs.rs/a/b"}), '+'),
        (
            "fetch_url",
            json!({"url": "https://docs.rs.evil.org/"}),
            '?',
        ),
        ("fetch_url", json!({"url": "http://docs.rs/"}), '?'),
    ];
    for (name, arguments, want) in table {
        assert_eq!(
            judged(&approvals, name, arguments.clone()),
            want,
            "{name} {arguments}"
        );
    }
    let path = approvals.setup.places.home.join("elsewhere/a.txt");
    assert_eq!(judged(&approvals, "write_file", json!({"path": path})), '+');
}

#[test]
fn grants_hold_once_for_the_session_or_for_the_project() {
    let (_dir, data) = home();
    let (mut approvals, _) = Approvals::new(setup(&data));
    let call = json!({"command": "make all && ./run 'a*'"});
    let ask = |approvals: &Approvals, call: &Value| match approvals.judge(&tool("terminal"), call) {
        CallVerdict::Ask(question) => question,
        other => panic!("{other:?}"),
    };
    let question = ask(&approvals, &call);
    let told: Vec<String> = question.rules.iter().map(ApprovalRule::to_string).collect();
    assert_eq!(told, ["terminal: make all", "terminal: ./run 'a*'"]);
    let bracket = ask(&approvals, &json!({"command": "[ -f x ] && make all"}));
    let told: Vec<String> = bracket.rules.iter().map(ApprovalRule::to_string).collect();
    assert_eq!(told, ["terminal: '[' -f x ']'", "terminal: make all"]);
    let run = |granted: Granted| (granted.run, granted.notice);
    assert_eq!(run(approvals.grant(&question, Grant::No)), (false, None));
    assert_eq!(run(approvals.grant(&question, Grant::Once)), (true, None));
    ask(&approvals, &call);
    approvals.grant(&question, Grant::Session);
    assert_eq!(judged(&approvals, "terminal", call.clone()), '+');
    assert_eq!(
        judged(&approvals, "terminal", json!({"command": "make all"})),
        '+'
    );
    assert_eq!(
        judged(&approvals, "terminal", json!({"command": "make clean"})),
        '?'
    );
    assert_eq!(
        judged(&approvals, "terminal", json!({"command": "./run abc"})),
        '?'
    );

    let (mut next, _) = Approvals::new(setup(&data));
    let question = ask(&next, &call);
    assert_eq!(run(next.grant(&question, Grant::Always)), (true, None));
    let (after, notice) = Approvals::new(setup(&data));
    assert_eq!(
        (judged(&after, "terminal", call.clone()), notice),
        ('+', None)
    );
    let mut other = setup(&data);
    other.places.project = data.parent().unwrap().join("elsewhere");
    let (other, _) = Approvals::new(other);
    assert_eq!(judged(&other, "terminal", call.clone()), '?');
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let facts = std::fs::metadata(data.join("approvals.toml")).unwrap();
        assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    }

    // What cannot be read with certainty is granted once or not at all.
    for command in ["make $X", "make > log", "ls *", "curl x | sh"] {
        assert_eq!(
            ask(&after, &json!({"command": command})).rules,
            [],
            "{command}"
        );
    }
    let write = |path: &str| match after.judge(&tool("write_file"), &json!({"path": path})) {
        CallVerdict::Ask(question) => question.rules.iter().map(ApprovalRule::to_string).collect(),
        _ => vec!["not asked".to_owned()],
    };
    let work = after.setup.places.project.display().to_string();
    let edits = ["edit_file", "write_file"].map(|tool| format!("{tool}: {work}/**"));
    assert_eq!(write("src/a"), edits);
    assert_eq!(write("/etc/hosts"), ["write_file: /etc/hosts"]);
    assert_eq!(write(".git/config"), [""; 0]);
}

/// People keep such files in a folder of their own, under version control.
#[cfg(unix)]
#[test]
fn approvals_that_are_a_link_stay_one_and_nothing_is_left_beside_them() {
    let (_dir, data) = home();
    let kept = data.join("dotfiles");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("mine.toml"), "").unwrap();
    std::os::unix::fs::symlink("dotfiles/mine.toml", data.join("approvals.toml")).unwrap();
    let (mut approvals, _) = Approvals::new(setup(&data));
    let call = json!({"command": "make"});
    let CallVerdict::Ask(question) = approvals.judge(&tool("terminal"), &call) else {
        panic!("not asked");
    };
    let granted = approvals.grant(&question, Grant::Always);
    assert!(granted.run && granted.notice.is_none());
    let link = data.join("approvals.toml").symlink_metadata().unwrap();
    assert!(link.is_symlink());
    let text = std::fs::read_to_string(kept.join("mine.toml")).unwrap();
    assert!(text.contains("make"), "{text}");
    assert_eq!(std::fs::read_dir(kept).unwrap().count(), 1);
}

#[test]
fn foreign_approvals_grant_nothing_and_are_never_overwritten() {
    let (_dir, data) = home();
    let file = data.join("approvals.toml");
    for text in [
        &b"allow = 7"[..],
        b"\xff\xfe",
        b"[[allow]]\nrule = \"a\"\n",
        b"not toml",
    ] {
        std::fs::write(&file, text).unwrap();
        let (mut approvals, notice) = Approvals::new(setup(&data));
        assert!(notice.unwrap().contains("nothing of it is granted"));
        let call = json!({"command": "make"});
        let CallVerdict::Ask(question) = approvals.judge(&tool("terminal"), &call) else {
            panic!("not asked");
        };
        let granted = approvals.grant(&question, Grant::Always);
        assert!(granted.run && granted.notice.unwrap().contains("for this session only"));
        assert_eq!(judged(&approvals, "terminal", call), '+');
        assert_eq!(std::fs::read(&file).unwrap(), text);
    }
}

#[test]
fn without_a_sandbox_commands_are_asked_about_whatever_the_rules_say() {
    let (_dir, data) = home();
    let with = |sandbox| {
        let (approvals, _) = Approvals::new(ApprovalSetup {
            policy: Approve::Auto,
            rules: ApprovalRules {
                allow: rules(&["terminal"]),
                ..ApprovalRules::default()
            },
            sandbox,
            ..setup(&data)
        });
        approvals
    };
    let call = json!({"command": "make"});
    assert_eq!(
        judged(&with(SandboxMode::Sandbox), "terminal", call.clone()),
        '+'
    );
    assert_eq!(
        judged(&with(SandboxMode::Off), "terminal", call.clone()),
        '+'
    );
    let mut missing = with(SandboxMode::Missing);
    let CallVerdict::Ask(question) = missing.judge(&tool("terminal"), &call) else {
        panic!("not asked");
    };
    assert_eq!(
        question.why.as_deref(),
        Some("there is no sandbox on this system")
    );
    missing.grant(&question, Grant::Session);
    assert_eq!(judged(&missing, "terminal", call), '+');
}

#[test]
fn what_is_shown_cannot_play_another_role() {
    let (_dir, data) = home();
    let (approvals, _) = Approvals::new(setup(&data));
    let shown =
        |command: String| match approvals.judge(&tool("terminal"), &json!({"command": command})) {
            CallVerdict::Ask(question) => question.text,
            other => panic!("{other:?}"),
        };
    assert_eq!(
        shown("make\u{1b}[2K\r\u{202e}x\u{200b}".into()),
        "make\\u{1b}[2K\\u{d}\\u{202e}x\\u{200b}"
    );
    let long = shown(format!("make {}", "a".repeat(69_995)));
    assert!(long.ends_with("… (6000 of 70000 characters are not shown)"));
}

#[test]
fn texts_that_are_no_rules_are_refused() {
    for (text, want) in [
        ("", "begins with a tool's name"),
        (": x", "begins with a tool's name"),
        ("a b: x", "begins with a tool's name"),
        ("terminal:", "nothing stands behind"),
        ("terminal: 'x", "quote is not closed"),
    ] {
        assert!(
            ApprovalRule::parse(text)
                .unwrap_err()
                .to_string()
                .contains(want),
            "{text}"
        );
    }
    for text in [
        "terminal",
        "mcp_*",
        "terminal: cargo test *",
        "write_file: src/**",
    ] {
        assert_eq!(ApprovalRule::parse(text).unwrap().to_string(), text);
    }
}

/// What a server may do that programs may not is opened in the configuration, but no model is to use
/// it unasked: only a rule or a grant of the user's lets its calls run under every policy.
#[test]
fn a_server_that_is_opened_is_asked_about_under_auto_until_a_rule_or_a_grant_allows_it() {
    let (_dir, data) = home();
    let approvals = |policy, sandbox, attended, allowed: &[&str]| {
        let mut setup = ApprovalSetup {
            policy,
            sandbox,
            attended,
            ..setup(&data)
        };
        setup.rules.allow = rules(allowed);
        Approvals::new(setup).0
    };
    let open = || json!({"call": "open_send {}"});
    let (auto, ask) = (Approve::Auto, Approve::Ask);
    let table = [
        (auto, SandboxMode::Sandbox, true, &[][..], '?'),
        (auto, SandboxMode::Sandbox, false, &[], '-'),
        (auto, SandboxMode::Sandbox, false, &["open_*"], '+'),
        (ask, SandboxMode::Sandbox, true, &["open_send"], '+'),
        (ask, SandboxMode::Sandbox, true, &[], '?'),
        (auto, SandboxMode::Off, false, &[], '+'),
        // Where there is no sandbox, rules that were made in one do not count.
        (auto, SandboxMode::Missing, true, &["open_*"], '?'),
    ];
    for (policy, sandbox, attended, allowed, want) in table {
        let approvals = approvals(policy, sandbox, attended, allowed);
        let got = judged(&approvals, "open_send", open());
        assert_eq!(got, want, "{policy:?} {sandbox:?} {attended} {allowed:?}");
    }
    // A server that is not opened runs under `auto`.
    let closed = approvals(auto, SandboxMode::Sandbox, false, &[]);
    assert_eq!(judged(&closed, "server_call", json!({"call": "x"})), '+');
    // A grant for always holds in the next run too.
    let mut first = approvals(auto, SandboxMode::Sandbox, true, &[]);
    let CallVerdict::Ask(question) = first.judge(&tool("open_send"), &open()) else {
        panic!("it is asked about");
    };
    let why = question.why.as_deref();
    assert_eq!(why, Some("its server may reach the network"));
    first.grant(&question, Grant::Always);
    let next = approvals(auto, SandboxMode::Sandbox, false, &[]);
    assert_eq!(judged(&next, "open_send", open()), '+');
}

#[test]
fn edits_run_files_of_the_project_are_changed_and_all_else_is_asked() {
    let (_dir, data) = home();
    let (mut approvals, _) = Approvals::new(setup(&data));
    approvals.set(Approve::Edits, true);
    let table = [
        ("write_file", json!({"path": "src/a.rs"}), '+'),
        ("write_file", json!({"path": "/etc/hosts"}), '?'),
        ("write_file", json!({"path": ".git/config"}), '?'),
        ("read_file", json!({"path": "/etc/passwd"}), '?'),
        ("terminal", json!({"command": "make"}), '?'),
    ];
    for (name, call, want) in table {
        assert_eq!(
            judged(&approvals, name, call.clone()),
            want,
            "{name} {call}"
        );
    }
    for mode in Approve::ALL {
        assert_eq!(Approve::parse(mode.as_str()), Some(mode));
        assert_eq!(json!(mode), json!(mode.as_str()));
    }
}

#[test]
fn a_question_has_a_verb_and_says_in_words_what_else_it_would_allow() {
    let (_dir, data) = home();
    let (mut approvals, _) = Approvals::new(setup(&data));
    let asked = |approvals: &Approvals, name: &str, call: Value| match approvals
        .judge(&tool(name), &call)
    {
        CallVerdict::Ask(question) => (question.verb, question.scope.unwrap_or_default()),
        other => panic!("{other:?}"),
    };
    let table = [
        (
            "terminal",
            json!({"command": "make"}),
            "run",
            "exactly this command",
        ),
        (
            "terminal",
            json!({"command": "make && ./x"}),
            "run",
            "exactly these commands",
        ),
        ("terminal", json!({"command": "echo $x"}), "run", ""),
        (
            "write_file",
            json!({"path": "a"}),
            "write",
            "all changes of files in this folder",
        ),
        (
            "read_file",
            json!({"path": "/etc/hosts"}),
            "read",
            "read_file for this path",
        ),
    ];
    for (name, call, verb, scope) in table {
        let want = (verb, scope.to_owned());
        assert_eq!(asked(&approvals, name, call.clone()), want, "{call}");
    }
    // One answer for edits covers both ways to change a file.
    let CallVerdict::Ask(question) = approvals.judge(&tool("write_file"), &json!({"path": "a"}))
    else {
        panic!("not asked");
    };
    approvals.grant(&question, Grant::Session);
    assert_eq!(judged(&approvals, "write_file", json!({"path": "b"})), '+');
    assert!(
        question
            .rules
            .iter()
            .any(|rule| rule.to_string().starts_with("edit_file: "))
    );
}

#[test]
fn a_denial_has_a_sentence_for_the_model_and_one_for_the_user() {
    let (_dir, data) = home();
    let mut setup = setup(&data);
    setup.rules.deny = rules(&["terminal: git push *"]);
    setup.attended = false;
    let (approvals, _) = Approvals::new(setup);
    let denied =
        |command: &str| match approvals.judge(&tool("terminal"), &json!({"command": command})) {
            CallVerdict::Deny(denial) => denial,
            other => panic!("{other:?}"),
        };
    let rule = denied("git push origin");
    assert_eq!(
        rule.to_user(),
        Some("not run: your rule \"terminal: git push *\" denies it")
    );
    assert!(rule.to_model().contains("the user's rule"));
    let nobody = denied("make");
    let to_user = nobody.to_user().unwrap_or_default();
    assert!(
        to_user.starts_with("not run: nobody can be asked"),
        "{to_user}"
    );
    let refused = Approvals::refusal(Some("use mkdir"));
    assert_eq!(
        refused.to_model(),
        "Not run: the user refused it and says: use mkdir"
    );
    assert_eq!(
        Approvals::refusal(None).to_user(),
        Some("not run: you said no")
    );
}
