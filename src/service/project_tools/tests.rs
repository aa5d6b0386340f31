//! `tests/it/agent_servers.rs` has the stories of servers and of a sandbox in the whole program. Here
//! npast's own file is this test program, so no sandbox can be tried.

use serde_json::{Value, json};

use super::*;
use crate::config::ConfigLayer;

fn live(home: &Path, layer: ConfigLayer) -> ProjectTools {
    let places = Places {
        home: home.join("data"),
        config: home.join("config.toml"),
        config_named: false,
    };
    ProjectTools::new(&places, &home.join("work"), &Settings::new(layer).unwrap())
}

fn names(tools: &[Box<dyn Tool>]) -> Vec<&str> {
    tools.iter().map(|tool| tool.spec().name.as_str()).collect()
}

#[test]
fn what_tools_are_called_can_be_asked_without_leaving_anything_behind() {
    let home = tempfile::tempdir().unwrap();
    let mut live = live(home.path(), ConfigLayer::default());
    assert!(live.wait(Duration::ZERO), "there is no server to wait for");
    let tools = live.tools(None);
    let want = [
        "edit_file",
        "list",
        "memory",
        "read_file",
        "search",
        "session_search",
        "todo",
        "write_file",
        "fetch_url",
        "terminal",
    ];
    assert_eq!(names(&tools), want);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_wall_that_cannot_be_tried_is_none_and_every_program_is_asked_about() {
    let home = tempfile::tempdir().unwrap();
    let live = live(home.path(), ConfigLayer::default());
    assert_eq!(live.sandbox_mode(), SandboxMode::Missing);
    assert_eq!(
        live.held_back(),
        "none: it gave no answer; npast asks about every command"
    );
    let own = || std::fs::read_dir(home.path().join("data/temp")).unwrap();
    assert_eq!(own().count(), 1, "tried in a folder of this process");
    drop(live);
    assert_eq!(own().count(), 0);
}

#[test]
fn a_sandbox_that_is_turned_off_is_said() {
    let home = tempfile::tempdir().unwrap();
    let off = ConfigLayer {
        sandbox: Some("off".into()),
        ..ConfigLayer::default()
    };
    let live = live(home.path(), off);
    assert_eq!(live.sandbox_mode(), SandboxMode::Off);
    assert_eq!(live.held_back(), "off: commands run with all your rights");
}

#[test]
fn a_server_is_behind_the_wall_of_programs_but_for_what_its_configuration_opens() {
    let sandbox = Sandbox::new("/npast".into(), Vec::new()).with_rules(sandbox::SandboxRules {
        write: vec!["/work".into()],
        hidden: vec!["/home/me/.ssh".into()],
        network: false,
    });
    let closed = ServerConfig {
        name: "x".into(),
        command: "x".into(),
        args: Vec::new(),
        env: Default::default(),
        tools: None,
        start_limit: Duration::from_secs(1),
        call_limit: Duration::from_secs(1),
        network: false,
        write: Vec::new(),
        sandbox: true,
    };
    let rules = |server: &ServerConfig| {
        let launch = Launch {
            server,
            words: &["x".into()],
            env: &[("TOKEN".into(), "mine".into())],
            folder: Path::new("/work"),
        };
        let command = command(&sandbox, &launch).unwrap();
        let mut variables = command.get_envs().filter_map(|(_, value)| value);
        let job = variables.next().unwrap().to_str().unwrap();
        let job: Value = serde_json::from_str(job).unwrap();
        assert_eq!(job["environment"], json!([["TOKEN", "mine"]]));
        job["rules"].clone()
    };
    let hidden = json!(["/home/me/.ssh"]);
    assert_eq!(
        rules(&closed),
        json!({"write": ["/work"], "hidden": hidden, "network": false})
    );
    let open = ServerConfig {
        network: true,
        write: vec!["/cache".into()],
        ..closed.clone()
    };
    assert_eq!(
        rules(&open),
        json!({"write": ["/work", "/cache"], "hidden": hidden, "network": true})
    );
    let outside = ServerConfig {
        sandbox: false,
        ..open
    };
    assert_eq!(rules(&outside), Value::Null);
}
