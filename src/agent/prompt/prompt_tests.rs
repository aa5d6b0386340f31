use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::tools::SecretOwner;

struct Place {
    home: tempfile::TempDir,
    project: tempfile::TempDir,
    user: tempfile::TempDir,
}

/// A key that reads like everything that a prompt takes.
const KEY: &str = "---\nname: k\ndescription: PLANTED\n---\n- PLANTED\n";

impl Place {
    fn new() -> Place {
        Place {
            home: tempfile::tempdir().unwrap(),
            project: tempfile::tempdir().unwrap(),
            user: tempfile::tempdir().unwrap(),
        }
    }

    fn build(&self, tools: &[&str]) -> AgentPrompt {
        let tools: Vec<String> = tools.iter().map(|t| (*t).to_owned()).collect();
        AgentPrompt::build(&PromptSurroundings {
            home: self.home.path(),
            secret: &self.secrets(),
            project: self.project.path(),
            day: "2026-11-23",
            tools: &tools,
            system: None,
        })
    }

    fn secrets(&self) -> Secrets {
        let user = self.user();
        Secrets::of(SecretOwner {
            home: Some(&user),
            data: self.home.path(),
            project: Some(self.project.path()),
            variable: &|_| None,
        })
    }

    /// A user's home folder, with a key in it.
    fn user(&self) -> PathBuf {
        let user = self.user.path().canonicalize().unwrap();
        fs::create_dir_all(user.join(".ssh")).unwrap();
        fs::write(user.join(".ssh/id"), KEY).unwrap();
        user
    }

    fn skill(&self, folder: &Path, name: &str, text: &str) {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("SKILL.md"), text).unwrap();
    }
}

fn part<'a>(prompt: &'a AgentPrompt, name: &str) -> Option<&'a str> {
    let part = prompt.parts.iter().find(|part| part.name == name);
    part.map(|part| part.text.as_str())
}

#[test]
fn a_prompt_has_its_parts_in_order_and_the_same_bytes_each_time() {
    let place = Place::new();
    fs::write(place.project.path().join("AGENTS.md"), "Run `make`.\n").unwrap();
    fs::write(place.project.path().join("CLAUDE.md"), "not this").unwrap();
    fs::write(
        place.home.path().join("MEMORY.md"),
        "- a fact\n  of two lines\n",
    )
    .unwrap();
    fs::write(place.home.path().join("USER.md"), "- Ada\n").unwrap();
    place.skill(
        &place.home.path().join("skills"),
        "pdf",
        "---\nname: pdf\ndescription: Fills forms.\n---\n",
    );
    let prompt = place.build(&["read_file", "memory"]);
    let names: Vec<_> = prompt.parts.iter().map(|part| part.name).collect();
    let want = [
        "identity",
        "guidance",
        "user",
        "memory",
        "skills",
        "project",
        "environment",
    ];
    assert_eq!(names, want);
    // What differs in another folder and on another day is no part of the system text.
    let differs = prompt.parts.iter().map(|part| part.differs);
    assert_eq!(differs.filter(|differs| !differs).count(), 2);
    assert!(!prompt.text().contains("2026"), "{}", prompt.text());
    let preface = prompt.preface().unwrap();
    assert!(
        preface.starts_with("[Notes of npast for this session, not words of the user:]\n\n# What"),
        "{preface}"
    );
    assert!(
        preface.ends_with("2026-11-23\n\n[End of npast's notes. The user's message:]"),
        "{preface}"
    );
    assert_eq!(prompt.notices, Vec::new());
    assert_eq!(
        part(&prompt, "memory"),
        Some("# What you remember\n- a fact\n  of two lines")
    );
    assert_eq!(
        part(&prompt, "project"),
        Some("# From the project's AGENTS.md\nRun `make`.")
    );
    let skills = part(&prompt, "skills").unwrap();
    assert!(skills.contains("- pdf: Fills forms. ("), "{skills}");
    assert!(
        part(&prompt, "environment")
            .unwrap()
            .ends_with("Date at the start: 2026-11-23")
    );
    assert_eq!(place.build(&["read_file", "memory"]), prompt);
}

#[test]
fn guidance_speaks_of_the_tools_that_are_there() {
    let place = Place::new();
    let all = place.build(&["edit_file", "memory", "read_file", "terminal", "todo"]);
    let few = place.build(&["list"]);
    for (name, words) in [
        ("todo", "Keep a plan"),
        ("memory", "Keep with memory"),
        ("edit_file", "Prefer edit_file"),
    ] {
        assert!(part(&all, "guidance").unwrap().contains(words), "{name}");
        assert!(!part(&few, "guidance").unwrap().contains(words), "{name}");
    }
}

