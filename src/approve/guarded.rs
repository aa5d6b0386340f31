//! Files that no broad grant covers, since what is written there acts beyond the change that a person
//! was shown: git runs it, or later sessions take their instructions from it.

use std::path::{Path, PathBuf};

/// Names of the files, in any folder, that agents read as instructions.
pub const INSTRUCTION_FILES: [&str; 3] = ["AGENTS.md", "CLAUDE.md", ".npast.md"];

/// Most folders of skills that are looked at for links.
const MAX_SKILLS: usize = 400;

/// Why every policy asks about it.
pub(super) const GIT_RUNS_IT: &str = "git runs what is written there, outside of the sandbox";

/// Why no broad grant covers a change of what is at this real path; nothing where one may.
pub(super) fn why(path: &Path, project: &Path) -> Option<&'static str> {
    match path {
        path if in_git(path, project) => Some(GIT_RUNS_IT),
        path if instructs(path, project) => Some("later sessions take instructions from this file"),
        _ => None,
    }
}

/// Whether git would take what is written there for its own.
fn in_git(path: &Path, project: &Path) -> bool {
    let below = path.strip_prefix(project).unwrap_or(path);
    below.iter().any(|part| part.eq_ignore_ascii_case(".git"))
}

/// Whether agents take instructions from the file at this real path: by its name, by the folder that it
/// is in, or because a link that is read for instructions leads to it.
fn instructs(path: &Path, project: &Path) -> bool {
    is_named(path) || is_skill(path) || linked(project).iter().any(|to| path.starts_with(to))
}

fn is_named(path: &Path) -> bool {
    let is = |name: &&str| {
        path.file_name()
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
    };
    INSTRUCTION_FILES.iter().any(is)
}

/// Whether it is below a folder `.npast/skills`.
fn is_skill(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().collect();
    parts.windows(2).any(|pair| {
        pair[0].eq_ignore_ascii_case(".npast") && pair[1].eq_ignore_ascii_case("skills")
    })
}

/// Where the links lead that a session of this project would follow for instructions.
fn linked(project: &Path) -> Vec<PathBuf> {
    let mut links = Vec::new();
    for folder in project.ancestors() {
        links.extend(INSTRUCTION_FILES.iter().map(|name| folder.join(name)));
    }
    let skills = project.join(".npast/skills");
    if let Ok(entries) = skills.read_dir() {
        let entries = entries.flatten().take(MAX_SKILLS).map(|entry| entry.path());
        links.extend(entries.flat_map(|skill| [skill.join("SKILL.md"), skill]));
    }
    links.push(skills);
    let real = links.into_iter().map(|link| link.canonicalize());
    real.flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn instruction_files_are_known_by_name_by_folder_and_by_the_links_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().canonicalize().unwrap().join("p");
        for folder in ["docs", ".npast/skills/own", "tools/shared", "tools/other"] {
            fs::create_dir_all(project.join(folder)).unwrap();
        }
        for file in ["docs/agents.txt", "tools/shared/SKILL.md", "tools/one.md"] {
            fs::write(project.join(file), "").unwrap();
        }
        symlink("docs/agents.txt", project.join("AGENTS.md")).unwrap();
        symlink("../../tools/shared", project.join(".npast/skills/shared")).unwrap();
        symlink(
            "../../../tools/one.md",
            project.join(".npast/skills/own/SKILL.md"),
        )
        .unwrap();
        symlink(
            "p/tools/above.md",
            project.parent().unwrap().join("CLAUDE.md"),
        )
        .unwrap();
        fs::write(project.join("tools/above.md"), "").unwrap();
        let table = [
            ("AGENTS.md", true),
            ("a/b/CLAUDE.md", true),
            ("a/claude.MD", true),
            (".npast.md", true),
            (".npast/skills/own/SKILL.md", true),
            (".npast/skills/own/run.sh", true),
            ("a/.NPAST/Skills/new/x", true),
            ("docs/agents.txt", true),
            ("tools/shared/more.md", true),
            ("tools/one.md", true),
            ("tools/above.md", true),
            ("tools/other/x", false),
            ("docs/x", false),
            (".npast/other", false),
            ("skills/x", false),
            ("AGENTS.md/x", false),
            ("MY-AGENTS.md", false),
        ];
        for (path, want) in table {
            assert_eq!(instructs(&project.join(path), &project), want, "{path}");
        }
    }
}
