//! The rules, with the forms in which clients write what they are about.

use serde_json::json;

use super::*;

/// The beginning of a long system text: rules about lines weigh them against all of it.
fn long(tail: &str) -> String {
    let body = "You help with code. Be brief, and say what you did.\n".repeat(40);
    format!("{body}{tail}")
}

fn systems(was: &str, is: &str, rules: PinRules) -> PinVerdict {
    let pin = |text| Pinned {
        system: Some(text),
        ..Pinned::default()
    };
    compare(pin(was), pin(is), rules)
}

/// What a client wrote on two days, and the rule that lets it pass.
const FORMS: &[(&str, PinRule, &str, &str)] = &[
    // Claude Code, from memory.
    (
        "claude code, date",
        PinRule::Date,
        "<env>\nToday's date: 2026-11-30\n</env>",
        "<env>\nToday's date: 2026-12-01\n</env>",
    ),
    (
        "claude code, reminder",
        PinRule::Date,
        "# currentDate\nToday's date is 2026-11-30.\n",
        "# currentDate\nToday's date is 2026-12-01.\n",
    ),
    (
        "claude code, billing",
        PinRule::BillingLine,
        "x-anthropic-billing-header: cc_version=2.1.9; cc_entrypoint=cli; cch=00000;\nYou help.",
        "x-anthropic-billing-header: cc_version=2.1.9; cc_entrypoint=cli; cch=a5f12;\nYou help.",
    ),
    (
        "claude code, no billing",
        PinRule::BillingLine,
        "x-anthropic-billing-header: cch=00000;\nYou help.",
        "You help.",
    ),
    (
        "claude code, model",
        PinRule::ModelName,
        "You are powered by the model named Opus 4.1. The exact model ID is claude-opus-4-1-20250805.\n\nGo.",
        "You are powered by the model named Sonnet 4.5. The exact model ID is claude-sonnet-4-5.\n\nGo.",
    ),
    (
        "claude code, git",
        PinRule::GitStatus,
        "gitStatus: This is the git status at the start of the conversation.\n\nCurrent branch: main\n\nStatus:\n M src/a.rs\n?? b\n\nRecent commits:\nabc1234 first\n",
        "gitStatus: This is the git status at the start of the conversation.\n\nCurrent branch: work\n\nStatus:\n(clean)\n\nRecent commits:\nabc1235 second\nabc1234 first\n",
    ),
    // OpenCode, from memory: JavaScript's toDateString.
    (
        "opencode, date",
        PinRule::Date,
        "<env>\n  Platform: linux\n  Today's date: Mon Nov 30 2026\n</env>",
        "<env>\n  Platform: linux\n  Today's date: Tue Dec 01 2026\n</env>",
    ),
    (
        "opencode, model",
        PinRule::ModelName,
        "You are powered by the model named local. The exact model ID is npast/local.\nGo.",
        "You are powered by the model named local-2. The exact model ID is npast/local-2.\nGo.",
    ),
    // Hermes, from memory.
    (
        "hermes, start",
        PinRule::Date,
        "Conversation started: Monday, November 30, 2026 10:12 AM\nModel: a",
        "Conversation started: Tuesday, December 01, 2026 09:01 PM\nModel: a",
    ),
    (
        "hermes, model",
        PinRule::ModelName,
        "Model: qwen3.5-4b\nProvider: custom",
        "Model: qwen3.5-9b\nProvider: custom",
    ),
    // Codex, from memory.
    (
        "codex, date",
        PinRule::Date,
        "<environment_context><cwd>/x</cwd><current_date>2026-11-30</current_date></environment_context>",
        "<environment_context><cwd>/x</cwd><current_date>2026-12-01</current_date></environment_context>",
    ),
    (
        "codex, zone",
        PinRule::Time,
        "<timezone>Europe/Berlin</timezone>",
        "<timezone>UTC</timezone>",
    ),
    (
        "codex, model",
        PinRule::ModelName,
        "You are GPT-5.1 running in the Codex CLI, a terminal.",
        "You are GPT-5.2 running in the Codex CLI, a terminal.",
    ),
    // Others.
    (
        "a clock",
        PinRule::Time,
        "Current time: 10:12:01 AM",
        "Current time: 11:00:59 PM",
    ),
    (
        "a moment",
        PinRule::Date,
        "The current date and time is 2026-11-30T10:12:01Z.",
        "The current date and time is 2026-11-30T10:12:02Z.",
    ),
];

