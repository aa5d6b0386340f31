//! One list, seen from the file tools' side; `tests/it/secrets.rs` sees it from both.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::super::testing::Place;
use super::*;

fn refused(place: &Place, path: &str) -> bool {
    let calls = [
        ("read_file", json!({"path": path})),
        ("search", json!({"path": path, "pattern": "PRIVATE"})),
        (
            "edit_file",
            json!({"path": path, "old": "PRIVATE", "new": "x"}),
        ),
        ("write_file", json!({"path": path, "content": "x"})),
    ];
    let answers = calls.map(|(tool, arguments): (&str, Value)| place.call(tool, arguments));
    let closed = answers.iter().all(|answer| {
        !answer.ok
            && answer
                .text
                .ends_with("npast's own state: no tool may touch it.")
    });
    assert!(
        closed || answers[0].ok,
        "{path}: a place is closed to all tools or can be read: {answers:?}"
    );
    closed
}

#[test]
fn every_kind_of_secret_is_closed_to_file_tools() {
    let mut place = Place::new();
    place.guard();
    let names = [
        ".ssh/id_ed25519",
        ".gnupg/private-keys-v1.d/x.key",
        ".aws/credentials",
        ".docker/config.json",
        ".docker/daemon.json",
        ".kube/config",
        ".vault-token",
        ".terraform.d/credentials.tfrc.json",
        ".config/gh/hosts.yml",
        ".config/glab-cli/config.yml",
        ".git-credentials",
        ".npmrc",
        ".netrc",
        ".cargo/credentials.toml",
        ".cache/huggingface/token",
        ".cache/huggingface/stored_tokens",
        ".kaggle/kaggle.json",
        ".ollama/id_ed25519",
        ".pgpass",
        ".my.cnf",
        ".mylogin.cnf",
        ".password-store/mail.gpg",
        ".1password/agent.sock.txt",
        ".config/Bitwarden/data.json",
        ".local/share/keyrings/login.keyring",
        ".local/share/kwalletd/kdewallet.kwl",
        ".mozilla/firefox/x/logins.json",
        ".config/google-chrome/Default/Cookies",
        "snap/firefox/common/x",
        ".thunderbird/x/prefs.js",
        ".muttrc",
        ".config/Signal/config.json",
        ".bitcoin/wallet.dat",
        ".bash_history",
        ".zsh_history",
        ".python_history",
        ".some-new-shell_history",
        ".bash_history-01234.tmp",
        ".lesshst",
        ".viminfo",
        ".octave_hist",
        ".local/share/fish/fish_history",
        ".Xauthority",
        ".config/filezilla/sitemanager.xml",
        ".s3cfg",
        ".boto",
    ];
    for name in names {
        let path = place.plant(&format!("home/{name}"), "PRIVATE");
        assert!(refused(&place, path.to_str().unwrap()), "{name}");
    }
    // What is like them and no secret.
    for name in [
        ".bashrc",
        ".gitconfig",
        ".config/nvim/init.lua",
        "history",
        "notes/.x_history",
    ] {
        let path = place.plant(&format!("home/{name}"), "PRIVATE");
        assert!(!refused(&place, path.to_str().unwrap()), "{name}");
    }
    let home = place.base().join("home");
    let listed = place
        .call("list", json!({"path": home.to_str().unwrap()}))
        .text;
    assert!(
        listed.contains(".bashrc") && !listed.contains(".bash_history"),
        "{listed}"
    );
    let found = json!({"path": home.to_str().unwrap(), "pattern": "PRIVATE"});
    let found = place.call("search", found).text;
    assert!(
        found.contains(".bashrc") && !found.contains("fish"),
        "{found}"
    );
}

