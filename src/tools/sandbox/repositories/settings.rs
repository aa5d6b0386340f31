//! Git's settings: which of them name a program, or lead git to another place. Only names that are
//! known to do neither count as harmless, and only lines that can be read one way.

use std::path::Path;

/// What a new or changed file of settings names that `old` did not name and that is not known to be
/// harmless; `None` when there is nothing. `inside`: whether a place lies in a repository's folder.
pub(super) fn programs(
    path: &Path,
    new: &[u8],
    old: &[u8],
    inside: impl Fn(&Path) -> bool,
) -> Option<String> {
    let Some(new) = entries(new) else {
        return Some("settings that cannot be read with certainty".into());
    };
    let old = entries(old).unwrap_or_default();
    let harmful = |entry: &&GitSetting| !old.contains(entry) && !entry.harmless(path, &inside);
    new.iter().find(harmful).map(GitSetting::name)
}

/// One setting, its names in lower case but for the middle one.
#[derive(PartialEq, Eq, Debug)]
struct GitSetting {
    section: String,
    sub: Option<String>,
    key: String,
    value: String,
}

/// `core` and the like, with the keys that run nothing.
const HARMLESS: &[(&str, &[&str])] = &[
    (
        "core",
        &[
            "repositoryformatversion",
            "filemode",
            "bare",
            "logallrefupdates",
            "ignorecase",
            "precomposeunicode",
            "symlinks",
            "autocrlf",
            "eol",
            "safecrlf",
            "abbrev",
            "compression",
            "sharedrepository",
            "quotepath",
            "sparsecheckout",
            "sparsecheckoutcone",
            "untrackedcache",
            "commentchar",
            "whitespace",
        ],
    ),
    ("user", &["name", "email", "signingkey"]),
    ("author", &["name", "email"]),
    ("committer", &["name", "email"]),
    ("init", &["defaultbranch"]),
    (
        "remote",
        &[
            "fetch",
            "push",
            "tagopt",
            "mirror",
            "prune",
            "promisor",
            "partialclonefilter",
        ],
    ),
    ("branch", &["merge", "rebase", "description"]),
    ("submodule", &["active", "branch", "ignore"]),
    (
        "extensions",
        &[
            "objectformat",
            "refstorage",
            "partialclone",
            "worktreeconfig",
            "compatobjectformat",
        ],
    ),
    ("pull", &["rebase", "ff"]),
    ("push", &["default", "autosetupremote", "followtags"]),
    ("fetch", &["prune", "prunetags"]),
    ("merge", &["ff", "conflictstyle"]),
    ("rebase", &["autosquash", "autostash", "updaterefs"]),
    ("commit", &["gpgsign"]),
    ("tag", &["gpgsign", "sort"]),
    ("gc", &["auto", "autodetach"]),
    ("maintenance", &["auto"]),
    ("index", &["version"]),
    ("status", &["showuntrackedfiles"]),
    ("lfs", &["repositoryformatversion"]),
    ("receive", &["denycurrentbranch", "denynonfastforwards"]),
    ("advice", &[]),
    ("color", &[]),
];

impl GitSetting {
    fn name(&self) -> String {
        match &self.sub {
            Some(sub) => format!("{}.{sub}.{}", self.section, self.key),
            None => format!("{}.{}", self.section, self.key),
        }
    }

    fn harmless(&self, path: &Path, inside: &impl Fn(&Path) -> bool) -> bool {
        let (section, key) = (self.section.as_str(), self.key.as_str());
        match (section, key) {
            // A helper's name stands before two colons; what begins with a dash is an option.
            ("remote", "url" | "pushurl")
            | ("submodule", "url")
            | ("branch", "remote" | "pushremote") => {
                !self.value.contains("::") && !self.value.starts_with('-')
            }
            // Of a submodule: its files.
            ("core", "worktree") => {
                let folder = path.parent().unwrap_or(path);
                let place = folder.join(&self.value).canonicalize();
                place.is_ok_and(|place| inside(&place))
            }
            _ => HARMLESS
                .iter()
                .any(|(name, keys)| *name == section && (keys.is_empty() || keys.contains(&key))),
        }
    }
}