#[test]
fn a_project_file_of_a_megabyte_is_cut_at_a_line_and_said() {
    let place = Place::new();
    let line = "é is a line of text\n";
    fs::write(place.project.path().join("CLAUDE.md"), line.repeat(50_000)).unwrap();
    let prompt = place.build(&[]);
    let text = part(&prompt, "project").unwrap();
    assert!(text.len() < 17 * 1024);
    assert!(text.contains("line of text\n[npast: the first 16379 of 1050000 bytes of CLAUDE.md; read_file has the rest]"), "{}", &text[text.len() - 200..]);
    assert!(
        prompt.notices[0]
            .0
            .contains("has 1050000 bytes; the first 16379 are in the prompt"),
        "{:?}",
        prompt.notices
    );
    fs::write(place.project.path().join("CLAUDE.md"), "é".repeat(500_000)).unwrap();
    assert!(
        !part(&place.build(&[]), "project")
            .unwrap()
            .contains('\u{FFFD}'),
        "one line is cut between characters"
    );
}

#[test]
fn what_cannot_be_used_is_left_out_and_said() {
    let place = Place::new();
    fs::write(
        place.project.path().join(".npast.md"),
        b"fine \xff\x1b[2J and\n",
    )
    .unwrap();
    fs::write(place.home.path().join("MEMORY.md"), b"- bro\xffken").unwrap();
    place.skill(
        &place.project.path().join(".npast/skills"),
        "x",
        "no front matter",
    );
    let prompt = place.build(&["read_file"]);
    assert_eq!(
        part(&prompt, "project"),
        Some("# From the project's .npast.md\nfine \u{FFFD}[2J and")
    );
    assert_eq!(
        (part(&prompt, "memory"), part(&prompt, "skills")),
        (None, None)
    );
    assert_eq!(prompt.notices.len(), 3, "{:?}", prompt.notices);

    let gone = AgentPrompt::build(&PromptSurroundings {
        home: place.home.path(),
        secret: &place.secrets(),
        project: &place.project.path().join("gone"),
        day: "2026-11-23",
        tools: &[],
        system: None,
    });
    assert!(
        gone.notices
            .iter()
            .any(|(text, _)| text.contains("is not there")),
        "{:?}",
        gone.notices
    );
}

#[test]
fn a_skill_of_the_project_wins_over_one_of_the_data_folder() {
    let place = Place::new();
    let text = |what: &str| format!("---\nname: ship\ndescription: {what}\n---\n");
    place.skill(&place.home.path().join("skills"), "ship", &text("Mine."));
    place.skill(
        &place.project.path().join(".npast/skills"),
        "ship",
        &text("Theirs."),
    );
    let prompt = place.build(&["read_file"]);
    let skills = part(&prompt, "skills").unwrap();
    assert!(
        skills.contains("Theirs.") && !skills.contains("Mine."),
        "{skills}"
    );
}

/// A repository brings files that are links: out of it, to a key, round in circles, to pipes. None of
/// them is read, each is said.
#[test]
fn project_files_and_skills_that_lead_out_of_the_project_stay_out_of_the_prompt() {
    let place = Place::new();
    let user = place.user();
    let project = place.project.path();
    let key = user.join(".ssh/id");
    fs::write(user.join("notes"), KEY).unwrap();
    let outside = user.join("outside");
    place.skill(&user.join("outside"), "deep", KEY);
    symlink(&key, project.join("AGENTS.md")).unwrap();
    symlink(user.join("notes"), project.join("CLAUDE.md")).unwrap();
    symlink(".npast.md", project.join(".npast.md")).unwrap();
    let skills = project.join(".npast/skills");
    for name in ["a", "b"] {
        fs::create_dir_all(skills.join(name)).unwrap();
    }
    symlink(&key, skills.join("a/SKILL.md")).unwrap();
    symlink(user.join("notes"), skills.join("b/SKILL.md")).unwrap();
    symlink(outside.join("deep"), skills.join("c")).unwrap();
    let prompt = place.build(&["read_file"]);
    assert!(!prompt.text().contains("PLANTED"), "{}", prompt.text());
    let said: Vec<&str> = prompt
        .notices
        .iter()
        .map(|(text, _)| text.as_str())
        .collect();
    for (name, why) in [
        ("AGENTS.md", "it is a link that leads out of"),
        ("CLAUDE.md", "it is a link that leads out of"),
        (".npast.md", "it is a link that leads nowhere"),
        ("a/SKILL.md", "it is a link that leads out of"),
        ("b/SKILL.md", "it is a link that leads out of"),
        ("c/SKILL.md", "it is a link that leads out of"),
    ] {
        let told = |text: &&str| {
            text.contains(&format!("{name} is not in the prompt: ")) && text.contains(why)
        };
        assert!(said.iter().any(told), "{name}: {said:?}");
    }
    assert_eq!(said.len(), 6, "{said:?}");

    // The folder of skills, or the one above it.
    for (path, target) in [(".npast", user.clone()), (".npast/skills", outside.clone())] {
        fs::remove_dir_all(project.join(".npast"))
            .or_else(|_| fs::remove_file(project.join(".npast")))
            .unwrap();
        if path != ".npast" {
            fs::create_dir(project.join(".npast")).unwrap();
        }
        fs::create_dir_all(user.join("skills/x")).unwrap();
        fs::write(user.join("skills/x/SKILL.md"), KEY).unwrap();
        symlink(target, project.join(path)).unwrap();
        let prompt = place.build(&["read_file"]);
        assert!(!prompt.text().contains("PLANTED"), "{path}");
        let told = prompt
            .notices
            .iter()
            .any(|(text, _)| text.contains(".npast/skills is not in the prompt"));
        assert!(told, "{path}: {:?}", prompt.notices);
    }
}