#[test]
fn each_form_is_let_pass_by_its_rule_and_by_no_other() {
    for (what, rule, was, is) in FORMS {
        let kept = systems(was, is, PinRules::all());
        let PinVerdict::Kept(seen) = &kept else {
            panic!("{what}: {kept:?}");
        };
        assert!(
            seen.iter().all(|s| s.rule == *rule) && !seen.is_empty(),
            "{what}: {seen:?}"
        );
        assert_eq!(note(seen).is_some(), rule.told(), "{what}");
        let off = systems(was, is, PinRules::all().without(*rule));
        assert!(
            matches!(off, PinVerdict::New(_)),
            "{what} without its rule: {off:?}"
        );
        assert_eq!(
            systems(was, was, PinRules::none()),
            PinVerdict::Kept(Vec::new()),
            "{what}"
        );
    }
}

#[test]
fn what_else_such_a_line_says_is_compared() {
    let table = [
        (
            "Today's date is 2026-11-30. Be kind.",
            "Today's date is 2026-12-01. Be rude.",
        ),
        ("The deadline is 2026-11-30.", "The deadline is 2026-12-30."),
        (
            "You are powered by the model named A. Never delete.",
            "You are powered by the model named B. Always delete.",
        ),
        (
            "gitStatus: x\nCurrent branch: main\nNever push.",
            "gitStatus: x\nCurrent branch: main\nAlways push.",
        ),
        ("Model: a is good", "Model: b is good"),
    ];
    for (was, is) in table {
        let verdict = systems(was, is, PinRules::all());
        assert!(
            matches!(verdict, PinVerdict::New(_)),
            "{was} / {is}: {verdict:?}"
        );
    }
}

#[test]
fn a_few_lines_of_a_long_text_are_said_to_the_model_and_more_are_another_prompt() {
    let was = long("Memory: 3 notes.\nToday's date: 2026-11-30\n");
    let is = long("Memory: 4 notes, the last of the cat.\nToday's date: 2026-12-01\n");
    let PinVerdict::Kept(seen) = systems(&was, &is, PinRules::all()) else {
        panic!("not kept");
    };
    assert_eq!(
        note(&seen).as_deref(),
        Some(
            "This has changed since the conversation began:\n\
             - The date was 2026-11-30, it is now 2026-12-01.\n\
             - Where the instructions said: Memory: 3 notes.\n  they now say: Memory: 4 notes, the last of the cat."
        )
    );
    let without = PinRules::all().without(PinRule::FewLines);
    assert!(matches!(systems(&was, &is, without), PinVerdict::New(_)));
    // A short text is another one at once, and so is a long one of which much differs.
    let poet = systems("You are a pirate.", "You are a poet.", PinRules::all());
    assert_eq!(
        poet,
        PinVerdict::New("the system text differs from character 11 on, in 1 lines of 1".into())
    );
    let many = long("a\nb\nc\nd\n");
    assert!(matches!(
        systems(&long(""), &many, PinRules::all()),
        PinVerdict::New(_)
    ));
    assert_eq!(note(&[]), None);
}

