use std::ffi::OsString;

use super::*;

fn places(dir: &Path) -> Places {
    Places {
        home: dir.join("data"),
        config: dir.join("config.toml"),
        config_named: false,
    }
}

fn resolve(file: &str, env: &[(&str, &str)], flags: ConfigLayer) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.toml"), file).unwrap();
    let env = |name: &str| {
        let row = env.iter().find(|(n, _)| *n == name)?;
        Some(OsString::from(row.1))
    };
    places(dir.path()).resolve(&env, flags)
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let flag = |top_k| ConfigLayer {
        top_k: Some(top_k),
        ..ConfigLayer::default()
    };
    let table = [
        ("", None, ConfigLayer::default(), 40),
        ("top-k = 1", None, ConfigLayer::default(), 1),
        ("top-k = 1", Some("2"), ConfigLayer::default(), 2),
        ("top-k = 1", Some("2"), flag(3), 3),
        ("top-k = 1", None, flag(3), 3),
        ("top-k = 1", Some(""), ConfigLayer::default(), 1),
        ("", Some("2"), flag(3), 3),
    ];
    for (file, env, flags, want) in table {
        let env: Vec<(&str, &str)> = env.map(|v| ("NPAST_TOP_K", v)).into_iter().collect();
        let got = resolve(file, &env, flags).unwrap().sampling.top_k;
        assert_eq!(got, want, "{file:?} {env:?}");
    }
}

#[test]
fn every_key_is_read_from_file_and_environment_under_its_own_name() {
    let file = "cache-type = \"q8_0\"\ntensor-split = [3, 1]\noverride-tensor = [\"exps=CPU\"]\n\
                no-mmap = true\nno-store = true\ntemp = 1\nstop = [\"END\"]\npolicy = \"template\"\n\
                no-idle = true\nshift = true";
    let s = resolve(file, &[("NPAST_NO_STORE", "off")], ConfigLayer::default()).unwrap();
    assert_eq!(s.context.cache.name(), "q8_0");
    assert_eq!(s.weights.tensor_split, [3.0, 1.0]);
    let pairs = [("exps".to_owned(), "CPU".to_owned())];
    assert_eq!(s.weights.override_tensor, pairs);
    assert!(s.weights.no_mmap && s.store_kv);
    assert_eq!((s.sampling.temperature, s.stop), (1.0, vec!["END".into()]));
    assert_eq!(s.policy.map(|p| p.as_str()), Some("template"));
    assert_eq!((s.idle, s.shift), (false, Some(true)));
    let plain = resolve("", &[], ConfigLayer::default()).unwrap();
    assert_eq!((plain.idle, plain.shift), (true, None));

    for key in ConfigLayer::KEYS {
        let name = format!("NPAST_{}", key.replace('-', "_").to_uppercase());
        let env = |asked: &str| (asked == name).then(|| OsString::from("1"));
        let layer = ConfigLayer::from_env(&env).unwrap();
        assert_ne!(layer, ConfigLayer::default(), "{name} is not read");
        assert_eq!(layer.said().keys().collect::<Vec<_>>(), [key]);
    }
    let unknown = ConfigLayer::LOADED
        .iter()
        .find(|key| !ConfigLayer::KEYS.contains(key));
    assert_eq!(unknown, None);
}

