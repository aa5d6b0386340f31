//! Git takes programs from many files of a repository, and a user runs git after the agent. Each
//! story plants one of those files by a command of the agent, and then works as the user does: with
//! `git status` and the like, outside of any sandbox. Nothing planted may run, and the result says
//! what was there.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::yard::Yard;

/// Settings that run a program whenever git looks at the files; `@canary` is filled in.
const EVIL: &str = "[core]\\n\\tfsmonitor = touch @canary; false\\n";

/// A project that is a repository with a commit, a submodule and a second working tree.
fn project(yard: &Yard) {
    let work = yard.at("home/work");
    std::fs::remove_dir_all(work.join(".git")).expect("the made-up repository");
    for line in [
        "git init -q -b main && git add . && git commit -q -m first",
        "git init -q -b main ../module && git -C ../module commit -q --allow-empty -m first",
        "git -c protocol.file.allow=always submodule add -q \"$HOME/module\" module",
        "git config extensions.worktreeConfig true",
        "git worktree add -q .trees/second 2>&1 && git commit -q -m second",
    ] {
        assert!(user(yard, "", line), "{line}");
    }
    assert!(work.join(".git/modules/module/config").exists());
    assert!(work.join(".git/worktrees/second/commondir").exists());
}

/// What the user does outside of the sandbox; whether it went well.
fn user(yard: &Yard, folder: &str, line: &str) -> bool {
    let ran = Command::new("/bin/bash")
        .args(["-c", line])
        .current_dir(yard.at("home/work").join(folder))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a PATH"))
        .env("HOME", yard.at("home"))
        .envs(["AUTHOR", "COMMITTER"].iter().flat_map(|who| {
            [
                (format!("GIT_{who}_NAME"), "a"),
                (format!("GIT_{who}_EMAIL"), "a@b"),
            ]
        }))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    ran.expect("bash").success()
}

/// Everything that a user's tools do by themselves.
fn look_around(yard: &Yard) {
    let work = yard.at("home/work");
    let mut folders = vec![work.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            if entry.file_type().expect("a kind").is_dir() && entry.file_name() != "objects" {
                folders.push(entry.path());
            }
        }
        let folder = folder
            .strip_prefix(&work)
            .unwrap_or(Path::new(""))
            .to_owned();
        let folder = folder.to_str().expect("UTF-8");
        user(
            yard,
            folder,
            "git status; git status --porcelain=2; git diff",
        );
        user(yard, folder, "git --work-tree=. status; git log -1");
    }
    user(
        yard,
        "",
        "git checkout -b seen; git commit --allow-empty -m seen; git checkout main",
    );
}

