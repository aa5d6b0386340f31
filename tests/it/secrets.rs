//! One list of secrets for all doors: what the sandbox hides from commands is what file tools refuse,
//! tried on the same files by both.

use npast::tools::{
    CallContext, LiveOutput, Registry, ResultLimits, Results, Terminal, built_in, results,
};
use serde_json::json;

use crate::yard::{Nobody, Yard};

/// Kinds of secrets, and what only looks like one.
const PLACES: &[(&str, bool)] = &[
    (".ssh/id", true),
    (".gnupg/x", true),
    (".bash_history", true),
    (".zsh_history", true),
    (".other-shell_history", true),
    (".local/share/fish/fish_history", true),
    (".viminfo", true),
    (".lesshst", true),
    (".pgpass", true),
    (".my.cnf", true),
    (".vault-token", true),
    (".docker/daemon.json", true),
    (".kube/config", true),
    (".cache/huggingface/token", true),
    (".config/glab-cli/config.yml", true),
    (".config/gh/hosts.yml", true),
    (".config/Bitwarden/data.json", true),
    (".1password/x", true),
    (".password-store/x", true),
    (".local/share/keyrings/x", true),
    (".mozilla/x", true),
    (".config/Signal/x", true),
    (".s3cfg", true),
    (".boto", true),
    (".claude.json", true),
    (".config/npast/config.toml", true),
    ("data/approvals.toml", true),
    ("data/models/x", true),
    ("data/temp/session-9/x", true),
    ("data/anything", true),
    (".bashrc", false),
    (".config/nvim/init.lua", false),
    (".cache/other/x", false),
    ("notes/a.txt", false),
    ("work/history", false),
];

#[test]
fn commands_and_file_tools_are_refused_the_same_places() {
    let yard = Yard::default();
    for (name, _) in PLACES {
        let path = yard.at("home").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, "PRIVATE-7261\n").expect("a file");
    }
    // The made-up home lies among temporary files, all of which are hidden from commands: here the
    // rest of the list counts.
    let mut sandbox = yard.sandbox(true);
    let rules = sandbox.rules.as_mut().expect("a sandbox");
    rules.hidden.retain(|place| *place != std::env::temp_dir());
    let terminal = Terminal::new(sandbox);
    let commands = Registry::new(vec![Box::new(terminal)]).expect("a registry");
    let files = Registry::new(built_in()).expect("a registry");
    let (project, temp, secret) = (yard.at("home/work"), yard.at("home/temp"), yard.secrets());
    let room = CallContext {
        project: &project,
        temp: &temp,
        results: &Results::new(&temp, results::MOST, None),
        secret: &secret,
        limits: ResultLimits::default(),
        granted: None,
        asked: None,
        call: "f",
        cancel: &yard.cancel,
        live: &LiveOutput::default(),
        host: &Nobody,
    };
    let all: Vec<String> = PLACES
        .iter()
        .map(|(name, _)| format!("\"$HOME/{name}\""))
        .collect();
    let command = format!(
        "for f in {}; do echo \"$f $(cat \"$f\" 2>&1)\"; done",
        all.join(" ")
    );
    let seen = yard.call(&commands, "c", &json!({"command": command}));
    let mut wrong = Vec::new();
    for (name, closed) in PLACES {
        let path = yard.at("home").join(name);
        let path = path.to_str().expect("UTF-8");
        let shown = seen.text.lines().find(|line| line.starts_with(path));
        let shown = shown.expect(name).contains("PRIVATE-7261");
        let read = files.run("read_file", &json!({"path": path}), &room).ok;
        if (shown, read) != (!closed, !closed) {
            wrong.push(format!("{name}: command {shown}, file tool {read}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "{}", seen.text);
}
