//! A downloaded model is a stranger: its chat template is a program, and the values of its file are
//! numbers that llama.cpp trusts. Neither may take hours, the memory or the process.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use npast::agent::Engine;
use npast::llama::bridge::{BridgeError, Template};
use npast::llama::{Apart, gguf};
use serde_json::{Value, json};

use crate::gallery;
use crate::model::{self, CHATML, Class};
use crate::program::{Program, Ran};
use crate::talk::Desk;

const NPAST: &str = env!("CARGO_BIN_EXE_npast");

fn apart() -> Apart {
    Apart::new(NPAST, || false)
}

/// Templates whose work has no end, or more memory or stack than there is, within few steps.
const GREEDY: [(&str, &str); 14] = [
    (
        "loops",
        "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}",
    ),
    (
        "a string that doubles",
        "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    ),
    (
        "a list that doubles",
        "{% set ns = namespace(l=[1,2]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
    ),
    ("a long string", "{{ ('a' * 3000000000) | length }}"),
    (
        "a longer output",
        "{% for i in range(900000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
    ),
    (
        "replace",
        "{{ ('a'*100000).replace('a','b'*100000) | length }}",
    ),
    (
        "join",
        "{{ (range(100000) | list) | join('a' * 100000) | length }}",
    ),
    (
        "a namespace in itself",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns | tojson }}",
    ),
    (
        "a list in itself",
        "{% set l = [1] %}{% set _ = l.append(l) %}{{ l | tojson }}{{ l }}",
    ),
    (
        "a deep list",
        "{% set ns = namespace(l=[]) %}{% for i in range(300000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}",
    ),
    (
        "a list of itself twice, sixty times",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
    ),
    (
        "a macro that calls itself",
        "{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(1) }}",
    ),
    (
        "two macros that call each other",
        "{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    ),
    (
        "a list that sorts itself",
        "{% for i in range(1000) %}{% set l = range(900000) | list | sort(reverse=true) %}{% endfor %}",
    ),
];

/// Templates that come close, or do what other engines do without end: whether they are refused or
/// written depends on the engine and on the machine.
const ODD: [(&str, &str); 12] = [
    ("indent", "{{ ('\\n'*1000000) | indent(100000) | length }}"),
    (
        "a namespace in itself as text",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
    ),
    ("a division", "{{ 1 // 0 }}"),
    ("a rest", "{{ 1 % 0 }}"),
    ("the least number", "{{ (-9223372036854775807 - 1) // -1 }}"),
    (
        "the least number's rest",
        "{{ (-9223372036854775807 - 1) % -1 }}",
    ),
    ("a wide centre", "{{ 'a' | center(1000000000) }}"),
    ("a wide number", "{{ '%1000000000d' | format(1) }}"),
    ("no step", "{{ ('a'*1000)[::0] }}"),
    (
        "a far indent",
        "{{ {'a':[[[1]]]} | tojson(indent=1000000000) }}",
    ),
    ("a power", "{{ 10 ** 100000000 }}"),
    ("a split", "{{ ('a,'*50000000).split(',') | length }}"),
];

/// A run may have so much of everything, and twice as long as it should on a busy machine.
fn under_limits(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -v 2097152; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell.stdin(std::process::Stdio::null());
    shell
}

fn with_template(program: &Program, source: &str) -> PathBuf {
    let path = program.folder.path().join("t.jinja");
    std::fs::write(&path, format!("{source}{CHATML}")).expect("a template");
    path
}

fn last_error(ran: &Ran) -> Value {
    let error = ran.events.last().cloned().unwrap_or_default();
    assert_eq!(error["type"], "error", "{ran:?}");
    error
}

/// A turn with a template, within limits.
fn turn_with(program: &mut Program, source: &str) -> Ran {
    let at = format!("@{}", with_template(program, source).display());
    let flags = program.flags.clone();
    program.flags.extend(["--chat-template".to_owned(), at]);
    let turn = program.turn("work", "hi", Some(&json!({"content": "x"})));
    program.flags = flags;
    Ran::of(&under_limits(&turn).output().expect("a run"))
}

