use super::*;

fn os(line: &str) -> Vec<OsString> {
    let words = std::iter::once("npast").chain(line.split(' ').filter(|w| !w.is_empty()));
    words.map(OsString::from).collect()
}

fn cli(line: &str) -> Cli {
    match parse(&os(line)) {
        Ok(ParsedArgs::Run(cli)) => *cli,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn the_definition_of_the_flags_is_sound_and_each_has_a_text() {
    Cli::command().debug_assert();
    for arg in Cli::command().get_arguments() {
        assert!(arg.get_help().is_some(), "{} has no help", arg.get_id());
    }
}

#[test]
fn each_flag_lands_on_its_key() {
    let all = "-m a.gguf --ctx 4096 --cache-type q8_0 --threads 2 --threads-batch 3 --ubatch 64 \
        --policy template --gpu-layers 9 --main-gpu 1 --tensor-split 3,1.5 \
        --override-tensor exps=CPU --override-tensor a=B --n-cpu-moe 4 --no-mmap --no-kv-offload \
        --rope-scaling yarn --rope-freq-base 1e6 --rope-freq-scale 0.5 --yarn-ext-factor -1 \
        --yarn-attn-factor 1 --yarn-beta-fast 32 --yarn-beta-slow 1 --yarn-orig-ctx 32768 \
        --no-store --kv-quota 5GiB --chat-template @t.jinja --no-thinking=false --temp 0 --top-k 1 --top-p 0.5 \
        --min-p 0.1 --seed 7 --repeat-penalty 1.1 -n 12 --stop END --stop -- --repeats off --system hi \
        --compress off --compress-at 60 --compress-tail 900 --prune off --flush-memory off --no-idle --shift \
        --approve deny --no-tools --with-tool fetch_url --without-tool a --without-tool b \
        --max-steps 9 --max-turn-tokens 99 --sandbox off";
    let layer = cli(all).layer();
    let want = ConfigLayer {
        model: Some("a.gguf".into()),
        ctx: Some(4096),
        cache_type: Some("q8_0".into()),
        threads: Some(2),
        threads_batch: Some(3),
        ubatch: Some(64),
        policy: Some("template".into()),
        gpu_layers: Some(9),
        main_gpu: Some(1),
        tensor_split: Some(vec![3.0, 1.5]),
        override_tensor: Some(vec!["exps=CPU".into(), "a=B".into()]),
        n_cpu_moe: Some(4),
        no_mmap: Some(true),
        no_kv_offload: Some(true),
        rope_scaling: Some("yarn".into()),
        rope_freq_base: Some(1e6),
        rope_freq_scale: Some(0.5),
        yarn_ext_factor: Some(-1.0),
        yarn_attn_factor: Some(1.0),
        yarn_beta_fast: Some(32.0),
        yarn_beta_slow: Some(1.0),
        yarn_orig_ctx: Some(32768),
        no_store: Some(true),
        kv_quota: Some("5GiB".into()),
        chat_template: Some("t.jinja".into()),
        no_thinking: Some(false),
        temp: Some(0.0),
        top_k: Some(1),
        top_p: Some(0.5),
        min_p: Some(0.1),
        seed: Some(7),
        repeat_penalty: Some(1.1),
        max_tokens: Some(12),
        stop: Some(vec!["END".into(), "--".into()]),
        repeats: Some("off".into()),
        compress: Some("off".into()),
        compress_at: Some(60),
        compress_tail: Some(900),
        prune: Some("off".into()),
        flush_memory: Some("off".into()),
        no_idle: Some(true),
        shift: Some(true),
        system: Some("hi".into()),
        approve: Some("deny".into()),
        no_tools: Some(true),
        with_tools: Some(vec!["fetch_url".into()]),
        without_tools: Some(vec!["a".into(), "b".into()]),
        max_steps: Some(9),
        max_turn_tokens: Some(99),
        sandbox: Some("off".into()),
    };
    assert_eq!(layer, want);
    assert_eq!(cli("hello").layer(), ConfigLayer::default());
}

#[test]
fn a_message_stands_beside_its_session() {
    let typed = cli("--session work --messages @m.jsonl --tools @t.json --script s.jsonl");
    assert_eq!(typed.talk.session.as_deref(), Some("work"));
    assert_eq!(typed.talk.messages.as_deref(), Some("@m.jsonl"));
    assert_eq!(typed.talk.script, Some("s.jsonl".into()));
    let typed = cli("-c --json hello");
    assert!(typed.talk.last && typed.json && typed.command.is_none());
    assert_eq!(typed.talk.prompt.as_deref(), Some("hello"));
    assert!(cli("-c --continue").talk.continue_);
    assert!(cli("--version").version && cli("-V").version);
    assert_eq!(cli("-vv x").verbose, 2);
    assert_eq!(cli("-- models").talk.prompt.as_deref(), Some("models"));
}

#[test]
fn subcommands_take_their_own_flags() {
    assert!(matches!(cli("models").command, Some(CliCommand::Models(_))));
    let Some(CliCommand::Doctor(doctor)) = cli("doctor -m x.gguf --ctx 100").command else {
        panic!("not doctor");
    };
    assert_eq!(doctor.layer().model, Some("x.gguf".into()));
    assert_eq!(doctor.layer().ctx, Some(100));
    assert!(cli("--json sessions list").json && cli("sessions list --json").json);
    let Some(CliCommand::Sessions(sessions)) = cli("sessions rm work --yes").command else {
        panic!("not sessions");
    };
    assert!(matches!(
        sessions.command,
        Some(SessionsCommand::Rm(SessionsRmArgs { yes: true, .. }))
    ));
}

#[test]
fn wrong_usage_is_one_sentence_with_a_hint_and_exit_code_2() {
    let table = [
        (
            "hello world",
            "unexpected argument 'world' found",
            "a message of several words stands in quotes; `npast --help` lists the flags",
        ),
        (
            "--sesion work",
            "unexpected argument '--sesion' found",
            "a similar argument exists: '--session'",
        ),
        (
            "--session a -c",
            "the argument '--session <NAME>' cannot be used with '--last'",
            "`npast --help` says what can be typed",
        ),
        (
            "--continue hello",
            "the argument '--continue' cannot be used with '[PROMPT]'",
            "`npast --help` says what can be typed",
        ),
        (
            "--ctx many x",
            "invalid value 'many' for '--ctx <TOKENS>': invalid digit found in string",
            "`npast --help` says what can be typed",
        ),
        (
            "-m x.gguf doctor",
            "--model stands before the subcommand doctor and would be ignored",
            "write it behind `npast doctor`, if that takes it",
        ),
        (
            "sessions show",
            "the following required arguments were not provided: <NAME>",
            "`npast sessions show --help` says what can be typed",
        ),
        (
            "sessions -n 3 show work",
            "-n and --here are flags of the list",
            "npast sessions -n 10 --here",
        ),
        (
            "sessions rm --older-than 3x",
            "invalid value '3x' for '--older-than <TIME>': write a number with m, h, d or w behind it, such as 30d",
            "`npast sessions rm --help` says what can be typed",
        ),
        (
            "-c 4096 hello",
            "-c goes on with the last session; it is not the length of the context",
            "--ctx 4096 sets the length; `-c -- 4096` says it to the model",
        ),
    ];
    for (line, message, hint) in table {
        let failure = parse(&os(line)).unwrap_err();
        assert_eq!(failure.message, message, "{line}");
        assert_eq!(failure.hint.as_deref(), Some(hint), "{line}");
        assert_eq!((&*failure.kind, failure.exit), ("usage", 2), "{line}");
    }
}

#[test]
fn habits_of_llama_cpp_and_of_every_day_are_understood() {
    let layer = cli("-ngl 9 -t 2 --ctx-size 512 -ctk q8_0 -ctv q8_0 -s 7 -fa --predict 5 -p hello");
    let talk = &layer.talk;
    assert_eq!(
        (talk.prompt.as_deref(), talk.seed),
        (Some("hello"), Some(7))
    );
    let layer = layer.layer();
    assert_eq!(
        (layer.gpu_layers, layer.threads, layer.ctx, layer.max_tokens),
        (Some(9), Some(2), Some(512), Some(5))
    );
    assert_eq!(layer.cache_type.as_deref(), Some("q8_0"));
    let list = |line: &str| match cli(line).command {
        Some(CliCommand::Sessions(args)) => {
            (args.command.is_none(), args.list.most, args.list.here)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(list("sessions"), (true, None, false));
    assert_eq!(list("sessions -n 3 --here"), (true, Some(3), true));
    assert_eq!(list("sessions ls -n 3"), (true, Some(3), false));
    assert_eq!(list("sessions -n 3 list --here"), (true, Some(3), true));
    let Some(CliCommand::Sessions(args)) = cli("sessions rm a b --older-than 2w -y").command else {
        panic!("not sessions");
    };
    let Some(SessionsCommand::Rm(rm)) = args.command else {
        panic!("not rm");
    };
    assert_eq!((rm.names.len(), rm.yes), (2, true));
    assert_eq!(
        rm.older_than,
        Some(std::time::Duration::from_secs(14 * 86_400))
    );
    assert!(matches!(cli("kv").command, Some(CliCommand::Kv(_))));
    assert!(matches!(cli("cron").command, Some(CliCommand::Cron(_))));
    assert!(cli("version").version);
    // A word near a subcommand is marked, unless it is meant as a message beyond doubt.
    assert_eq!(cli("pull").talk.near, ["models pull"]);
    for line in ["-- pull", "-p pull", "-c pull", "--session a pull", "hello"] {
        assert!(cli(line).talk.near.is_empty(), "{line}");
    }
}

#[test]
fn help_of_a_subcommand_has_examples_and_its_own_flags() {
    for (line, parts) in [
        ("sessions --help", &["Examples:", "npast sessions rm"][..]),
        (
            "help sessions rm",
            &["Examples:", "--older-than <TIME>"][..],
        ),
        ("models pull --help", &["Examples:", "hf:Qwen"][..]),
        ("kv -h", &["Examples:", "npast kv gc"][..]),
        ("cron -h", &["Examples:"][..]),
        ("serve -h", &["Examples:", "--listen"][..]),
        ("doctor -h", &["Examples:"][..]),
        ("config -h", &["Examples:"][..]),
    ] {
        let Ok(ParsedArgs::Help(text)) = parse(&os(line)) else {
            panic!("no help: {line}");
        };
        for part in parts {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        for flag in ["--session <NAME>", "--no-session", "--messages"] {
            assert!(!text.contains(flag), "{line} has {flag}");
        }
    }
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let args = [OsString::from("npast"), OsString::from_vec(vec![0xff])];
    let failure = parse(&args).unwrap_err();
    assert_eq!(failure.exit, 2);
    assert!(failure.message.contains("UTF-8"), "{}", failure.message);
}

#[test]
fn errors_become_events_even_when_the_line_was_not_understood() {
    assert!(wants_json(&os("--json --nonsense")));
    assert!(!wants_json(&os("x -- --json")));
}

#[test]
fn help_is_text_for_standard_output() {
    let Ok(ParsedArgs::Help(text)) = parse(&os("--help")) else {
        panic!("no help");
    };
    for part in ["--session <NAME>", "Sampling:", "Exit codes:", "doctor"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}
