use std::fs;

use super::*;

struct Place {
    home: tempfile::TempDir,
    project: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            home: tempfile::tempdir().unwrap(),
            project: tempfile::tempdir().unwrap(),
        }
    }

    fn build(&self, tools: &[&str]) -> Prompt {
        let tools: Vec<String> = tools.iter().map(|t| (*t).to_owned()).collect();
        Prompt::build(&Surroundings {
            home: self.home.path(),
            project: self.project.path(),
            day: "2026-11-23",
            tools: &tools,
            system: None,
        })
    }

    fn skill(&self, folder: &Path, name: &str, text: &str) {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("SKILL.md"), text).unwrap();
    }
}

fn part<'a>(prompt: &'a Prompt, name: &str) -> Option<&'a str> {
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
        "environment",
        "skills",
        "user",
        "memory",
        "project",
    ];
    assert_eq!(names, want);
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

    let gone = Prompt::build(&Surroundings {
        home: place.home.path(),
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

/// The budget: system prompt and all tools together take at most 2,500 tokens on Qwen's
/// tokenizer, without what a user adds (project file, memory, skills).
#[cfg(unix)]
#[test]
fn prompt_and_tools_take_at_most_2500_tokens_on_qwens_vocabulary() {
    use crate::agent::frame::head_of;
    use crate::chat::template::Frame;
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
        crate::agent::engine::examine(&source, model.vocab(), None).unwrap();
    let mut tools = built_in();
    tools.push(Box::new(FetchUrl::new(false)));
    tools.push(Box::new(Terminal::new(Sandbox::new(
        "npast".into(),
        Vec::new(),
    ))));
    let tools = Registry::new(tools).unwrap();
    let names: Vec<&str> = tools.tools().map(|t| t.spec().name.as_str()).collect();
    let place = Place::new();
    let frame = Frame {
        system: Some(place.build(&names).text()),
        tools: Some(tools.specs_json()),
        thinking: true,
        ..Frame::default()
    };
    let head = head_of(&template, &tokenizer, &frame).unwrap();
    println!(
        "{} tools and the prompt: {} tokens",
        names.len(),
        head.len()
    );
    assert!((800..=2500).contains(&head.len()), "{} tokens", head.len());
}