#[test]
fn a_gateway_has_a_table_of_its_own() {
    let file =
        "[serve]\nrequire-token = true\nhosts = [\"box.lan\"]\nmax-replies = 2\nlog = \"info\"\n";
    let table = resolve(file, &[], ConfigLayer::default())
        .unwrap()
        .tables
        .serve;
    assert!(table.require_token && table.hosts == ["box.lan"]);
    assert_eq!((table.max_replies, table.max_body), (Some(2), None));
    for (file, want) in [
        (
            "[serve]\nmax-replies = 0",
            "max-replies is between 1 and 100000",
        ),
        ("[serve]\nmax-body = 5000", "max-body is between 1 and 4096"),
        ("[serve]\nlisten = 1", "unknown field `listen`"),
        ("serve = 1", "the key \"serve\""),
    ] {
        let error = resolve(file, &[], ConfigLayer::default()).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}

#[test]
fn a_wrong_file_or_variable_is_refused_with_key_and_place() {
    let at = |error: ConfigError| {
        let text = error.to_string();
        let end = text.find("config.toml").map_or(0, |i| i);
        let start = text[..end].rfind(' ').map_or(0, |i| i + 1);
        (format!("{}{}", &text[..start], &text[end..]), error.hint())
    };
    let (text, hint) = at(resolve("top_k = 3", &[], ConfigLayer::default()).unwrap_err());
    assert_eq!(text, "the key \"top_k\" in config.toml is not known");
    assert_eq!(hint, "did you mean \"top-k\"?");

    let (_, hint) = at(resolve("zebra = 3", &[], ConfigLayer::default()).unwrap_err());
    assert!(hint.starts_with("known keys: model, ctx, "), "{hint}");

    let (text, _) = at(resolve("threads = \"many\"", &[], ConfigLayer::default()).unwrap_err());
    assert!(
        text.starts_with("the key \"threads\" in config.toml cannot be read: "),
        "{text}"
    );
    let (text, _) = at(resolve("\n= 3", &[], ConfigLayer::default()).unwrap_err());
    assert!(text.contains("is not TOML: line 2: "), "{text}");

    let (text, _) = at(resolve("", &[("NPAST_CTX", "big")], ConfigLayer::default()).unwrap_err());
    assert!(text.starts_with("the variable NPAST_CTX cannot be read: \"big\""));
}

#[test]
fn values_out_of_range_are_refused_with_the_flags_name() {
    let table = [
        ("temp = -1", "temp must be between 0 and 100, and it is -1"),
        (
            "temp = nan",
            "temp must be between 0 and 100, and it is NaN",
        ),
        (
            "top-p = 1.5",
            "top-p must be between 0 and 1, and it is 1.5",
        ),
        (
            "threads = 0",
            "threads must be between 1 and 512, and it is 0",
        ),
        (
            "policy = \"loose\"",
            "policy must be one of exact, template, and it is \"loose\"",
        ),
        (
            "cache-type = \"q9\"",
            "cache-type must be one of f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl, \
             and it is \"q9\"",
        ),
        (
            "override-tensor = [\"exps\"]",
            "override-tensor must be PATTERN=BUFFER, such as exps=CPU, and it is \"exps\"",
        ),
        (
            "rope-freq-base = inf",
            "rope-freq-base must be a number of at least 0, and it is inf",
        ),
        (
            "stop = [\"\"]",
            "stop must be a text of at least one character, and it is empty",
        ),
    ];
    for (file, want) in table {
        let error = resolve(file, &[], ConfigLayer::default()).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn a_named_file_must_be_there_and_the_usual_one_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let env = |_: &str| None;
    let mut at = places(dir.path());
    assert!(at.resolve(&env, ConfigLayer::default()).is_ok());
    at.config_named = true;
    let error = at.resolve(&env, ConfigLayer::default()).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn relative_paths_in_the_file_start_at_its_folder_and_bare_model_names_stay() {
    let file = Path::new("/etc/npast/config.toml");
    let text = "model = \"sub/m.gguf\"\nchat-template = \"t.jinja\"\nsystem = \"@s.txt\"";
    let (layer, _) = ConfigLayer::from_toml(text, file).unwrap();
    assert_eq!(layer.model, Some("/etc/npast/sub/m.gguf".into()));
    assert_eq!(layer.chat_template, Some("/etc/npast/t.jinja".into()));
    assert_eq!(layer.system, Some("@/etc/npast/s.txt".into()));
    let (layer, _) = ConfigLayer::from_toml("model = \"m\"", file).unwrap();
    assert_eq!(layer.model, Some("m".into()));
}

#[test]
fn the_data_folder_is_npast_home_else_the_xdg_one() {
    let env = |name: &str| (name == "NPAST_HOME").then(|| OsString::from("/srv/npast"));
    let at = Places::find(&env).unwrap();
    assert_eq!(at.home, Path::new("/srv/npast"));
    assert_eq!(at.models(), Path::new("/srv/npast/models"));
    assert!(!at.config_named && at.config.ends_with("npast/config.toml"));
    assert!(
        Places::find(&|_: &str| None)
            .unwrap()
            .home
            .ends_with("npast")
    );
}

#[test]
fn a_size_is_a_number_and_a_unit_and_anything_else_is_refused() {
    let table = [
        ("20GiB", 20u64 << 30),
        ("1.5 MiB", 3 << 19),
        ("500MB", 500_000_000),
        ("12tb", 12_000_000_000_000),
        ("4096", 4096),
        ("0", 0),
    ];
    for (text, want) in table {
        let got = resolve("", &[("NPAST_KV_QUOTA", text)], ConfigLayer::default());
        assert_eq!(got.unwrap().kv_quota, Some(want), "{text}");
    }
    let file = resolve("kv-quota = \"2GiB\"", &[], ConfigLayer::default());
    assert_eq!(file.unwrap().kv_quota, Some(2 << 30));
    assert_eq!(
        resolve("", &[], ConfigLayer::default()).unwrap().kv_quota,
        None
    );
    for text in [
        "much", "-1GiB", "1..2GiB", "20 G", "GiB", "1e3", "2000TiB", "1GiB2",
    ] {
        let error = resolve("", &[("NPAST_KV_QUOTA", text)], ConfigLayer::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "kv-quota must be a size such as 20GiB or 500MB, at most 1024TiB, and it is {text:?}"
            )
        );
    }
}

#[test]
fn mcp_servers_are_read_in_order_of_their_names() {
    let file = "temp = 1\n\n[mcp.files]\ncommand = \"npx\"\nargs = [\"-y\", \"server\"]\n\
                tools = [\"read\"]\nenv = { KEY = \"v\" }\ncall-seconds = 5\nnetwork = true\n\
                write = [\"/cache\"]\nsandbox = false\n\n\
                [mcp.every]\ncommand = \"every\"\n\n[mcp.off]\ncommand = \"x\"\nenabled = false";
    let settings = resolve(file, &[], ConfigLayer::default()).unwrap();
    let every = crate::tools::ServerConfig {
        name: "every".into(),
        command: "every".into(),
        args: Vec::new(),
        env: Default::default(),
        tools: None,
        start_limit: std::time::Duration::from_secs(20),
        call_limit: std::time::Duration::from_secs(120),
        network: false,
        write: Vec::new(),
        sandbox: true,
    };
    let files = crate::tools::ServerConfig {
        name: "files".into(),
        command: "npx".into(),
        args: vec!["-y".into(), "server".into()],
        env: [("KEY".to_owned(), "v".to_owned())].into(),
        tools: Some(vec!["read".into()]),
        call_limit: std::time::Duration::from_secs(5),
        network: true,
        write: vec!["/cache".into()],
        sandbox: false,
        ..every.clone()
    };
    assert_eq!(settings.servers, [every, files]);
    assert_eq!(settings.sampling.temperature, 1.0);
}

#[test]
fn a_wrong_mcp_server_is_named_with_its_key() {
    let table = [
        ("mcp = 3", "mcp", "a server is a table [mcp.NAME]"),
        ("[mcp]\nx = 1", "mcp.x", "a server is a table [mcp.NAME]"),
        (
            "[mcp.\"a b\"]",
            "mcp.a b",
            "a name has 1 to 24 ASCII letters, digits, _ and -",
        ),
        ("[mcp.x]", "mcp.x", "it needs a command"),
        ("[mcp.x]\ncommand = \"\"", "mcp.x.command", "it is empty"),
        (
            "[mcp.x]\ncommand = 7",
            "mcp.x.command",
            "invalid type: integer `7`, expected a string",
        ),
        (
            "[mcp.x]\ncommand = \"x\"\nstart-seconds = 0",
            "mcp.x.start-seconds",
            "it must be between 1 and 3600",
        ),
        (
            "[mcp.x]\ncommand = \"x\"\ncomand = \"x\"",
            "mcp.x.comand",
            "a server has the keys command, args, env, tools, enabled, start-seconds, \
             call-seconds, network, write, sandbox",
        ),
        (
            "[mcp.x]\ncommand = \"x\"\nsandbox = \"off\"",
            "mcp.x.sandbox",
            "invalid type: string \"off\", expected a boolean",
        ),
        (
            "[mcp.x]\ncommand = \"x\"\nwrite = [\"~you/.npm\"]",
            "mcp.x.write",
            "write ~you/.npm out, without ~you",
        ),
        (
            "[mcp.x]\ncommand = \"x\"\nwrite = [\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]",
            "mcp.x.write",
            "at most 16 folders can be named",
        ),
    ];
    for (file, key, reason) in table {
        let error = resolve(file, &[], ConfigLayer::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("the key \"{key}\" in ")) && error.ends_with(reason),
            "{error}"
        );
    }
}

#[test]
fn approval_rules_and_the_sandbox_have_tables_of_their_own() {
    let file = "[approve]\npolicy = \"auto\"\nallow = [\"terminal: cargo test *\"]\ndeny = [\"fetch_url\"]\n\
                [sandbox]\nnetwork = true\nwrite = [\"../cache\"]\nenv = [\"CC\"]\n";
    let s = resolve(file, &[], ConfigLayer::default()).unwrap();
    assert_eq!(s.approve, Approve::Auto);
    let rules = &s.tables.rules;
    assert_eq!(rules.allow[0].to_string(), "terminal: cargo test *");
    assert_eq!(
        (rules.allow.len(), rules.ask.len(), rules.deny.len()),
        (1, 0, 1)
    );
    let table = &s.tables.sandbox;
    assert!(table.network && !s.sandbox_off && table.env == ["CC"]);
    assert!(table.write[0].is_absolute());
    // Flags beat the table; the short form still works.
    let flags = ConfigLayer {
        approve: Some("deny".into()),
        sandbox: Some("off".into()),
        ..ConfigLayer::default()
    };
    let s = resolve(file, &[], flags).unwrap();
    assert_eq!((s.approve, s.sandbox_off), (Approve::Deny, true));
    assert!(
        resolve("sandbox = \"off\"", &[], ConfigLayer::default())
            .unwrap()
            .sandbox_off
    );
    for (file, want) in [
        (
            "[approve]\nallow = [\"terminal: 'a\"]",
            "a quote is not closed",
        ),
        ("[approve]\nallows = []", "unknown field `allows`"),
        ("[sandbox]\nnetwork = 1", "invalid type"),
        (
            "[sandbox]\nwrite = [\"~you/x\"]",
            "write ~you/x out, without ~you",
        ),
        ("model = \"~you/m.gguf\"", "write ~you/m.gguf out"),
        ("sandbox = \"maybe\"", "sandbox must be one of on, off"),
    ] {
        let error = resolve(file, &[], ConfigLayer::default()).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}

#[test]
fn a_tilde_is_the_home_folder_in_the_file_in_variables_and_in_flags() {
    let home = etcetera::home_dir().unwrap();
    let file = "model = \"~/m.gguf\"\nchat-template = \"~/t.jinja\"\nsystem = \"@~/s.md\"\n\
                [sandbox]\nwrite = [\"~/cache\", \"~\"]\n";
    let s = resolve(file, &[], ConfigLayer::default()).unwrap();
    assert_eq!(s.default_model, Some(home.join("m.gguf")));
    assert_eq!(s.chat_template, Some(home.join("t.jinja")));
    assert_eq!(s.system, Some(format!("@{}", home.join("s.md").display())));
    assert_eq!(s.tables.sandbox.write, [home.join("cache"), home.join("")]);
    let s = resolve("", &[("NPAST_MODEL", "~/v.gguf")], ConfigLayer::default()).unwrap();
    assert_eq!(s.model, Some(home.join("v.gguf")));
    let flags = ConfigLayer {
        model: Some("~/f.gguf".into()),
        system: Some("@@~/text".into()),
        ..ConfigLayer::default()
    };
    let s = resolve("", &[], flags).unwrap();
    assert_eq!(s.model, Some(home.join("f.gguf")));
    assert_eq!(s.system.as_deref(), Some("@@~/text"));
    // A file that is called so, and a name.
    for name in ["~", "~backup.gguf", "a~b"] {
        let flags = ConfigLayer {
            model: Some(name.into()),
            ..ConfigLayer::default()
        };
        let model = resolve("", &[], flags).unwrap().model.unwrap();
        let want = if name == "~" {
            home.join("")
        } else {
            name.into()
        };
        assert_eq!(model, want);
    }
}
