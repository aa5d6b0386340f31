//! A disk that is full, a real one: messages go on being stored as long as there is KV that can go.
//! The disk is a small file system in memory, in a mount namespace of its own.

use std::process::Command;

use npast::session::Db;
use serde_json::json;

use crate::kills::long;
use crate::model::Class;
use crate::program::{Program, Ran};

/// Runs a shell script with a file system of so many MiB in the place of the data folder; nothing
/// where this system does not allow that.
fn on_a_small_disk(program: &Program, mib: usize, script: &str) -> Option<std::process::Output> {
    std::fs::create_dir_all(&program.desk.home).expect("a folder");
    let mounted = format!(
        "mount -t tmpfs -o size={mib}m,mode=0700 npast \"$NPAST_HOME\" || exit 77\n{script}"
    );
    let mut shell = Command::new("unshare");
    shell
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &mounted])
        .env("NPAST_HOME", &program.desk.home)
        .env("HOME", program.folder.path())
        .env("OUT", program.folder.path())
        .current_dir(program.folder.path())
        .stdin(std::process::Stdio::null());
    let output = shell.output();
    match output {
        Ok(output) if output.status.code() != Some(77) && output.status.success() => Some(output),
        other => {
            println!("skipped: no small file system can be had here: {other:?}");
            None
        }
    }
}

fn quoted(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|w| format!("'{}'", w.to_string_lossy().replace('\'', "'\\''")));
    words.collect::<Vec<_>>().join(" ")
}

/// Turns with these words: all of one session, or each of a session of its own, whose KV nobody uses
/// when it is over.
fn turns(program: &Program, name: &str, own: bool, words: &[String]) -> String {
    let script = program.folder.path().join("fine.jsonl");
    std::fs::write(&script, json!({"content": "Fine."}).to_string()).expect("a script");
    let mut all = String::new();
    for (i, words) in words.iter().enumerate() {
        let session = if own {
            format!("{name}{i}")
        } else {
            name.to_owned()
        };
        let mut turn = program.command(&["--json", "--kv-quota", "4GiB", "--session", &session]);
        turn.args(&program.flags).arg("-m").arg(&program.desk.model);
        turn.arg("--script").arg(&script).arg("--").arg(words);
        let out = format!("\"$OUT\"/{name}.{i}");
        all.push_str(&format!(
            "{} >{out}.out 2>{out}.err; echo $? >{out}.code\n",
            quoted(&turn)
        ));
    }
    all
}

fn ran(program: &Program, name: &str, turn: usize) -> Ran {
    let read = |ending: &str| {
        let path = program
            .folder
            .path()
            .join(format!("{name}.{turn}.{ending}"));
        std::fs::read_to_string(path).expect("an output")
    };
    Ran {
        events: crate::program::events(&read("out")),
        errors: read("err"),
        code: read("code").trim().parse().ok(),
    }
}

#[test]
fn kv_gives_way_to_messages_when_the_disk_is_full() {
    for class in [Class::Dense, Class::Hybrid] {
        let program = Program::new(class);
        let old: Vec<String> = (0..6).map(|i| format!("{i} {}", long(i, 3000))).collect();
        let new: Vec<String> = (0..4).map(|i| format!("{i} {}", long(i, 600))).collect();
        let mut script = turns(&program, "old", true, &old);
        // Another program takes all that is left.
        script.push_str("dd if=/dev/zero of=\"$NPAST_HOME/filler\" bs=4096 2>/dev/null\n");
        script.push_str("df -k \"$NPAST_HOME\" | tail -n 1 >\"$OUT/df\"\n");
        script.push_str(&turns(&program, "new", false, &new));
        script.push_str("cp \"$NPAST_HOME\"/npast.db* \"$OUT\"/\n");
        let Some(_) = on_a_small_disk(&program, 48, &script) else {
            return;
        };
        let left = std::fs::read_to_string(program.folder.path().join("df")).expect("df");
        assert_eq!(
            left.split_whitespace().nth(3),
            Some("0"),
            "{class:?}: {left}"
        );
        for turn in 0..new.len() {
            let ran = ran(&program, "new", turn);
            assert_eq!(ran.code, Some(0), "{class:?}, turn {turn}: {ran:?}");
        }
        let said: String = (0..new.len())
            .map(|i| ran(&program, "new", i).errors)
            .collect();
        assert!(said.contains("KV files"), "{class:?}: {said}");
        assert!(said.contains("messages can be stored"), "{class:?}: {said}");
        let db = Db::open(&program.folder.path().join("npast.db")).expect("npast.db");
        let id = db.find("new").expect("a query").expect("a session").id;
        let stored = db.messages(id).expect("messages");
        let asked: Vec<_> = stored.iter().filter(|m| m.role == "user").collect();
        assert_eq!(asked.len(), new.len(), "{class:?}");
        for (message, words) in asked.iter().zip(&new) {
            assert_eq!(message.body["content"], words.as_str());
        }
    }
}

#[test]
fn kv_leaves_room_for_messages_on_a_disk_that_it_could_fill() {
    let program = Program::new(Class::Dense);
    let words: Vec<String> = (0..12).map(|i| format!("{i} {}", long(i, 3000))).collect();
    let mut script = turns(&program, "work", true, &words);
    script.push_str("df -k \"$NPAST_HOME\" | tail -n 1 >\"$OUT/df\"\n");
    let Some(_) = on_a_small_disk(&program, 24, &script) else {
        return;
    };
    for turn in 0..words.len() {
        let ran = ran(&program, "work", turn);
        assert_eq!(ran.code, Some(0), "turn {turn}: {ran:?}");
    }
    let left = std::fs::read_to_string(program.folder.path().join("df")).expect("df");
    let left: u64 = left
        .split_whitespace()
        .nth(3)
        .and_then(|n| n.parse().ok())
        .expect("a number");
    // An eighth of the disk is for messages.
    assert!(left >= 2048, "{left} KiB are left");
}