#[test]
fn an_odd_chat_template_is_written_or_refused_in_words() {
    let mut program = Program::new(Class::Dense);
    for (what, source) in ODD {
        let ran = turn_with(&mut program, source);
        match ran.code {
            Some(0) => {}
            Some(1) => assert_eq!(last_error(&ran)["kind"], "template", "{what}: {ran:?}"),
            _ => panic!("{what}: {ran:?}"),
        }
    }
}

#[test]
fn a_chat_template_that_takes_too_much_is_refused_in_words_and_in_seconds() {
    let mut program = Program::new(Class::Dense);
    for (what, source) in GREEDY {
        let began = Instant::now();
        let ran = turn_with(&mut program, source);
        let error = last_error(&ran);
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        assert_eq!(error["kind"], "template", "{what}: {error}");
        let said = error["message"].as_str().unwrap_or_default();
        assert!(
            said.starts_with("the chat template is of no use: the chat template was stopped: "),
            "{what}: {said}"
        );
        assert!(error["hint"].is_string(), "{what}");
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
    }
}

#[test]
fn doctor_and_prompt_refuse_such_a_template_too() {
    let program = Program::new(Class::Dense);
    let at = format!("@{}", with_template(&program, GREEDY[0].1).display());
    let model = program.desk.model.to_str().expect("a path").to_owned();
    for command in ["doctor", "prompt"] {
        let run = program.command(&[command, "-m", &model, "--chat-template", &at]);
        let ran = under_limits(&run).output().expect("a run");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("was stopped"), "{command}: {said}");
    }
}

fn one_message(content: &str) -> Value {
    json!({"messages": [{"role": "user", "content": content}], "add_generation_prompt": true})
}

#[test]
fn a_rendering_that_dies_costs_itself_and_the_next_one_is_made() {
    let source = "{% if messages[0].content == 'die' %}{% set ns = namespace() %}{% set ns.a = ns %}{{ ns | tojson }}{% endif %}{{ messages[0].content }}";
    let template = Template::apart(source, "", "", &apart()).expect("a template");
    template.examined().expect("no bound was met");
    for _ in 0..2 {
        assert_eq!(template.render(&one_message("live")).expect("text"), "live");
        let died = template.render(&one_message("die"));
        assert!(matches!(died, Err(BridgeError::Stopped(_))), "{died:?}");
    }
}

#[test]
fn a_bound_that_is_met_in_an_examination_is_its_end() {
    let source = format!(
        "{{% if messages[0].content == 'die' %}}{}{{% endif %}}x",
        GREEDY[0].1
    );
    let template = Template::apart(&source, "", "", &apart()).expect("a template");
    let died = template.render(&one_message("die")).expect_err("a bound");
    let after = template.render(&one_message("live")).expect_err("the same");
    assert_eq!(died, after);
    assert_eq!(template.examined(), Err(died));
    assert_eq!(template.render(&one_message("live")).expect("text"), "x");
}

#[test]
fn a_user_who_wants_to_stop_does_not_wait_for_a_template() {
    let stopped = Template::apart(GREEDY[0].1, "", "", &Apart::new(NPAST, || true));
    assert_eq!(stopped.err(), Some(BridgeError::Interrupted));
    // What is quick is done all the same: it closes a reply that was interrupted.
    let template = Template::apart(CHATML, "", "", &Apart::new(NPAST, || true));
    let template = template.expect("a template");
    assert!(template.render(&one_message("x")).is_ok());
}