/// What is planted, whether a view of the file system closes it before it can be, and the command.
const PLANTED: &[(&str, bool, &str)] = &[
    (
        "the settings",
        true,
        "printf '@evil' >> .git/config; git config core.fsmonitor 'touch @canary'",
    ),
    (
        "a hook",
        true,
        "printf '#!/bin/sh\\ntouch @canary' > .git/hooks/post-checkout; chmod +x .git/hooks/*",
    ),
    (
        "a folder of hooks in another's place",
        true,
        "mv .git/hooks .git/h; rm -rf .git/hooks; mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch @canary' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout",
    ),
    (
        "commondir",
        false,
        "cp -r .git evil; printf '@evil' >> evil/config; printf '../evil\\n' > .git/commondir",
    ),
    (
        "settings of a working tree",
        false,
        "printf '@evil' > .git/config.worktree",
    ),
    (
        "settings of another working tree",
        false,
        "printf '@evil' > .git/worktrees/second/config.worktree",
    ),
    (
        "the way of a working tree to its repository",
        false,
        "cp -r .git evil; printf '@evil' >> evil/config; printf '../../../evil\\n' > .git/worktrees/second/commondir",
    ),
    (
        "a working tree that leads elsewhere",
        false,
        "cp -r .git evil; printf '@evil' >> evil/config; printf 'gitdir: ../../evil\\n' > .trees/second/.git",
    ),
    (
        "settings of a submodule",
        true,
        "printf '@evil' >> .git/modules/module/config",
    ),
    (
        "a submodule in another's place",
        true,
        "cd .git && mv modules m2; mkdir -p modules; cp -r m2/module modules/; mv modules/module modules/x; cp -r modules/x modules/module; printf '@evil' >> modules/module/config",
    ),
    (
        "a submodule that leads elsewhere",
        false,
        "cp -r .git/modules/module evil; printf '@evil' >> evil/config; rm module/.git; printf 'gitdir: ../evil\\n' > module/.git",
    ),
    (
        "a repository below, in the index",
        false,
        "git init -q sub; git -C sub -c user.name=a -c user.email=a commit -q --allow-empty -m x; git add sub; printf '@evil' >> sub/.git/config",
    ),
    (
        "a repository far below",
        false,
        "git init -q a/b/c/d; cd a/b/c/d; git config core.fsmonitor 'touch @canary; false'",
    ),
    (
        "a hook of a repository below",
        false,
        "git init -q sub; mkdir -p sub/.git/hooks; printf '#!/bin/sh\\ntouch @canary' > sub/.git/hooks/post-index-change; chmod +x sub/.git/hooks/post-index-change",
    ),
    (
        "a repository that is not called .git",
        false,
        "git init -q --bare sub; printf '@evil' >> sub/config; sed -i 's/bare = true/bare = false/' sub/config",
    ),
    (
        "a link to a repository",
        false,
        "git init -q x; mv x/.git evil; printf '@evil' >> evil/config; ln -s ../evil x/.git",
    ),
    (
        "a file that leads to a folder without its name",
        false,
        "git init -q x; mv x/.git .git/objects/evil; printf '@evil' >> .git/objects/evil/config; printf 'gitdir: ../.git/objects/evil' > x/.git",
    ),
    (
        "a repository among temporary files",
        false,
        "git init -q $TMPDIR/r; printf '@evil' >> $TMPDIR/r/.git/config; mkdir x; printf \"gitdir: $TMPDIR/r/.git\" > x/.git",
    ),
    (
        "settings that include others",
        false,
        "git init -q x; printf '@evil' > x/more; printf '[include]\\n\\tpath = ../more\\n' >> x/.git/config",
    ),
    (
        "settings in a form that few know",
        false,
        "git init -q x; printf '[core]fsmonitor=touch @canary; false' >> x/.git/config",
    ),
    (
        "settings that are a link",
        false,
        "git init -q x; printf '@evil' > x/more; ln -sf ../more x/.git/config",
    ),
    (
        "a command that was killed",
        false,
        "git init -q x; printf '@evil' >> x/.git/config; kill -9 $$",
    ),
    (
        "a repository that is put together in another's name",
        false,
        "git init -q x; printf '@evil' >> x/.git/config; mkdir y; mv x/.git y/g; touch -d 2001-01-01 y/g/config; mv y/g y/.git",
    ),
    (
        "a copy of the repository",
        false,
        "mkdir x; cp -r .git x/.git; printf '@evil' >> x/.git/config",
    ),
];

fn every_plant(viewed: bool) {
    for (name, closed, command) in PLANTED {
        let yard = Yard::default();
        let Some((_, sandbox)) = yard.sandboxes().into_iter().find(|(own, _)| *own == viewed)
        else {
            return;
        };
        project(&yard);
        let canary = yard.at("home/CANARY");
        let fill = |text: &str| text.replace("@canary", canary.to_str().expect("UTF-8"));
        let command = fill(&command.replace("@evil", EVIL));
        let before = yard.of_git();
        let answer = yard.call(
            &yard.registry_of(sandbox),
            "c1",
            &json!({"command": command}),
        );
        let told = answer
            .text
            .starts_with("[npast: this command left what git would run: ");
        assert!(told || (*closed && viewed), "{name}: {}", answer.text);
        assert_eq!(yard.of_git(), before, "{name}: {}", answer.text);
        look_around(&yard);
        assert!(
            !canary.exists(),
            "{name}: what was planted ran: {}",
            answer.text
        );
    }
}

#[test]
fn what_a_command_planted_in_a_repository_is_never_run_by_the_users_git() {
    every_plant(true);
}

#[test]
fn without_a_view_of_the_files_it_is_set_aside_after_the_command() {
    every_plant(false);
}

