//! Files, by Landlock: what is not granted is refused. Rights cannot be taken back below a folder
//! that has them, so a folder with something hidden in it is granted child by child; what is new in
//! it later, and its list of names, stay closed.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus,
    Scope,
};

use super::SandboxRules;

/// The newest Landlock rights that are used; an older kernel enforces those it has.
const NEWEST: ABI = ABI::V9;
/// Most rules: a home folder of a hundred thousand files is not worth a minute.
const MAX_RULES: usize = 20_000;
/// Devices that programs need and that hold nothing.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

/// Restricts this process for good; `also` may be read although it is hidden. The kernel's version of Landlock comes back.
///
/// # Errors
/// Where the kernel has none, or does not do all that it says.
pub(super) fn restrict(allowed: &SandboxRules, also: &[PathBuf]) -> io::Result<ABI> {
    let refused = |e: landlock::RulesetError| io::Error::other(e);
    let read = AccessFs::from_read(NEWEST);
    let write = AccessFs::from_all(NEWEST) & !(AccessFs::IoctlDev | AccessFs::ResolveUnix);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .map_err(refused)?
        .scope(Scope::from_all(NEWEST))
        .map_err(refused)?;
    if !allowed.network {
        rules = rules
            .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)
            .map_err(refused)?;
    }
    let mut rules = rules.create().map_err(refused)?;
    let mut open = VisiblePlaces {
        hidden: &allowed.hidden,
        written: &allowed.write,
        found: Vec::new(),
    };
    open.grant(Path::new("/"));
    for path in open.found {
        rules = add(rules, &path, read)?;
    }
    for path in also {
        rules = add(rules, path, read)?;
    }
    for folder in &allowed.write {
        // A project that holds keys, such as a home folder, is opened around them.
        let within: Vec<PathBuf> = allowed
            .hidden
            .iter()
            .filter(|h| h.starts_with(folder) && *h != folder)
            .cloned()
            .collect();
        let mut open = VisiblePlaces {
            hidden: &within,
            written: &[],
            found: Vec::new(),
        };
        open.grant(folder);
        for path in open.found {
            rules = add(rules, &path, write)?;
        }
    }
    for device in DEVICES {
        let path = Path::new("/dev").join(device);
        rules = add(
            rules,
            &path,
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate,
        )?;
    }
    let status = rules.restrict_self().map_err(refused)?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _)
        | (_, LandlockStatus::NotImplemented | LandlockStatus::NotEnabled) => {
            Err(io::Error::other("this kernel has no Landlock"))
        }
        // The first version treats a rename like a copy; with it no hard link is made.
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok(effective_abi),
    }
}

fn add(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    // What is gone by now, or may not be looked at, needs no rule.
    let Ok(fd) = PathFd::new(path) else {
        return Ok(rules);
    };
    let access = match path.is_dir() {
        true => access,
        false => access & AccessFs::from_file(NEWEST),
    };
    rules
        .add_rule(PathBeneath::new(fd, access))
        .map_err(io::Error::other)
}

/// The largest folders and files without anything hidden in them.
struct VisiblePlaces<'a> {
    hidden: &'a [PathBuf],
    /// Have rules of their own.
    written: &'a [PathBuf],
    found: Vec<PathBuf>,
}

impl VisiblePlaces<'_> {
    fn grant(&mut self, path: &Path) {
        if self.hidden.iter().any(|h| h == path) || self.found.len() >= MAX_RULES {
            return;
        }
        if !self.hidden.iter().any(|h| h.starts_with(path)) {
            return self.found.push(path.to_owned());
        }
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            // A link gives nothing: what it leads to is looked at where it is.
            let link = entry.file_type().is_ok_and(|t| t.is_symlink());
            let path = entry.path();
            if !link && !self.written.contains(&path) {
                self.grant(&path);
            }
        }
    }
}