#[test]
fn a_template_writes_apart_what_it_writes_here() {
    for sample in gallery::own().into_iter().chain(gallery::all_shared()) {
        let here = Template::new(&sample.source, "<s>", "</s>").expect("a template");
        let there = Template::apart(&sample.source, "<s>", "</s>", &apart()).expect("a template");
        assert_eq!(here.caps(), there.caps(), "{}", sample.name);
        let request = json!({
            "messages": [{"role": "user", "content": "weather?"}],
            "tools": crate::templates::tools(),
            "now_ms": 1_000_000_000_000_i64,
            "add_generation_prompt": true,
        });
        assert_eq!(
            here.render(&request),
            there.render(&request),
            "{}",
            sample.name
        );
        assert_eq!(
            here.apply(&request),
            there.apply(&request),
            "{}",
            sample.name
        );
    }
}

/// A model whose header has other bytes behind a key: its value, for a number of four bytes.
fn with_value(source: &Path, to: &Path, key: &str, value: u32) {
    let mut bytes = std::fs::read(source).expect("a model");
    let mut name = (key.len() as u64).to_le_bytes().to_vec();
    name.extend(key.as_bytes());
    let at = bytes
        .windows(name.len())
        .position(|w| w == name)
        .unwrap_or_else(|| panic!("no {key}"));
    let at = at + name.len() + 4;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    std::fs::write(to, bytes).expect("a model");
}

#[test]
fn a_value_that_breaks_llama_cpp_is_refused_in_words() {
    let program = Program::new(Class::Dense);
    let broken = program.folder.path().join("broken.gguf");
    let nan = f32::NAN.to_bits();
    for (key, value) in [
        ("qwen3.block_count", 0),
        ("qwen3.block_count", u32::MAX),
        ("qwen3.block_count", 65536),
        ("qwen3.attention.layer_norm_rms_epsilon", nan),
        ("qwen3.attention.layer_norm_rms_epsilon", f32::to_bits(-1.0)),
        ("qwen3.attention.head_count", 0),
        ("qwen3.attention.head_count", u32::MAX),
        ("qwen3.attention.head_count_kv", 0),
        ("qwen3.attention.head_count_kv", 3),
        ("qwen3.attention.key_length", 0),
        ("qwen3.attention.key_length", 7),
        ("qwen3.embedding_length", 0),
        ("qwen3.embedding_length", 1),
        ("qwen3.feed_forward_length", 0),
        ("qwen3.rope.freq_base", nan),
    ] {
        with_value(&program.desk.model, &broken, key, value);
        let mut turn = program.command(&["--json", "--session", "work"]);
        turn.arg("-m").arg(&broken).args(&program.flags);
        turn.args(["--max-tokens", "2", "hi"]);
        let ran = Ran::of(&turn.output().expect("a run"));
        let what = format!("{key} = {value:#x}");
        let error = last_error(&ran);
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        assert_eq!(error["kind"], "model", "{what}: {error}");
        assert!(error["hint"].is_string(), "{what}: {error}");
        let said = error["message"].as_str().unwrap_or_default();
        assert!(said.contains("broken.gguf"), "{what}: {said}");
    }
}

/// A small generator of numbers that are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % most
    }
}