/// The model must not write itself grants, nor read those of others; its session's own results it may.
#[test]
fn npasts_own_state_is_closed_wherever_the_project_lies() {
    let place = Place::new();
    for name in [
        "approvals.toml",
        "approvals.lock",
        "npast.db",
        "models/x.gguf",
        "kv/index.db",
        "temp/session-9/result.txt",
        "MEMORY.md",
        "what-comes-next",
        "skills/a/SKILL.md",
    ] {
        place.plant(&format!("project/data/{name}"), "PRIVATE");
    }
    let mut place = place;
    let data = place.project().join("data");
    place.secret = Secrets::default().own(&data);
    let own = |name: &str| data.join(name).to_str().unwrap().to_owned();
    for name in [
        "approvals.toml",
        "approvals.lock",
        "models/x.gguf",
        "what-comes-next",
        "new",
    ] {
        assert!(refused(&place, &own(name)), "{name}");
    }
    assert!(refused(&place, &own("temp/session-9/result.txt")));
    // A skill can be read, since the prompt names it, and is what later prompts are made of.
    let skill = own("skills/a/SKILL.md");
    assert!(place.call("read_file", json!({"path": skill})).ok);
    let answer = place.call("write_file", json!({"path": skill, "content": "x"}));
    assert!(
        answer
            .text
            .ends_with("is npast's own: it can be read and not changed."),
        "{answer:?}"
    );
    // The whole project is the data folder.
    place.secret = Secrets::default().own(&place.project());
    assert!(refused(&place, &own("npast.db")));
    // A link out of it opens nothing, and what it leads to is judged by itself.
    let mut place = Place::new();
    place.plant("home/.ssh/id", "PRIVATE");
    place.plant("data/x", "");
    symlink(
        place.base().join("home/.ssh"),
        place.base().join("data/skills"),
    )
    .unwrap();
    place.guard();
    assert!(refused(
        &place,
        place.base().join("data/skills/id").to_str().unwrap()
    ));
    assert!(
        place.secret.readable().is_empty(),
        "{:?}",
        place.secret.readable()
    );
}

/// Other programs' temporary files are closed, and those beside a project that lies among them are not.
#[test]
fn shared_folders_are_closed_but_for_the_part_of_the_project() {
    let mut secrets = Secrets::default();
    secrets.add(Path::new("/tmp"), SecretKind::Shared);
    let closes = |path: &str, project: &str| secrets.closes(Path::new(path), Path::new(project));
    assert!(closes("/tmp/other/x", "/home/me/work"));
    assert!(closes("/tmp/other/x", "/tmp/mine/work"));
    assert!(!closes("/tmp/mine/x", "/tmp/mine/work"));
    assert!(!closes("/tmp/other/x", "/tmp"));
    secrets.open(&["/tmp/other".into()]);
    assert!(!secrets.closes(Path::new("/tmp/other/x"), Path::new("/home/me/work")));
}

#[test]
fn a_project_in_a_secret_place_is_open_and_the_rest_of_the_place_is_not() {
    let secrets = Secrets::of(SecretOwner {
        home: Some(Path::new("/home/me")),
        data: Path::new("/data"),
        project: None,
        variable: &|_| None,
    });
    let closes = |path: &str, project: &str| secrets.closes(Path::new(path), Path::new(project));
    assert!(closes("/home/me/.kube/config", "/home/me"));
    assert!(closes("/home/me/.kube/config", "/home/me/.kube/plugin"));
    assert!(!closes(
        "/home/me/.kube/plugin/main.go",
        "/home/me/.kube/plugin"
    ));
    assert!(closes("/data/x/y", "/data/x"));
}

/// Variables move secrets; what they name in a project, and a whole home folder, is not closed.
#[test]
fn secrets_that_variables_moved_are_closed_where_they_are() {
    let variable = |name: &str| -> Option<OsString> {
        let value = match name {
            "XDG_CONFIG_HOME" => "/conf",
            "HF_HOME" => "/big/hf",
            "KUBECONFIG" => "/clusters/a:/work/b:relative",
            "HISTFILE" => "/home/me/log/typed",
            "DOCKER_CONFIG" => "/home",
            "TMPDIR" => "/scratch",
            _ => return None,
        };
        Some(value.into())
    };
    let secrets = Secrets::of(SecretOwner {
        home: Some(Path::new("/home/me")),
        data: Path::new("/data"),
        project: Some(Path::new("/work")),
        variable: &variable,
    });
    let closed = [
        "/conf/gh/hosts.yml",
        "/home/me/.config/gh/hosts.yml",
        "/big/hf/token",
        "/clusters/a",
        "/home/me/log/typed",
        "/scratch/x",
    ];
    let open = [
        "/conf/nvim/init.lua",
        "/big/hf/hub/model",
        "/work/b",
        "/home/me/x",
        "/home/x",
    ];
    for (paths, want) in [(&closed[..], true), (&open[..], false)] {
        for path in paths {
            assert_eq!(
                secrets.closes(Path::new(path), Path::new("/work")),
                want,
                "{path}"
            );
        }
    }
    let hidden = secrets.hidden();
    for path in [
        "/conf/gh",
        "/big/hf/token",
        "/clusters/a",
        "/scratch",
        "/tmp",
        "/data",
        "/dev",
    ] {
        assert!(hidden.contains(&path.into()), "{path}");
    }
    assert!(!hidden.contains(&"/proc".into()));
    // The list travels to the sandbox in a variable of which the kernel takes 128 KiB.
    let bytes: usize = hidden.iter().map(|path| path.as_os_str().len() + 3).sum();
    assert!(bytes < 64 << 10, "{bytes} bytes");
}