/// A hard link is no link that could be seen, and a pipe waits for ever.
#[test]
fn a_project_file_that_is_another_name_of_a_key_or_a_pipe_is_left_out() {
    let place = Place::new();
    let user = place.user();
    let file = place.project.path().join("AGENTS.md");
    fs::hard_link(user.join(".ssh/id"), &file).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(place.project.path().join("CLAUDE.md"))
        .status();
    assert!(made.unwrap().success());
    let prompt = place.build(&["read_file"]);
    assert!(!prompt.text().contains("PLANTED"));
    let said: Vec<&str> = prompt
        .notices
        .iter()
        .map(|(text, _)| text.as_str())
        .collect();
    assert!(
        said[0].ends_with("it is a hard link to a file that no tool may touch"),
        "{said:?}"
    );
    assert!(
        said[1].ends_with("CLAUDE.md is not in the prompt: it is a named pipe, not a file"),
        "{said:?}"
    );
}

/// Links that stay where they are named are links like any other.
#[test]
fn links_inside_of_the_project_and_of_the_user_are_followed() {
    let place = Place::new();
    let project = place.project.path();
    fs::write(project.join("CLAUDE.md"), "Run `make`.\n").unwrap();
    symlink("CLAUDE.md", project.join("AGENTS.md")).unwrap();
    place.skill(
        &project.join("shared"),
        "ship",
        "---\nname: ship\ndescription: Ships.\n---\n",
    );
    fs::create_dir_all(project.join(".npast/skills")).unwrap();
    symlink("../../shared/ship", project.join(".npast/skills/ship")).unwrap();
    let prompt = place.build(&["read_file"]);
    assert_eq!(
        part(&prompt, "project"),
        Some("# From the project's AGENTS.md\nRun `make`.")
    );
    assert!(part(&prompt, "skills").unwrap().contains("- ship: Ships."));
    assert_eq!(prompt.notices, Vec::new());
}

#[test]
fn memory_files_and_own_skills_that_lead_to_a_secret_place_are_left_out() {
    let place = Place::new();
    let user = place.user();
    let home = place.home.path();
    fs::write(user.join(".ssh/list"), "- PLANTED\n").unwrap();
    symlink(user.join(".ssh/list"), home.join("MEMORY.md")).unwrap();
    fs::create_dir(home.join("kv")).unwrap();
    fs::write(home.join("kv/list"), "- PLANTED\n").unwrap();
    symlink("kv/list", home.join("USER.md")).unwrap();
    fs::create_dir_all(home.join("skills/a")).unwrap();
    symlink(user.join(".ssh/id"), home.join("skills/a/SKILL.md")).unwrap();
    let prompt = place.build(&["read_file", "memory"]);
    assert!(!prompt.text().contains("PLANTED"), "{}", prompt.text());
    let said: Vec<&str> = prompt
        .notices
        .iter()
        .map(|(text, _)| text.as_str())
        .collect();
    assert_eq!(said.len(), 3, "{said:?}");
    let closed = |text: &&&str| text.contains("which no tool may touch");
    assert_eq!(said.iter().filter(closed).count(), 2, "{said:?}");
    // Nor is what the link leads to written.
    let edit = crate::tools::MemoryEdit::Add {
        file: MemoryFile::User,
        text: "x".into(),
    };
    let error = Notes::of(home, &place.secrets()).edit(&[edit]).unwrap_err();
    assert!(error.contains("which no tool may touch"), "{error}");
    assert_eq!(
        fs::read_to_string(home.join("kv/list")).unwrap(),
        "- PLANTED\n"
    );
}

