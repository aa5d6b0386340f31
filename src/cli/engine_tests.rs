use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::config::ConfigLayer;
use crate::ledger::Digest;
use crate::session;

fn run(dir: &Path) -> CliContext {
    std::fs::create_dir_all(dir.join("models")).unwrap();
    std::fs::write(dir.join("models/a.gguf"), "x").unwrap();
    CliContext {
        places: Places {
            home: dir.to_owned(),
            config: dir.join("config.toml"),
            config_named: false,
        },
        json: false,
        quiet: false,
    }
}

fn start(dir: &Path, talk: &TalkArgs, layer: ConfigLayer) -> Result<Start, Failure> {
    Start::new(&run(dir), talk, Settings::new(layer).unwrap())
}

fn named(name: &str) -> TalkArgs {
    TalkArgs {
        session: Some(name.into()),
        ..TalkArgs::default()
    }
}

fn store(dir: &Path, name: &str, model: &str, open: bool) {
    let mut db = Db::open(&dir.join("npast.db")).unwrap();
    let session = db
        .create(&session::SessionRecord {
            name,
            folder: "/elsewhere",
            model,
            class: "dense",
            vocab: Digest([0; 32]),
            template: Digest([0; 32]),
            fingerprint: Digest([0; 32]),
            system: None,
            tools: None,
            preface: None,
            head: &[],
            common: None,
            started_ms: 0,
            seed: 1,
            policy: "exact",
            parent: None,
            runs_tools: false,
            thinking: true,
            shift: false,
        })
        .unwrap();
    let mut unit = db.begin(session.id).unwrap();
    let state = if open {
        MessageState::Open
    } else {
        MessageState::Answered
    };
    unit.add_message("user", &json!({"role": "user", "content": "a"}), state)
        .unwrap();
    unit.commit().unwrap();
}

#[test]
fn wrong_usage_is_found_before_a_model_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let here = |text: &str| text.replace(dir.path().to_str().unwrap(), "DIR");
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("bad"), b"\xff").unwrap();
    std::fs::write(file("big"), "x".repeat(MAX_TEMPLATE_BYTES + 1)).unwrap();
    let last = TalkArgs {
        last: true,
        ..TalkArgs::default()
    };
    let tools = TalkArgs {
        tools: Some("tools.json".into()),
        ..TalkArgs::default()
    };
    let template = |name: &str| ConfigLayer {
        chat_template: Some(file(name)),
        ..ConfigLayer::default()
    };
    let system = ConfigLayer {
        system: Some(format!("@{}", file("bad").display())),
        ..ConfigLayer::default()
    };
    let no_model = ConfigLayer {
        model: Some("nothing.gguf".into()),
        ..ConfigLayer::default()
    };
    let none = TalkArgs::default;
    let table = [
        (
            named("../x"),
            ConfigLayer::default(),
            "a session name may not contain the separator '/'",
        ),
        (
            named(""),
            ConfigLayer::default(),
            "a session name may not be empty",
        ),
        (
            last,
            ConfigLayer::default(),
            "no session was started in this folder yet",
        ),
        (
            tools,
            ConfigLayer::default(),
            "--tools takes a file, written @FILE, not \"tools.json\"",
        ),
        (
            none(),
            template("gone"),
            "the chat template in DIR/gone cannot be read: No such file or directory (os error 2)",
        ),
        (
            none(),
            template("big"),
            "the chat template in DIR/big has 524289 bytes, and 524288 are taken",
        ),
        (
            none(),
            system,
            "the system prompt in DIR/bad is not UTF-8 (at byte 0)",
        ),
        (
            none(),
            no_model,
            "the model nothing.gguf cannot be read: no such file here or in DIR/models",
        ),
    ];
    for (talk, layer, want) in table {
        let failure = start(dir.path(), &talk, layer).err().unwrap();
        assert_eq!(here(&failure.message), want);
        assert_eq!(failure.exit, 2, "{want}");
        assert!(failure.hint.is_some(), "{want}");
    }
    assert!(!file("npast.db").exists(), "looking makes no database");
}

#[test]
fn a_sessions_own_model_beats_the_files_and_a_flag_beats_both() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    std::fs::write(dir.path().join("models/b.gguf"), "x").unwrap();
    store(dir.path(), "work", "b.gguf", false);
    let model = |file: Option<&str>, layer| {
        let settings = Settings {
            default_model: file.map(PathBuf::from),
            ..Settings::new(layer).unwrap()
        };
        let start = Start::new(&run(dir.path()), &named("work"), settings).unwrap();
        let ModelPlace::Here(own) = start.way else {
            panic!("there is no gateway");
        };
        let path = own.options.model;
        path.file_name().unwrap().to_string_lossy().into_owned()
    };
    assert_eq!(model(None, ConfigLayer::default()), "b.gguf");
    assert_eq!(model(Some("a"), ConfigLayer::default()), "b.gguf");
    let flag = ConfigLayer {
        model: Some("a".into()),
        ..ConfigLayer::default()
    };
    assert_eq!(model(None, flag), "a.gguf");
    std::fs::remove_file(dir.path().join("models/b.gguf")).unwrap();
    std::fs::write(dir.path().join("models/c.gguf"), "x").unwrap();
    assert_eq!(model(Some("c"), ConfigLayer::default()), "c.gguf");
}

#[test]
fn a_message_that_a_crash_left_open_is_found() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path(), "open", "a.gguf", true);
    store(dir.path(), "done", "a.gguf", false);
    for (name, want) in [("open", true), ("done", false), ("new", false)] {
        let start = start(dir.path(), &named(name), ConfigLayer::default()).unwrap();
        assert_eq!(start.has_open_message().unwrap(), want, "{name}");
    }
}