/// The test above can see what it looks for.
#[test]
fn without_a_sandbox_the_users_git_runs_it() {
    let yard = Yard::default();
    project(&yard);
    let canary = yard.at("home/CANARY");
    for (name, _, command) in PLANTED
        .iter()
        .filter(|(name, ..)| name.contains("index") || *name == "commondir")
    {
        let command = command.replace("@evil", EVIL);
        let command = command.replace("@canary", canary.to_str().expect("UTF-8"));
        yard.call(&yard.registry(false), "c1", &json!({"command": command}));
        look_around(&yard);
        assert!(canary.exists(), "{name}");
        std::fs::remove_file(&canary).expect("a file");
    }
}

#[test]
fn the_agents_own_work_with_git_goes_on() {
    for viewed in [true, false] {
        let yard = Yard::default();
        let Some((_, sandbox)) = yard.sandboxes().into_iter().find(|(own, _)| *own == viewed)
        else {
            continue;
        };
        project(&yard);
        let registry = yard.registry_of(sandbox);
        let who = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b; ";
        for (n, command) in [
            "echo new > new && git add new && git commit -q -m new",
            "git checkout -q -b side && echo more >> new && git commit -q -am more",
            "echo rest >> new && git stash -q && git stash pop -q",
            "git commit -q -am rest && git checkout -q main && git merge -q side",
            "git rebase -q HEAD~1 && git tag v1 && git gc -q",
            "git worktree add -q .trees/third",
            "git -C .trees/third commit -q --allow-empty -m third && git worktree remove .trees/third",
            "git init -q below && cd below && git config user.name a && git config user.email a@b && git commit -q --allow-empty -m x",
            "git -C below commit -q --allow-empty -m y && git clone -q below copy",
            "git -C copy pull -q && rm -rf below copy",
            "git init -q $TMPDIR/scratch && git -C $TMPDIR/scratch config core.hooksPath x",
            "git -C $TMPDIR/scratch config alias.x '!true' && rm -rf $TMPDIR/scratch",
        ]
        .into_iter()
        .enumerate()
        {
            let arguments = json!({"command": format!("{who}{command}")});
            let answer = yard.call(&registry, &format!("g{n}"), &arguments);
            // What git does by itself in the background may be left.
            let well = answer.text.starts_with("Exit code 0.");
            assert!(well, "{command}: {}", answer.text);
        }
        assert!(user(&yard, "", "git status && git fsck --strict"));
        // A project that is none yet becomes a repository.
        std::fs::remove_dir_all(yard.at("home/work/.git")).expect("a folder");
        let command = format!("{who}git init -q && git add README && git commit -q -m first");
        let answer = yard.call(&registry, "init", &json!({"command": command}));
        assert!(answer.text.starts_with("Exit code 0."), "{}", answer.text);
    }
}

#[test]
fn what_is_set_aside_is_named_and_can_be_put_back() {
    let yard = Yard::default();
    if !yard.sandbox(true).probe(&yard.at("home/temp")).holds() {
        return eprintln!("not tested: this system has no sandbox");
    }
    let command = "git init -q sub && git -C sub config core.hooksPath .hooks";
    let answer = yard.call(&yard.registry(true), "c1", &json!({"command": command}));
    assert_eq!(
        answer.text,
        "[npast: this command left what git would run: sub/.git/config (core.hookspath) is now \
         config.set-aside]\nExit code 0."
    );
    let aside = std::fs::read_to_string(yard.at("home/work/sub/.git/config.set-aside"));
    assert!(aside.expect("a file").contains("hooksPath = .hooks"));
    assert!(!yard.at("home/work/sub/.git/config").exists());
}

#[test]
fn what_cannot_be_looked_into_is_said_and_judged_when_it_can() {
    let yard = Yard::default();
    if rustix::process::getuid().is_root() || yard.sandboxes().is_empty() {
        return eprintln!("not tested: root looks into everything");
    }
    let registry = yard.registry(true);
    let command = "git init -q a/sub && git -C a/sub config core.pager x && chmod 0 a";
    let answer = yard.call(&registry, "c1", &json!({"command": command}));
    let said = "a cannot be looked into, and may hold a repository]\nExit code 0.";
    assert!(answer.text.ends_with(said), "{}", answer.text);
    let answer = yard.call(&registry, "c2", &json!({"command": "chmod 755 a"}));
    let said = "a/sub/.git/config (core.pager) is now config.set-aside]\nExit code 0.";
    assert!(answer.text.ends_with(said), "{}", answer.text);
}