/// From the project's folder up to the repository's root, what is nearest last; what was read above is
/// said.
#[test]
fn instructions_are_looked_for_up_to_the_repositorys_root() {
    let place = Place::new();
    let root = place.project.path().canonicalize().unwrap();
    let deep = root.join("repo/packages/one");
    fs::create_dir_all(deep.join("src")).unwrap();
    fs::create_dir(root.join("repo/.git")).unwrap();
    fs::write(root.join("AGENTS.md"), "outside").unwrap();
    fs::write(root.join("repo/CLAUDE.md"), "for all\r\rof it").unwrap();
    fs::write(deep.join("AGENTS.md"), "for one").unwrap();
    let build = |project: &Path| {
        AgentPrompt::build(&PromptSurroundings {
            home: place.home.path(),
            secret: &place.secrets(),
            project,
            day: "2026-11-23",
            tools: &[],
            system: None,
        })
    };
    let prompt = build(&deep);
    assert_eq!(
        part(&prompt, "project"),
        Some(
            "# From the project's ../../CLAUDE.md\nfor all\n\nof it\n\n# From the project's \
             AGENTS.md\nfor one"
        )
    );
    let above = root.join("repo/CLAUDE.md");
    assert_eq!(
        prompt.notices,
        [(format!("{} is in the prompt too", above.display()), None)]
    );
    let prompt = build(&deep.join("src"));
    let text = part(&prompt, "project").unwrap();
    assert!(
        text.contains("../../../CLAUDE.md") && text.contains("../AGENTS.md\nfor one"),
        "{text}"
    );
    // The room is for what is nearest.
    fs::write(deep.join("AGENTS.md"), "near\n".repeat(5000)).unwrap();
    let prompt = build(&deep);
    let text = part(&prompt, "project").unwrap();
    assert!(text.len() < 17 * 1024 && text.contains("near") && !text.contains("for all"));
    assert_eq!(prompt.notices.len(), 2, "{:?}", prompt.notices);
    // Without a repository only the project's own folder counts.
    fs::remove_dir(root.join("repo/.git")).unwrap();
    assert_eq!(part(&build(&deep.join("src")), "project"), None);
}

/// The budget: system prompt and all tools together take at most 2,500 tokens on Qwen's
/// tokenizer, without what a user adds (project file, memory, skills).
#[cfg(unix)]
#[test]
fn prompt_and_tools_take_at_most_2500_tokens_on_qwens_vocabulary() {
    use crate::agent::frozen::head::head_of;
    use crate::chat::template::TemplateFrame;
    use crate::llama::{Model, ModelOptions};
    use crate::tools::{FetchUrl, Registry, Terminal, built_in, sandbox::Sandbox};

    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    let Ok(source) = fs::read_to_string(shared.join("chat-templates/Qwen3.5-4B.jinja")) else {
        eprintln!("skipped: there is no ../shared");
        return;
    };
    let options = ModelOptions {
        vocab_only: true,
        ..ModelOptions::default()
    };
    let vocab = shared.join("vocab/ggml-vocab-qwen35.gguf");
    let model = Model::load(&vocab, &options, &mut |_| true).unwrap();
    let (template, tokenizer) =
        crate::agent::engine::template::examine(&source, model.vocab(), None).unwrap();
    let mut tools = built_in();
    tools.push(Box::new(FetchUrl::new(false)));
    tools.push(Box::new(Terminal::new(Sandbox::new(
        "npast".into(),
        Vec::new(),
    ))));
    let tools = Registry::new(tools).unwrap();
    let names: Vec<&str> = tools.tools().map(|t| t.spec().name.as_str()).collect();
    let place = Place::new();
    let frame = TemplateFrame {
        system: Some(place.build(&names).text()),
        preface: place.build(&names).preface(),
        tools: Some(tools.specs_json()),
        thinking: true,
        ..TemplateFrame::default()
    };
    let head = head_of(&template, &tokenizer, &frame).unwrap();
    println!(
        "{} tools and the prompt: {} tokens",
        names.len(),
        head.len()
    );
    assert!((800..=2500).contains(&head.len()), "{} tokens", head.len());
}