/// Headers with a few bytes changed: what the child says loads, loads here; everything else is an
/// error with a sentence. A start that kept its word would end this process.
#[test]
fn a_header_with_changed_bytes_loads_or_is_refused_and_never_ends_the_process() {
    let mut numbers = Numbers(7);
    let (mut broke, mut refused, mut loaded) = (0, 0, 0);
    for class in Class::ALL {
        let desk = Desk::new(class, Some(CHATML));
        let whole = std::fs::read(&desk.model).expect("a model");
        let reader = gguf::GgufReader::open(&desk.model).expect("a header");
        // Values of the architecture's keys are where llama.cpp's own numbers come from.
        let keys: Vec<(usize, usize)> = reader
            .entries()
            .filter(|(key, _)| key.contains('.') && !key.starts_with("tokenizer"))
            .filter_map(|(key, _)| {
                let at = whole.windows(key.len()).position(|w| w == key.as_bytes())?;
                Some((at + key.len(), 12))
            })
            .collect();
        let header = usize::try_from(reader.data_offset()).expect("a length");
        let tensors = (header.saturating_sub(4096), 4096);
        for turn in 0..30 {
            let mut bytes = whole.clone();
            for _ in 0..=numbers.below(2) {
                let (at, len) = match turn % 3 {
                    0 => tensors,
                    _ => keys[numbers.below(keys.len())],
                };
                let place = at + numbers.below(len);
                bytes[place] = [0, 1, 0x7f, 0x80, 0xff, 3, 17][numbers.below(7)];
            }
            let mut desk = Desk::with_model(&desk.home.with_file_name("changed.gguf"));
            std::fs::create_dir_all(desk.model.parent().expect("a folder")).expect("a folder");
            std::fs::write(&desk.model, &bytes).expect("a model");
            desk.limit = 512;
            let mut options = desk.options();
            options.store_kv = false;
            options.apart = Some(apart());
            match Engine::open(&options, &mut |_| true) {
                Ok(engine) => {
                    drop(engine);
                    loaded += 1;
                }
                Err(error) if error.to_string().contains("breaks llama.cpp") => broke += 1,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
    }
    // Each way was gone.
    assert!(
        broke > 0 && refused > 0 && loaded > 0,
        "{broke} {refused} {loaded}"
    );
}

#[test]
fn a_model_that_loaded_well_is_tried_once_and_again_when_its_file_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (starter, log) = (folder.path().join("npast"), folder.path().join("log"));
    let script = format!(
        "#!/bin/sh\necho \"$2\" >> '{}'\nexec '{NPAST}' \"$@\"\n",
        log.display()
    );
    let mut file = std::fs::File::create(&starter).expect("a script");
    file.write_all(script.as_bytes()).expect("a script");
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
        .expect("a program");
    drop(file);

    let own = folder.path().join("own.gguf");
    model::write_tiny_model(Class::Dense, &model::Options::default(), &own).expect("a model");
    let mut desk = Desk::with_model(&own);
    desk.limit = 512;
    let mut options = desk.options();
    options.apart = Some(Apart::new(&starter, || false));
    let tries = || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.lines().filter(|line| *line == "load").count()
    };
    for _ in 0..3 {
        drop(Engine::open(&options, &mut |_| true).expect("an engine"));
        assert_eq!(tries(), 1);
    }
    std::fs::write(&own, std::fs::read(&own).expect("a model")).expect("the same bytes");
    drop(Engine::open(&options, &mut |_| true).expect("an engine"));
    assert_eq!(tries(), 2);
}

#[test]
fn nothing_of_what_llama_cpp_writes_reaches_the_terminal() {
    let program = Program::new(Class::Dense);
    let models = program.desk.home.join("models");
    std::fs::create_dir_all(&models).expect("a folder");
    // ggml itself finds that a key is there twice, and says so.
    let twice = models.join("twice.gguf");
    let mut bytes = std::fs::read(&program.desk.model).expect("a model");
    let name = b"qwen3.block_count";
    let at = bytes.windows(name.len()).position(|w| w == name);
    let other = b"qwen3.embedding_length";
    let from = bytes.windows(other.len()).position(|w| w == other);
    let (at, from) = (at.expect("a key"), from.expect("a key"));
    let one = bytes[at - 8..at + name.len() + 8].to_vec();
    // The other key's place takes the first one again; the count of keys stays.
    bytes.splice(from - 8..from + other.len() + 8, one);
    std::fs::write(&twice, bytes).expect("a model");
    let listed = program.command(&["models"]).output().expect("a run");
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(
        !said.contains("gguf_init") && !said.contains("duplicate"),
        "{said}"
    );
    let mut turn = program.command(&["--session", "work", "-m"]);
    turn.arg(&twice).arg("hi");
    let ran = turn.output().expect("a run");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("duplicate key 'qwen3.block_count'"), "{said}");
    assert!(
        said.lines()
            .all(|l| l.starts_with("npast: ") || l.starts_with("  hint: ")),
        "{said}"
    );
}
