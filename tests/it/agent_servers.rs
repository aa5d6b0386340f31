//! The real program with MCP servers from its configuration: they live as long as it does, behind
//! the sandbox of programs; what a session froze stays, whatever becomes of them.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use npast::ledger::Token;
use serde_json::{Value, json};

use crate::model::{self, Class};
use crate::program::{Program, Ran, n};
use crate::talk::Desk;
use crate::yard::Yard;

/// A server of one tool, `run`, which runs a command. It writes its number into `pids`; an argument
/// says how it misbehaves.
const SERVER: &str = r#"
echo $$ >> pids
case $1 in
  garbage) while :; do echo 'no { json'; done ;;
  deaf) trap '' TERM; setsid bash -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 99; done' & ;;
esac
say() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
while IFS= read -r line; do
  [[ $line =~ \"id\":([0-9]+) ]] || continue
  id=${BASH_REMATCH[1]}
  case $line in
    *'"method":"initialize"'*)
      [[ $line =~ \"protocolVersion\":\"([^\"]*)\" ]]
      say '{"protocolVersion":"'"${BASH_REMATCH[1]}"'","capabilities":{"tools":{}},"serverInfo":{"name":"house","version":"1"}}' ;;
    *'"method":"tools/list"'*)
      say '{"tools":[{"name":"run","description":"Runs a command.","inputSchema":{"type":"object","properties":{"command":{"type":"string"}},"required":["command"]}}]}' ;;
    *'"method":"tools/call"'*)
      [[ $1 == dies ]] && { echo 'the disk is gone' >&2; exit 7; }
      [[ $1 == mute ]] && continue
      [[ $line =~ \"command\":\"([^\"]*)\" ]]
      text=$(eval "${BASH_REMATCH[1]}" 2>&1 | tr '\n"\\' ' ..')
      say '{"content":[{"type":"text","text":"'"$text"'"}]}' ;;
  esac
done
[[ $1 == deaf ]] && while :; do sleep 99; done
"#;

struct House {
    program: Program,
    project: tempfile::TempDir,
}

impl House {
    fn new(class: Class) -> House {
        let mut program = Program::new(class);
        program.desk = Desk::new(class, Some(model::THINKER));
        let path = std::env::var("PATH").expect("a PATH");
        program.env = vec![("PATH".to_owned(), path)];
        program
            .flags
            .extend(["--agent", "--approve", "auto", "--seed", "7"].map(str::to_owned));
        let yard = Yard::default();
        let enforced = yard.sandbox(true).probe(&yard.at("home/temp"));
        if !enforced.holds() {
            eprintln!("without a sandbox, since there is none here: {enforced}");
            program
                .flags
                .extend(["--sandbox", "off"].map(str::to_owned));
        }
        let house = House {
            program,
            project: tempfile::tempdir().expect("a folder"),
        };
        fs::write(house.at("server.sh"), SERVER).expect("a server");
        house
    }

    fn sandboxed(&self) -> bool {
        !self.program.flags.contains(&"off".to_owned())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.project.path().join(name)
    }

    /// Writes the configuration file.
    fn configure(&mut self, text: &str) {
        let file = self.program.folder.path().join("config.toml");
        fs::write(&file, text).expect("a configuration");
        let name = "NPAST_CONFIG".to_owned();
        self.program.env.retain(|(other, _)| *other != name);
        let file = file.to_str().expect("a path").to_owned();
        self.program.env.push((name, file));
    }

    /// A server `house` that does as `mode` says, with these further keys.
    fn serve(&mut self, mode: &str, keys: &str) {
        self.configure(&format!(
            "[mcp.house]\ncommand = \"bash\"\nargs = [\"server.sh\", \"{mode}\"]\n{keys}\n"
        ));
    }

    fn command(&self, lines: &[Value]) -> std::process::Command {
        let script = self.program.folder.path().join("script.jsonl");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&script, text).expect("a script");
        let mut command = self.program.command(&["--json", "--session", "work"]);
        command
            .args(&self.program.flags)
            .arg("-m")
            .arg(&self.program.desk.model)
            .arg("--script")
            .arg(script)
            .args(["--", "Go on."])
            .current_dir(self.project.path());
        command
    }

    /// A process with a turn of two replies: a call, and an answer to its result.
    fn calls(&self, name: &str, arguments: &Value) -> Ran {
        let call = json!([{"name": name, "arguments": arguments}]);
        let lines = [
            json!({"reasoning": "hm", "content": "", "tool_calls": call}),
            json!({"reasoning": "hm", "content": "Done."}),
        ];
        let ran = Ran::of(&self.command(&lines).output().expect("a run"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let receipts: Vec<&Value> = ran.all("receipt");
        assert_eq!(receipts.len(), 2, "{ran:?}");
        for receipt in receipts {
            assert_eq!(
                (&receipt["evaluated"], &receipt["miss"]),
                (&receipt["appended"], &Value::Null),
                "{receipt}"
            );
        }
        assert_eq!(self.living(), Vec::<String>::new(), "a server is left");
        ran
    }

    fn head(&self) -> Vec<Token> {
        let stored = self.program.desk.stored("work");
        stored.ledger[..stored.session.head].to_vec()
    }

    /// Every process that the servers started and that still runs: they are scripts of bash and work
    /// in the project. What they hold for their own numbers need not be what others see.
    fn living(&self) -> Vec<String> {
        let project = self.project.path().canonicalize();
        let project = project.unwrap_or(self.project.path().to_owned());
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let ours = |entry: &fs::DirEntry| {
            let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            // The name of one that was removed goes on with a remark.
            let folder = folder.to_string_lossy();
            line.starts_with(b"bash") && folder.starts_with(&*project.to_string_lossy())
        };
        all.filter(ours)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// The result of a run's only call.
fn result(ran: &Ran) -> (bool, &str) {
    let [result] = ran.all("tool_result")[..] else {
        panic!("one result: {ran:?}")
    };
    let text = result["text"].as_str().expect("a text");
    (result["ok"] == true, text)
}

fn context(ran: &Ran) -> usize {
    n(ran.all("receipt")[1], "context")
}

#[test]
fn a_session_keeps_its_servers_tools_whatever_becomes_of_the_servers() {
    let mut house = House::new(Class::Hybrid);
    house.serve("", "");
    let run = |command: &str| json!({"command": command});

    let first = house.calls("house_run", &run("echo one"));
    assert_eq!(result(&first), (true, "one "));
    assert_eq!(first.errors, "", "nothing is wrong");
    let session = first.all("session")[0];
    let sandbox = session["sandbox"].as_str().expect("what holds");
    assert_eq!(
        sandbox.starts_with("commands write only in this folder"),
        house.sandboxed()
    );
    let head = house.head();

    // Another process goes on from the last token, with a server of its own.
    let second = house.calls("house_run", &run("echo two"));
    assert_eq!(result(&second), (true, "two "));
    assert_eq!(second.errors, "");
    let receipt = second.all("receipt")[0];
    assert_eq!(n(receipt, "kept") + n(receipt, "restored"), context(&first));
    assert_eq!(house.head(), head);
    let pids = fs::read_to_string(house.at("pids")).expect("servers");
    assert_eq!(pids.lines().count(), 2, "one server each");

    // The server is gone from the configuration, and another is there.
    house.configure("[mcp.new]\ncommand = \"bash\"\nargs = [\"server.sh\"]\n");
    let third = house.calls("house_run", &run("echo three"));
    let gone = "The tool house_run is not there now: this session was started with it, and what \
                gave it is missing. Go on without it.";
    assert_eq!(result(&third), (false, gone));
    assert_eq!(
        third.errors,
        "npast: the MCP server new joins the next session\n  \
         hint: this one keeps the tools it was started with\n"
    );

    // It is back, and dies in the call.
    house.serve("dies", "");
    let fourth = house.calls("house_run", &run("echo four"));
    let died = "The MCP server house has ended. Its last words: the disk is gone. Its tools are \
                back with the next session: go on without them.";
    assert_eq!(result(&fourth), (false, died));

    // It never answers.
    house.serve("mute", "call-seconds = 1");
    let fifth = house.calls("house_run", &run("echo five"));
    let mute = "The MCP server house did not answer within 1 s. What it did is not known.";
    assert_eq!(result(&fifth), (false, mute));

    // It prints garbage, or is not there: the session goes on without it.
    house.serve("garbage", "start-seconds = 1");
    let sixth = house.calls("house_run", &run("echo six"));
    assert_eq!(result(&sixth), (false, gone));
    assert_eq!(
        sixth.errors,
        "npast: the MCP server house is left out of this session: it did not answer within 1 s\n"
    );
    house.configure("[mcp.house]\ncommand = \"/nothing/here\"\n");
    let seventh = house.calls("house_run", &run("echo seven"));
    assert_eq!(result(&seventh), (false, gone));
    assert_eq!(
        seventh.errors,
        "npast: the MCP server house is left out of this session: /nothing/here cannot be started: \
         No such file or directory (os error 2)\n"
    );

    // As if nothing had been.
    house.serve("", "");
    let last = house.calls("house_run", &run("echo eight"));
    assert_eq!(result(&last), (true, "eight "));
    assert_eq!(house.head(), head);
    let temp = house.program.desk.home.join("temp");
    let left: Vec<String> = fs::read_dir(temp)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    assert_eq!(left, ["session-1"], "no process left its folder");
}

#[test]
fn a_server_is_behind_the_wall_of_programs_unless_its_configuration_opens_it() {
    let mut house = House::new(Class::Dense);
    if !house.sandboxed() {
        return;
    }
    let home = house.program.folder.path().canonicalize().expect("a home");
    fs::create_dir(home.join(".ssh")).expect("a folder");
    fs::write(home.join(".ssh/key"), "PRIVATE").expect("a key");
    let cache = tempfile::tempdir().expect("a cache");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let tries = format!(
        "echo x > in-project && echo in-project; echo x > $TMPDIR/t && echo in-temp; \
         echo x > {home}/out && echo outside; echo x > {cache}/c && echo in-cache; \
         head -c 1 {home}/.ssh/key && echo ' key'; head -c 1 {config} && echo ' config'; \
         head -c 1 {db} && echo ' sessions'; (: > /dev/tcp/127.0.0.1/{port}) && echo network; \
         echo $TOKEN; echo home=$HOME",
        home = home.display(),
        cache = cache.path().display(),
        config = home.join("config.toml").display(),
        db = house.program.desk.home.join("npast.db").display(),
    );
    let did = |house: &House| -> Vec<String> {
        let ran = house.calls("house_run", &json!({"command": tries}));
        let text = result(&ran).1.to_owned();
        let words = [
            "in-project",
            "in-temp",
            "outside",
            "in-cache",
            "key",
            "config",
            "sessions",
            "network",
            "mine",
        ];
        let said: Vec<&str> = text.split(' ').collect();
        let done = words.iter().filter(|word| said.contains(word));
        done.map(|word| (*word).to_owned()).collect()
    };
    house.serve("", "env = { TOKEN = \"mine\" }");
    assert_eq!(did(&house), ["in-project", "in-temp", "mine"]);
    assert!(!home.join("out").exists());

    // Its own keys open what they say, and only then its calls need a rule.
    let rule = "[approve]\nallow = [\"house_run\"]\n";
    let open = format!(
        "network = true\nwrite = [\"{}\"]\n{rule}",
        cache.path().display()
    );
    house.serve("", &open);
    assert_eq!(
        did(&house),
        ["in-project", "in-temp", "in-cache", "network"]
    );
    house.serve("", &format!("sandbox = false\n{rule}"));
    let all = [
        "in-project",
        "in-temp",
        "outside",
        "in-cache",
        "key",
        "config",
        "sessions",
        "network",
    ];
    assert_eq!(did(&house), all);
    house.serve("", "sandbox = false");
    let refused = house.calls("house_run", &json!({"command": "echo x > refused"}));
    assert_eq!(
        result(&refused),
        (
            false,
            "Not run: it needs approval (its server runs outside of the sandbox), and this run cannot ask \
             the user. Do it another way, or tell the user."
        )
    );
    assert!(!house.at("refused").exists());
    // Where servers' keys stand no tool reads either.
    let config = house.calls("read_file", &json!({"path": home.join("config.toml")}));
    let (read, text) = result(&config);
    assert!(!read && !text.contains("sandbox"), "{text}");
}

/// A server that hears neither the end of its input nor SIGTERM, with a child in a session of its
/// own that does not either: both end with npast, however that ends.
#[test]
fn no_server_outlives_the_program() {
    let mut house = House::new(Class::Dense);
    house.serve("deaf", "");
    // In an orderly way.
    let ran = house.calls("house_run", &json!({"command": "echo on"}));
    assert_eq!(result(&ran), (true, "on "));
    // With an error: the script has no second reply.
    let call = json!([{"name": "house_run", "arguments": {"command": "echo on"}}]);
    let call = json!({"reasoning": "hm", "content": "", "tool_calls": call});
    let ran = Ran::of(&house.command(&[call]).output().expect("a run"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(house.living(), Vec::<String>::new());
    // By SIGKILL in the middle of a call.
    let call = json!([{"name": "house_run", "arguments": {"command": "echo > called; sleep 99"}}]);
    let call = json!({"reasoning": "hm", "content": "", "tool_calls": call});
    let mut command = house.command(&[call]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a run");
    wait_until(&mut child, || house.at("called").exists());
    assert!(house.living().len() >= 2, "a server and its child");
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !house.living().is_empty() {
        assert!(std::time::Instant::now() < until, "{:?}", house.living());
        std::thread::yield_now();
    }
    // The next process removes the folder that it left, and knows that the call may have run.
    let temp = house.program.desk.home.join("temp");
    let left = || fs::read_dir(&temp).expect("a folder").count();
    assert_eq!(left(), 2);
    house.serve("", "");
    let answer = json!({"reasoning": "hm", "content": "Done."});
    let mut command = house.command(&[answer]);
    let ran = Ran::of(&command.output().expect("a run"));
    assert_eq!(
        (ran.code, ran.said("1 may have had an effect")),
        (Some(0), 1),
        "{ran:?}"
    );
    assert_eq!(left(), 1);
}

fn wait_until(child: &mut std::process::Child, done: impl Fn() -> bool) {
    while !done() {
        assert!(child.try_wait().expect("a child").is_none(), "it ended");
        std::thread::yield_now();
    }
}

/// The project's folder is gone between two processes: each tool that needs it says so, and the
/// session goes on.
#[test]
fn a_project_that_is_gone_costs_sentences() {
    let mut house = House::new(Class::Hybrid);
    house.serve("", "");
    house.calls("house_run", &json!({"command": "echo on"}));
    let script = fs::read(house.at("server.sh")).expect("a server");
    fs::remove_dir_all(house.project.path()).expect("gone");
    let calls = [
        ("house_run", json!({"command": "echo on"})),
        ("list", json!({})),
        ("read_file", json!({"path": "server.sh"})),
        ("terminal", json!({"command": "echo on"})),
        ("write_file", json!({"path": "a", "content": "a"})),
    ];
    let calls: Vec<Value> = calls
        .iter()
        .map(|(name, arguments)| json!({"name": name, "arguments": arguments}))
        .collect();
    let lines = [
        json!({"reasoning": "hm", "content": "", "tool_calls": calls}),
        json!({"reasoning": "hm", "content": "Done."}),
    ];
    let mut command = house.command(&lines);
    let home = house.program.folder.path();
    let ran = Ran::of(&command.current_dir(home).output().expect("a run"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.said("the project folder"), 1, "{}", ran.errors);
    let left_out = "the MCP server house is left out of this session: ";
    assert_eq!(ran.said(left_out), 1, "{}", ran.errors);
    let results = ran.all("tool_result");
    assert_eq!(results.len(), calls.len());
    for result in results {
        assert_eq!(result["ok"], false, "{result}");
        assert!(!result["text"].as_str().expect("a text").is_empty());
    }
    for receipt in ran.all("receipt") {
        assert_eq!(
            (&receipt["evaluated"], &receipt["miss"]),
            (&receipt["appended"], &Value::Null),
            "{receipt}"
        );
    }
    assert!(!house.project.path().exists(), "nothing made it again");
    // It is there again, as if nothing had been.
    fs::create_dir(house.project.path()).expect("a folder");
    fs::write(house.at("server.sh"), script).expect("a server");
    let back = house.calls("house_run", &json!({"command": "echo back"}));
    assert_eq!(result(&back), (true, "back "));
}

#[test]
fn what_a_session_would_get_from_servers_is_printed_with_its_cost() {
    let mut house = House::new(Class::Dense);
    house.serve("", "");
    let tools = |house: &House, more: &[&str]| -> usize {
        let mut command = house.program.command(&["prompt", "--json", "-m"]);
        command.arg(&house.program.desk.model).args(more);
        let ran = Ran::of(
            &command
                .current_dir(house.project.path())
                .output()
                .expect("a run"),
        );
        assert_eq!((ran.code, ran.errors.as_str()), (Some(0), ""), "{ran:?}");
        let [prompt] = &ran.events[..] else {
            panic!("one event: {ran:?}")
        };
        let text = prompt["text"].as_str().expect("a text");
        assert_eq!(text.contains("house_run"), more.is_empty(), "{text}");
        let parts = prompt["parts"].as_array().expect("parts");
        let tools = parts.iter().find(|part| part["part"] == "tools");
        n(tools.expect("tools"), "tokens")
    };
    let with = tools(&house, &[]);
    assert_eq!(house.living(), Vec::<String>::new());
    house.configure("");
    assert!(tools(&house, &["--without-tool", "todo"]) < with);
}

#[test]
fn the_reference_servers_serve_a_session_behind_the_wall() {
    let (Some(every), Some(files)) = (
        crate::mcp::installed("everything"),
        crate::mcp::installed("filesystem"),
    ) else {
        return;
    };
    let mut house = House::new(Class::Dense);
    let outside = tempfile::tempdir().expect("a folder");
    house.configure(&format!(
        "[mcp.files]\ncommand = \"node\"\nargs = [{files:?}, \".\", {:?}]\n\
         tools = [\"write_file\", \"read_text_file\"]\n\
         [mcp.every]\ncommand = \"node\"\nargs = [{every:?}, \"stdio\"]\n\
         tools = [\"get-sum\"]\n",
        outside.path(),
    ));
    let note = house.at("note.txt");
    let written = house.calls(
        "files_write_file",
        &json!({"path": note, "content": "from a server\n"}),
    );
    assert!(result(&written).0, "{written:?}");
    assert_eq!(written.errors, "");
    assert_eq!(fs::read_to_string(note).expect("a note"), "from a server\n");
    let head = house.head();
    let sum = house.calls("every_get-sum", &json!({"a": 2, "b": 40}));
    assert_eq!(result(&sum), (true, "The sum of 2 and 40 is 42."));
    assert_eq!(house.head(), head);
    // The server itself would write there; the kernel does not let it.
    let planted = outside.path().join("planted");
    let refused = house.calls(
        "files_write_file",
        &json!({"path": planted, "content": "x"}),
    );
    assert_eq!(
        (result(&refused).0, planted.exists()),
        (!house.sandboxed(), !house.sandboxed())
    );
}
