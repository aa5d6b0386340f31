//! The hard list: what no setting lets a model run. It judges what would run, not the text of the line.
//! `docs/approvals.md` states it. It prevents accidents; only the sandbox stops a program.

use std::path::{Path, PathBuf};

use super::{Certainty, ShellCommand, ShellPlaces, ShellScript, ShellWord, absolute};

/// Folders whose loss is the loss of the system.
const SYSTEM: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/usr",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/log",
    "/Applications",
    "/Library",
    "/System",
    "/Users",
    "/Volumes",
    "/private",
];

/// Of the home folder: keys, and what programs keep there.
const HOME: &[&str] = &[
    "",
    ".ssh",
    ".gnupg",
    ".config",
    ".local",
    ".local/share",
    "Documents",
    "Library",
];

/// Devices that lose nothing when they are written.
const HARMLESS: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "tty", "stdin", "stdout", "stderr", "ptmx",
];

const DELETES: &[&str] = &[
    "rm", "rmdir", "unlink", "shred", "srm", "wipe", "trash", "mv",
];
const CHANGES: &[&str] = &["chmod", "chown", "chgrp", "setfacl", "chattr", "chcon"];
/// Programs that make or wipe file systems and partition tables.
const DISKS: &[&str] = &[
    "wipefs",
    "blkdiscard",
    "fdisk",
    "sfdisk",
    "cfdisk",
    "gdisk",
    "sgdisk",
    "parted",
    "mkswap",
    "badblocks",
    "hdparm",
    "nvme",
    "cryptsetup",
    "pvcreate",
    "vgremove",
    "lvremove",
    "mke2fs",
    "mdadm",
    "zpool",
    "dd",
    "cp",
    "tee",
    "shred",
    "install",
    "truncate",
    "fallocate",
    "sg_format",
];

/// Why `script` may not run, whatever the settings are.
pub fn hard(script: &ShellScript, places: &ShellPlaces) -> Option<String> {
    if script.bomb {
        return Some("it starts copies of itself without end".into());
    }
    let judge = Judge { places };
    script.commands.iter().find_map(|c| judge.command(c))
}

struct Judge<'a> {
    places: &'a ShellPlaces,
}