/// Files that would be waited for, that are too large to be held, and a name that plays the terminal.
#[test]
fn odd_files_hold_nobody_up_and_no_name_plays_the_terminal() {
    let yard = Yard::default();
    if yard.sandboxes().is_empty() {
        return;
    }
    let registry = yard.registry(true);
    for (n, (command, said)) in [
        ("git init -q x; rm x/.git/config; mkfifo x/.git/config", "x/.git/config (it is no plain file)"),
        ("mkdir y; mkfifo y/.git", "y/.git (it leads git to another place) is now .git.set-aside"),
        ("git init -q z; truncate -s 4G z/.git/config", "z/.git/config (it is no plain file)"),
        (r"git init -q $'n\e[2J\n\nb'; git -C $'n\e[2J\n\nb' config core.pager x", "n [2J  b/.git/config (core.pager) is now"),
        ("cd x; mkdir .git/rebase-merge; echo 'exec touch x' > .git/rebase-merge/git-rebase-todo", "\"git rebase --continue\" runs \"exec touch x\""),
        ("mkdir -p h/.hg; printf '[hooks]\\nupdate = x\\n' > h/.hg/hgrc", "h/.hg/hgrc (settings of hg)"),
    ]
    .into_iter()
    .enumerate()
    {
        let arguments = json!({"command": command, "timeout": 30});
        let answer = yard.call(&registry, &format!("o{n}"), &arguments);
        assert!(answer.text.contains(said), "{command}: {}", answer.text);
        assert!(!answer.text.contains('\u{1b}'), "{command}: {:?}", answer.text);
    }
}

/// While one command is looked through, another goes on, and turns folders into links.
#[test]
fn nothing_outside_is_set_aside_however_folders_change_meanwhile() {
    let yard = Yard::default();
    if yard.sandboxes().is_empty() {
        return;
    }
    let registry = yard.registry(true);
    let (other, mine) = (yard.at("home/other/.git"), "[core]\n\tpager = mine\n");
    std::fs::create_dir_all(&other).expect("a folder");
    std::fs::write(other.join("config"), mine).expect("a file");
    let turn = "mkdir -p q; cp -r .git q/.git; printf '[core]\\n\\tpager = x\\n' > q/.git/config; cp q/.git/config keep; \
                ln -s ../other r; python3 -c 'import ctypes, os\nl = ctypes.CDLL(None)\n\
                while True:\n l.renameat2(-100, b\"q\", -100, b\"r\", 2)\n\
                \x20for p in (\"q\", \"r\"):\n  if not os.path.islink(p):\n   try: os.replace(p + \"/.git/config.set-aside\", p + \"/.git/config\")\n   except OSError: pass'";
    yard.call(
        &registry,
        "turn",
        &json!({"command": turn, "background": true}),
    );
    for n in 0..20 {
        yard.call(&registry, &format!("c{n}"), &json!({"command": "true"}));
    }
    let there: Vec<_> = std::fs::read_dir(&other)
        .expect("a folder")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(there, ["config"]);
    assert_eq!(
        std::fs::read_to_string(other.join("config")).expect("a file"),
        mine
    );
}

/// What a command cannot write was changed by its user, and is the user's.
#[test]
fn settings_that_the_user_changes_meanwhile_stay() {
    let yard = Yard::default();
    if !yard.sandboxes().iter().any(|(own, _)| *own) {
        return;
    }
    project(&yard);
    let registry = yard.registry(true);
    let command = "touch begun; until [ -e changed ]; do sleep 0.01; done";
    let answer = std::thread::scope(|scope| {
        let call = || yard.call(&registry, "c1", &json!({"command": command, "timeout": 60}));
        let running = scope.spawn(call);
        while !yard.at("home/work/begun").exists() {
            std::thread::yield_now();
        }
        assert!(user(
            &yard,
            "",
            "git config alias.st status && touch changed"
        ));
        running.join().expect("an answer")
    });
    assert_eq!(
        answer.text,
        "[npast: this command left what git would run: .git/config (alias.st) was changed from \
         outside meanwhile, and stays]\nExit code 0."
    );
    assert!(user(&yard, "", "git st"));
}