#[test]
fn tools_are_a_set_whose_members_are_compared_by_meaning() {
    let tool = |name: &str, text: &str| {
        json!({"type": "function", "function": {"name": name, "description": text,
            "parameters": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"minimum": 1}}}}})
    };
    let (read, list) = (tool("read", "Reads."), tool("list", "Lists."));
    let mut marked = list.clone();
    marked["cache_control"] = json!({"type": "ephemeral"});
    marked["function"]["parameters"] =
        json!({"properties": {"b": {"minimum": 1.0}, "a": {"type": "string"}}, "type": "object"});
    let verdict = |was: Value, is: Value, rules| {
        let pin = |tools| Pinned {
            tools,
            ..Pinned::default()
        };
        compare(pin(Some(&was)), pin(Some(&is)), rules)
    };
    let was = json!([read, list]);
    let PinVerdict::Kept(seen) = verdict(was.clone(), json!([marked, read]), PinRules::all())
    else {
        panic!("the same tools");
    };
    let rules: Vec<_> = seen.iter().map(|s| s.rule).collect();
    assert_eq!(rules, [PinRule::CacheControl, PinRule::ToolOrder]);
    for rule in rules {
        let off = verdict(
            was.clone(),
            json!([marked, read]),
            PinRules::all().without(rule),
        );
        assert!(matches!(off, PinVerdict::New(_)), "{rule:?}");
    }
    let dated = |day: &str| json!([tool("read", &format!("Reads.\nToday's date is {day}."))]);
    let kept = verdict(dated("2026-11-30"), dated("2026-12-01"), PinRules::all());
    assert!(matches!(kept, PinVerdict::Kept(seen) if seen.len() == 1));
    let table = [
        (json!([read]), "the list of tools changed: list went"),
        (
            json!([read, list, tool("write", "")]),
            "the list of tools changed: write came",
        ),
        (
            json!([read, tool("list", "Lists all.")]),
            "the description of the tool list changed",
        ),
        (json!([]), "the list of tools changed: read, list went"),
    ];
    for (is, why) in table {
        assert_eq!(
            verdict(was.clone(), is, PinRules::all()),
            PinVerdict::New(why.into())
        );
    }
    let mut other = list.clone();
    other["function"]["parameters"]["properties"]["b"]["minimum"] = json!(2);
    assert_eq!(
        verdict(was, json!([read, other]), PinRules::all()),
        PinVerdict::New("the parameters of the tool list changed".into())
    );
    let none = compare(
        Pinned::default(),
        Pinned {
            tools: Some(&json!([])),
            ..Pinned::default()
        },
        PinRules::none(),
    );
    assert_eq!(none, PinVerdict::Kept(Vec::new()));
}

#[test]
fn in_the_first_message_only_blocks_of_the_client_are_masked() {
    let reminder = |day: &str, words: &str| {
        format!("<system-reminder>\nToday's date is {day}.\n</system-reminder>\n{words}")
    };
    let was = reminder("2026-11-30", "Fix the test.");
    let is = reminder("2026-12-01", "Fix the test.");
    assert_eq!(masked_first(&was), masked_first(&is));
    assert_ne!(
        masked_first(&was),
        masked_first(&reminder("2026-11-30", "Fix the text."))
    );
    assert_ne!(
        masked_first("Today's date is 2026-11-30."),
        masked_first("Today's date is 2026-12-01.")
    );
    let pin = |text| Pinned {
        first: Some(text),
        ..Pinned::default()
    };
    let kept = compare(pin(&was), pin(&is), PinRules::all());
    assert!(
        matches!(&kept, PinVerdict::Kept(seen) if seen[0].place == HeadPlace::First),
        "{kept:?}"
    );
    let off = compare(pin(&was), pin(&is), PinRules::all().without(PinRule::Date));
    assert_eq!(
        off,
        PinVerdict::New("the first message has another date".into())
    );
}

#[test]
fn every_rule_has_a_name_that_is_read_back() {
    for rule in PinRule::ALL {
        assert_eq!(PinRule::parse(rule.name()), Some(rule));
        assert!(PinRules::all().has(rule) && !PinRules::all().without(rule).has(rule));
    }
}