impl Judge<'_> {
    fn command(&self, command: &ShellCommand) -> Option<String> {
        for redirect in command.redirects.iter().filter(|r| r.writes) {
            if let Some(why) = self.written(command, &redirect.target) {
                return Some(why);
            }
        }
        let first = command.words.first()?;
        // A guessed name counts as that name; one that is not known at all counts as the worst.
        let program = super::name(&first.text);
        let blind = first.known != Certainty::Fixed;
        let rest = command.rest();
        let has = |short: &str, long: &str| {
            rest.iter().any(|w| match w.text.strip_prefix("--") {
                Some(word) => !word.is_empty() && !long.is_empty() && long.starts_with(word),
                None => w.text.starts_with('-') && w.text.contains(|c| short.contains(c)),
            })
        };
        let recursive = has("rR", "recursive");
        let deletes = (program == "rm" && recursive)
            || (DELETES.contains(&program) && program != "rm")
            || (program == "rsync" && rest.iter().any(|w| w.text.starts_with("--del")))
            || (blind && program.is_empty());
        let targets = || {
            let source = |n: &usize| program != "mv" || n + 1 < rest.len();
            let words = rest.iter().enumerate();
            words
                .filter(move |(n, w)| source(n) && !w.text.starts_with('-'))
                .map(|(_, w)| w)
        };
        if deletes && let Some(path) = targets().find_map(|w| self.precious(command, w)) {
            return Some(format!("it would delete or move {}", path.display()));
        }
        if CHANGES.contains(&program)
            && let Some(path) = targets().find_map(|w| self.precious(command, w))
            && (recursive || SYSTEM.contains(&path.to_string_lossy().as_ref()))
        {
            return Some(format!(
                "it would change the modes or owners of {}",
                path.display()
            ));
        }
        if DELETES.contains(&program)
            && let Some(path) = rest.iter().find_map(|w| self.kernel(command, w))
        {
            return Some(format!("it would remove {}", path.display()));
        }
        self.finds(command, program)
            .or_else(|| self.disks(command, program))
            .or_else(|| self.system(command, program))
    }

    fn finds(&self, command: &ShellCommand, program: &str) -> Option<String> {
        let rest = command.rest();
        if program == "find" && rest.iter().any(|w| w.text == "-delete") {
            let starts = rest
                .iter()
                .take_while(|w| !w.text.starts_with(['-', '(', '!']));
            let path = starts.clone().find_map(|w| self.precious(command, w));
            let here = ShellWord::fixed(".");
            let path = path.or_else(|| match starts.count() {
                0 => self.precious(command, &here),
                _ => None,
            })?;
            let filters = [
                "-name", "-iname", "-path", "-newer", "-mtime", "-empty", "-size",
            ];
            let filtered = rest.iter().any(|w| filters.contains(&w.text.as_str()));
            if !filtered || SYSTEM.contains(&path.to_string_lossy().as_ref()) {
                return Some(format!("it would delete what is in {}", path.display()));
            }
        }
        if program == "git" && rest.iter().any(|w| w.text == "clean") {
            let forced = rest
                .iter()
                .any(|w| w.text == "--force" || (w.text.starts_with('-') && w.text.contains('f')));
            let path = self.precious(command, &ShellWord::fixed("."))?;
            return forced.then(|| format!("it would delete what is in {}", path.display()));
        }
        None
    }

    /// Programs that write to devices, and file systems made on them.
    fn disks(&self, command: &ShellCommand, program: &str) -> Option<String> {
        let makes = program == "mkfs" || program.starts_with("mkfs.");
        if !makes && !DISKS.contains(&program) {
            return None;
        }
        let rest = command.rest();
        let outputs = rest
            .iter()
            .enumerate()
            .filter_map(|(n, word)| match program {
                "dd" => word.text.strip_prefix("of=").map(|text| ShellWord {
                    text: text.to_owned(),
                    known: word.known,
                }),
                // Copies write to their last word.
                "cp" | "install" => (n + 1 == rest.len()).then(|| word.clone()),
                _ => (!word.text.starts_with('-')).then(|| word.clone()),
            });
        for word in outputs {
            if let Some(why) = self.written(command, &word) {
                return Some(why);
            }
            if makes && word.known == Certainty::Not && word.text.is_empty() {
                return Some(
                    "it would make a file system in a place that cannot be read from the command"
                        .into(),
                );
            }
        }
        None
    }

    fn system(&self, command: &ShellCommand, program: &str) -> Option<String> {
        let rest = command.rest();
        let any = |words: &[&str]| rest.iter().any(|w| words.contains(&w.text.as_str()));
        let ends = match program {
            "shutdown" | "reboot" | "halt" | "poweroff" | "telinit" | "kexec" => true,
            "init" => rest.first().is_some_and(|w| w.text.len() == 1),
            "systemctl" | "loginctl" => any(&[
                "poweroff",
                "reboot",
                "halt",
                "kexec",
                "rescue",
                "emergency",
                "isolate",
                "suspend",
                "hibernate",
                "soft-reboot",
            ]),
            _ => false,
        };
        if ends {
            return Some("it would stop or restart the machine".into());
        }
        if matches!(program, "insmod" | "modprobe" | "rmmod") {
            return Some("it would change the kernel's modules".into());
        }
        let sets = |w: &ShellWord| w.text.contains('=') || w.text == "-w" || w.text == "--write";
        if program == "sysctl" && (rest.iter().any(sets) || any(&["-p", "--system", "--load"])) {
            return Some("it would change the kernel's settings".into());
        }
        // The first -1 is a signal.
        let all = rest.iter().skip(1).any(|w| w.text == "-1");
        if program == "killall5"
            || (program == "kill" && (all || rest.last().is_some_and(|w| w.text == "1")))
        {
            return Some("it would end every process".into());
        }
        let code = rest.iter().map(|w| w.text.replace([' ', '\t'], ""));
        if matches!(program, "perl" | "ruby" | "python" | "python3" | "php")
            && code.into_iter().any(|c| {
                [
                    "forkwhilefork",
                    "fork()whilefork",
                    "while1:os.fork()",
                    "whileTrue:os.fork()",
                    "loop{fork",
                ]
                .iter()
                .any(|bomb| c.contains(bomb))
            })
        {
            return Some("it starts copies of itself without end".into());
        }
        None
    }

    /// Why a file may not be written.
    fn written(&self, command: &ShellCommand, word: &ShellWord) -> Option<String> {
        if let Some(path) = self.kernel(command, word) {
            return Some(format!("it would write to {}", path.display()));
        }
        let path = self.path(command, word)?;
        let device = path.strip_prefix("/dev").ok()?;
        let first = device.iter().next()?.to_string_lossy();
        let harmless = HARMLESS.contains(&first.as_ref())
            || matches!(&*first, "fd" | "shm" | "pts" | "tcp" | "udp");
        (!harmless).then(|| format!("it would write to the device {}", path.display()))
    }

    /// Paths that are the kernel's or the boot loader's.
    fn kernel(&self, command: &ShellCommand, word: &ShellWord) -> Option<PathBuf> {
        let path = self.path(command, word)?;
        let below = ["/boot", "/proc/sys", "/sys", "/efi"];
        let found = below
            .iter()
            .any(|top| path.starts_with(top) && path != Path::new(top));
        (found || path == Path::new("/proc/sysrq-trigger")).then_some(path)
    }

    /// A folder nobody wants to lose that `word` names, covers or leads to.
    fn precious(&self, command: &ShellCommand, word: &ShellWord) -> Option<PathBuf> {
        let precious = |path: &Path| {
            let system = SYSTEM.iter().any(|s| path == Path::new(s));
            let home = HOME.iter().any(|part| path == self.places.home.join(part));
            let homes = path
                .parent()
                .is_some_and(|up| up == Path::new("/home") || up == Path::new("/Users"));
            let above = self.places.home.starts_with(path);
            system || home || homes || above || path == self.places.data
        };
        let path = self.path(command, word)?;
        // `X*` in a folder covers what it matches there; `*` all of it.
        let last = path.file_name().map(|n| n.to_string_lossy().into_owned());
        let above = path.parent().unwrap_or(Path::new("/"));
        if word.known != Certainty::Fixed
            && let Some(pattern) = last.filter(|l| l.contains(['*', '?', '[']))
        {
            let every = pattern.chars().all(|c| "*?.[]!^".contains(c));
            if every {
                return precious(above).then(|| above.to_owned());
            }
            let covered = SYSTEM
                .iter()
                .map(PathBuf::from)
                .chain([self.places.home.clone()]);
            return covered.into_iter().find(|p| {
                let name = p.file_name().map(|n| n.to_string_lossy().into_owned());
                p.parent() == Some(above) && name.is_some_and(|n| matches(&pattern, &n))
            });
        }
        if precious(&path) {
            return Some(path);
        }
        // Behind links: `link/` and `link/.`, and what lies in a folder that is one.
        let through =
            word.text.ends_with('/') || word.text.ends_with("/.") || word.text.ends_with("..");
        let real = match through {
            true => std::fs::canonicalize(&path).ok()?,
            false => {
                let above = std::fs::canonicalize(path.parent()?).ok()?;
                above.join(path.file_name()?)
            }
        };
        precious(&real).then_some(real)
    }

    fn path(&self, command: &ShellCommand, word: &ShellWord) -> Option<PathBuf> {
        if word.text.is_empty() {
            return None;
        }
        absolute(command.folder.as_deref(), &word.text)
    }
}

/// A glob of one path part: `*`, `?` and classes, these as any character. More than the shell
/// matches, never less.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = {
        let mut flat = Vec::new();
        let mut class = false;
        for c in pattern.chars() {
            match (class, c) {
                (false, '[') => {
                    class = true;
                    flat.push('?');
                }
                (true, ']') => class = false,
                (true, _) => {}
                (false, c) => flat.push(c),
            }
        }
        flat
    };
    let name: Vec<char> = name.chars().collect();
    // Which beginnings of the name the pattern so far matches.
    let mut at = vec![false; name.len() + 1];
    at[0] = true;
    for c in pattern {
        let mut next = vec![false; name.len() + 1];
        match c {
            '*' => {
                let mut seen = false;
                for n in 0..=name.len() {
                    seen |= at[n];
                    next[n] = seen;
                }
            }
            c => {
                for n in 0..name.len() {
                    next[n + 1] = at[n] && (c == '?' || c == name[n]);
                }
            }
        }
        at = next;
    }
    at[name.len()]
}
