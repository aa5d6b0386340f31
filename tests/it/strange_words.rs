//! Names and words of strangers reach the terminal, and none of them is obeyed there: of folders, files,
//! models, servers, templates, keys, arguments.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::chats::{chat, project, says};
use crate::model::Class;
use crate::program::Program;
use crate::screen::Screen;

/// The clipboard, the title, a cleared screen, in both forms of a control, and a turned line.
const ATTACK: &str = "\u{1b}]52;c;UFdORUQ=\u{7}\u{1b}]0;PWN\u{7}\u{1b}[2J\u{9b}2J\u{9d}0;PWN\u{9c}\u{202e}\u{8}\u{7f}";

/// What a terminal got of a run: nothing of a stranger's that it obeys, and something that shows it.
fn harmless(what: &str, command: Command) {
    let mut screen = Screen::start(command);
    let raw = screen.all();
    let own = |sequence: &str| {
        let end = sequence.find(|c: char| c.is_ascii_alphabetic());
        let last = end.and_then(|at| sequence[at..].chars().next());
        sequence.starts_with('[')
            && last.is_some_and(|c| "mJKACBhlH".contains(c))
            && !sequence.starts_with("[2J")
    };
    for part in raw.split('\u{1b}').skip(1) {
        assert!(own(part), "{what}: {part:?}");
    }
    let rest = raw.replace(['\u{1b}', '\r', '\n', '\t'], "");
    assert!(
        !rest.contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{what}: {rest:?}"
    );
    assert!(raw.contains("PWN"), "{what} is not shown: {raw:?}");
}

fn attack(program: &Program) -> std::path::PathBuf {
    let skill = project(program).join(format!(".npast/skills/bad{ATTACK}"));
    std::fs::create_dir_all(&skill).expect("a folder");
    std::fs::write(skill.join("SKILL.md"), "no front matter").expect("a skill");
    skill
}

fn here(program: &Program, args: &[&str]) -> Command {
    let mut command = program.command(args);
    command.current_dir(project(program));
    command
}

#[test]
fn nothing_that_a_stranger_named_is_obeyed_by_the_terminal() {
    let mut program = Program::new(Class::Dense);
    attack(&program);
    let model = program.desk.model.display().to_string();
    harmless(
        "a skill in `npast prompt`",
        here(&program, &["prompt", "-m", &model]),
    );
    let script = program.folder.path().join("script.jsonl");
    std::fs::write(&script, says("x").to_string()).expect("a script");
    let script = script.display().to_string();
    let talk = ["-m", &model, "--agent", "--script", &script];
    for (name, how) in [("a", "--json"), ("b", "--quiet"), ("c", "-v")] {
        let mut command = here(&program, &talk);
        command
            .args(&program.flags)
            .args(["--session", name, how, "hi"]);
        harmless("a skill beside a turn", command);
    }
    let missing = format!("no{ATTACK}");
    harmless(
        "a model that is missing",
        here(&program, &["-m", &missing, "hi"]),
    );
    harmless("a flag's value", here(&program, &["--ctx", &missing, "hi"]));
    harmless(
        "a subcommand's argument",
        here(&program, &["sessions", "show", &missing]),
    );
    harmless(
        "the same as an event",
        here(&program, &["--json", "sessions", "show", &missing]),
    );
    let models = program.desk.home.join("models");
    std::fs::create_dir_all(&models).expect("a folder");
    std::os::unix::fs::symlink(&model, models.join(format!("m{ATTACK}.gguf"))).expect("a link");
    std::fs::write(models.join(format!("n{ATTACK}.gguf")), "no model").expect("a file");
    harmless("models", here(&program, &["models"]));
    harmless("models as events", here(&program, &["--json", "models"]));
    let template = program.folder.path().join("t.jinja");
    std::fs::write(
        &template,
        format!("{{{{ raise_exception('boom {ATTACK}') }}}}"),
    )
    .expect("a template");
    let at = format!("@{}", template.display());
    let mut command = here(
        &program,
        &["--session", "d", "-m", &model, "--chat-template", &at],
    );
    command.args(["--no-tools", "hi"]).args(&program.flags);
    harmless("a template's own error", command);
    let config = program.folder.path().join("config/npast");
    std::fs::create_dir_all(&config).expect("a folder");
    let key: String = ATTACK
        .chars()
        .map(|c| format!("\\u{:04x}", c as u32))
        .collect();
    std::fs::write(config.join("config.toml"), format!("\"{key}\" = 1\n"))
        .expect("a configuration");
    let folder = program.folder.path().join("config").display().to_string();
    program.env.push(("XDG_CONFIG_HOME".into(), folder));
    harmless("a key of the configuration", here(&program, &["models"]));
}

#[test]
fn a_chat_shows_a_strangers_words_and_obeys_none() {
    let program = Program::new(Class::Dense);
    let file = format!("note{}.txt", ATTACK.replace('/', ""));
    let call = json!({"content": ATTACK, "tool_calls":
        [{"name": "write_file", "arguments": {"path": file, "content": ATTACK}}]});
    let read = json!({"content": "", "tool_calls":
        [{"name": "read_file", "arguments": {"path": file}}]});
    let mut screen = chat(&program, "work", &[call, read, says(ATTACK)]);
    screen.until("> ");
    // Pasted, shown while it is typed, said, and shown again by the arrow key.
    screen.keys(&format!("\u{1b}[200~paste {ATTACK}\u{1b}[201~\r"));
    screen.until("[N]o ");
    screen.keys("y\r");
    screen.until(" written");
    screen.until("> ");
    screen.keys("\u{1b}[A");
    screen.until("paste ");
    screen.keys("\u{3}/receipt\r/session\r/quit\r");
    let (code, _) = screen.leave();
    assert_eq!(code, Some(0));
    let raw = screen.raw();
    for order in [
        "\u{1b}]",
        "\u{1b}[2J",
        "\u{7}",
        "\u{9b}",
        "\u{9d}",
        "\u{202e}",
        "\u{8}",
    ] {
        assert!(!raw.contains(order), "{order:?} in {raw:?}");
    }
    assert!(
        Path::new(&project(&program))
            .read_dir()
            .expect("a folder")
            .count()
            > 0
    );
}
