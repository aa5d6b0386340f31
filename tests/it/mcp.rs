//! MCP with the reference servers: installed from the npm registry where npm is there, and said
//! where it is not. They stay below target/ for the next run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use npast::tools::{
    CallContext, LiveOutput, MemoryEdit, Registry, ResultLimits, Results, Secrets, ServerConfig,
    ServerSurroundings, Servers, SessionHit, TodoItem, ToolAnswer, ToolHost, results,
};
use serde_json::{Value, json};

const VERSION: &str = "2026.8.31";

/// An agent that no tool here needs.
struct Nobody;

impl ToolHost for Nobody {
    fn search_sessions(&self, _: &str, _: usize) -> Result<Vec<SessionHit>, String> {
        Err("nobody".into())
    }

    fn memory(&self, _: &[MemoryEdit]) -> Result<String, String> {
        Err("nobody".into())
    }

    fn todo(&self) -> Vec<TodoItem> {
        Vec::new()
    }
}

/// The script of a reference server; `None`, and said, where it cannot be had.
pub fn installed(server: &str) -> Option<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().expect("an installation");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mcp-{VERSION}"));
    let script = |folder: &Path| {
        folder.join(format!(
            "node_modules/@modelcontextprotocol/server-{server}/dist/index.js"
        ))
    };
    if !script(&folder).exists() {
        let draft = folder.with_extension(format!("draft-{}", std::process::id()));
        let packages = ["everything", "filesystem"]
            .map(|name| format!("@modelcontextprotocol/server-{name}@{VERSION}"));
        fs::create_dir_all(&draft).expect("a folder below target");
        let install = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(["--fetch-retries=1", "--fetch-timeout=60000", "--prefix"])
            .arg(&draft)
            .args(packages)
            .stdin(Stdio::null())
            .output();
        match install {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("skipped: npm cannot install the reference servers: {said}");
                return None;
            }
            Err(error) => {
                eprintln!("skipped: there is no npm: {error}");
                return None;
            }
        }
        // Another run may have been faster.
        if fs::rename(&draft, &folder).is_err() {
            fs::remove_dir_all(&draft).expect("a draft");
        }
    }
    Some(script(&folder))
}

struct Place {
    folder: tempfile::TempDir,
    servers: Servers,
    registry: Registry,
}

/// A reference server in an empty project, with the arguments that it needs.
fn start(name: &str, args: impl Fn(&Path) -> Vec<String>) -> Option<Place> {
    let script = installed(name)?;
    let folder = tempfile::tempdir().expect("a place");
    let project = folder.path().join("project");
    fs::create_dir(&project).expect("a project");
    fs::create_dir(folder.path().join("temp")).expect("a temporary folder");
    let config = ServerConfig {
        name: name.to_owned(),
        command: "node".to_owned(),
        args: std::iter::once(script.to_str().expect("a path").to_owned())
            .chain(args(&project))
            .collect(),
        env: BTreeMap::from([("ONLY".to_owned(), "this".to_owned())]),
        tools: None,
        start_limit: Duration::from_secs(120),
        call_limit: Duration::from_secs(120),
        network: false,
        write: Vec::new(),
        sandbox: true,
    };
    let mut servers = Servers::start(
        &[config],
        &ServerSurroundings {
            project: &project,
            env: &[("PATH".into(), std::env::var_os("PATH").expect("a PATH"))],
            command: &|launch| launch.bare(),
        },
    );
    let tools = servers.tools(&[]);
    assert_eq!(servers.notices(), Vec::<String>::new());
    Some(Place {
        registry: Registry::new(tools).expect("a registry"),
        folder,
        servers,
    })
}

impl Place {
    fn call(&self, name: &str, arguments: Value) -> ToolAnswer {
        let room = CallContext {
            project: &self.folder.path().join("project"),
            temp: &self.folder.path().join("temp"),
            results: &Results::new(&self.folder.path().join("temp"), results::MOST, None),
            secret: &Secrets::default(),
            limits: ResultLimits::default(),
            granted: None,
            asked: None,
            call: "c1",
            cancel: &AtomicBool::new(false),
            live: &LiveOutput::default(),
            host: &Nobody,
        };
        self.registry.run(name, &arguments, &room)
    }
}

#[test]
fn the_reference_server_everything_is_called_like_any_tool() {
    let Some(place) = start("everything", |_| vec!["stdio".into()]) else {
        return;
    };
    let names: Vec<&str> = place
        .registry
        .tools()
        .map(|t| t.spec().name.as_str())
        .collect();
    assert!(
        names.is_sorted() && names.contains(&"everything_get-sum"),
        "{names:?}"
    );
    assert_eq!(
        place.call("everything_echo", json!({"message": "hällo"})),
        ToolAnswer::good("Echo: hällo")
    );
    assert_eq!(
        place.call("everything_get-sum", json!({"a": 2, "b": 40})),
        ToolAnswer::good("The sum of 2 and 40 is 42.")
    );
    assert_eq!(
        place.call("everything_get-sum", json!({"a": 2, "b": "x"})),
        ToolAnswer::bad(
            "everything_get-sum cannot be called like this: \"b\" must be number, and is the \
             string \"x\"."
        )
    );
    let image = place.call("everything_get-tiny-image", json!({}));
    assert!(
        image.ok && image.text.contains("[an image, image/png, "),
        "{image:?}"
    );
    let env = place.call("everything_get-env", json!({})).text;
    let env: Value = serde_json::from_str(&env).expect("its environment");
    let env: Vec<&String> = env.as_object().expect("variables").keys().collect();
    assert_eq!(env, ["ONLY", "PATH"]);
    // When the session is over the call says so.
    let Place {
        registry,
        folder,
        servers,
    } = place;
    drop(servers);
    let folder = Place {
        registry,
        folder,
        servers: Servers::start(
            &[],
            &ServerSurroundings {
                project: Path::new("/"),
                env: &[],
                command: &|launch| launch.bare(),
            },
        ),
    };
    let ended = folder.call("everything_echo", json!({"message": "x"}));
    assert!(
        !ended.ok
            && ended
                .text
                .starts_with("The MCP server everything has ended."),
        "{ended:?}"
    );
}

#[test]
fn the_reference_server_filesystem_works_in_the_project_and_not_outside() {
    let real = |path: &Path| path.canonicalize().expect("a folder").display().to_string();
    let Some(place) = start("filesystem", |project| vec![real(project)]) else {
        return;
    };
    let project = real(&place.folder.path().join("project"));
    let path = format!("{project}/note.txt");
    let written = place.call(
        "filesystem_write_file",
        json!({"path": path, "content": "from a server\n"}),
    );
    assert!(written.ok, "{written:?}");
    assert_eq!(
        fs::read_to_string(&path).expect("a note"),
        "from a server\n"
    );
    let read = place.call("filesystem_read_text_file", json!({"path": path}));
    assert_eq!(read, ToolAnswer::good("from a server\n"));
    let outside = place.call(
        "filesystem_read_text_file",
        json!({"path": "/etc/hostname"}),
    );
    assert!(
        !outside.ok && outside.text.contains("ccess denied"),
        "{outside:?}"
    );
}