/// All settings; `None` where a line is not one of the plain forms.
fn entries(bytes: &[u8]) -> Option<Vec<GitSetting>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut at: Option<(String, Option<String>)> = None;
    let mut all = Vec::new();
    for line in text.lines() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = line.strip_prefix('[') {
            at = Some(section(head.strip_suffix(']')?)?);
            continue;
        }
        let (section, sub) = at.clone()?;
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key.trim_end_matches([' ', '\t']), value),
            None => (line, "true"),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        // A value that goes on in the next line ends in a backslash.
        if !key.chars().all(plain) || key.is_empty() || value.ends_with('\\') {
            return None;
        }
        let value = value.trim_matches([' ', '\t', '"']).to_owned();
        all.push(GitSetting {
            section,
            sub,
            key: key.to_ascii_lowercase(),
            value,
        });
    }
    Some(all)
}

/// What stands between the brackets: `core`, or `remote "origin"`.
fn section(head: &str) -> Option<(String, Option<String>)> {
    let (name, sub) = match head.split_once([' ', '\t']) {
        Some((name, sub)) => {
            let sub = sub.trim_matches([' ', '\t']);
            let sub = sub.strip_prefix('"')?.strip_suffix('"')?;
            if sub.contains(['"', '\\', '\n']) {
                return None;
            }
            (name, Some(sub.to_owned()))
        }
        None => (head, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!name.is_empty() && name.chars().all(plain)).then(|| (name.to_ascii_lowercase(), sub))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(new: &str) -> Option<String> {
        programs(Path::new("/p/.git/config"), new.as_bytes(), b"", |_| false)
    }

    #[test]
    fn what_git_and_its_users_write_each_day_is_harmless() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
                    [remote \"origin\"]\n\turl = git@host:a/b.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
                    [branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n\
                    # a remark\n[user]\n\tname = A \"B\"\n\temail = a@b\n[color \"diff\"]\n\tmeta = blue\n";
        assert_eq!(named(text), None);
    }

    #[test]
    fn a_setting_that_names_a_program_is_named() {
        for (text, want) in [
            ("[core]\n\tfsmonitor = touch x\n", "core.fsmonitor"),
            ("[CORE]\nHooksPath=x\n", "core.hookspath"),
            ("[alias]\n\tst = !touch x\n", "alias.st"),
            ("[diff \"x\"]\n\ttextconv = touch\n", "diff.x.textconv"),
            ("[include]\n\tpath = ../evil\n", "include.path"),
            (
                "[includeIf \"gitdir:/\"]\n\tpath = e\n",
                "includeif.gitdir:/.path",
            ),
            ("[remote \"o\"]\n\turl = ext::sh -c x\n", "remote.o.url"),
            (
                "[branch \"m\"]\n\tremote = ext::sh -c x\n",
                "branch.m.remote",
            ),
            (
                "[remote \"o\"]\n\tuploadpack = touch x\n",
                "remote.o.uploadpack",
            ),
            (
                "[submodule \"s\"]\n\tupdate = !touch x\n",
                "submodule.s.update",
            ),
            ("[core]\n\tworktree = /home\n", "core.worktree"),
            ("[filter \"x\"]\n\tclean\n", "filter.x.clean"),
        ] {
            assert_eq!(named(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn a_line_that_could_be_read_otherwise_is_not_harmless() {
        for text in [
            "[core] fsmonitor = touch x\n",
            "[user]\n\tname = a \\\n[core]\n\tfsmonitor = x\n",
            "[branch \"a\\\"]\"]\n\tremote = x\n",
            "[a.b]\n\tc = d\n",
            "\u{feff}[core]\n",
            "name = without a section\n",
            "[core\n",
        ] {
            assert!(
                named(text).is_some_and(|why| why.contains("certainty")),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_was_named_before_is_not_new() {
        let old = b"[core]\n\tfsmonitor = true\n[user]\n\tname = a\n";
        let new = b"[core]\n\tfsmonitor = true\n[user]\n\tname = b\n";
        let path = Path::new("/p/.git/config");
        assert_eq!(programs(path, new, old, |_| false), None);
        let new = b"[core]\n\tfsmonitor = touch x\n";
        let why = programs(path, new, old, |_| false);
        assert_eq!(why.as_deref(), Some("core.fsmonitor"));
    }
}
