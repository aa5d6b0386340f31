//! Names that were typed, several at once and with wildcards: which of the names that exist are meant.

use globset::Glob;

use super::error::Failure;
use crate::harmless;

/// The names among `all` that `typed` means, each once, in the order of `all`. A name that exists is meant as
/// it is; otherwise `*`, `?` and `[…]` stand for other characters.
///
/// # Errors
/// `missing` where a name does not exist; wrong usage where a pattern fits none.
pub fn meant(
    typed: &[String],
    all: &[String],
    kind: &str,
    missing: &dyn Fn(&str) -> Failure,
) -> Result<Vec<String>, Failure> {
    let mut taken = vec![false; all.len()];
    for name in typed {
        if let Some(at) = all.iter().position(|one| one == name) {
            taken[at] = true;
            continue;
        }
        if !name.contains(['*', '?', '[']) {
            return Err(missing(name));
        }
        let shown = harmless::line(name);
        let glob = Glob::new(name).map_err(|error| {
            Failure::usage(
                format!("{shown} is no pattern: {}", error.kind()),
                "* stands for any characters, ? for one of ASCII, [ab] for one of these",
            )
        })?;
        let glob = glob.compile_matcher();
        let mut fits = 0;
        for (at, one) in all.iter().enumerate() {
            if glob.is_match(one) {
                taken[at] = true;
                fits += 1;
            }
        }
        if fits == 0 {
            return Err(Failure::usage(
                format!("no {kind} has a name like {shown}"),
                "nothing was removed; a pattern stands in quotes, so that the shell does not change it",
            ));
        }
    }
    let meant = all.iter().zip(taken).filter(|(_, taken)| *taken);
    Ok(meant.map(|(name, _)| name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are_and_patterns_by_what_they_fit() {
        let all = ["a", "test-1", "test-2", "x*", "é", "two words"].map(str::to_owned);
        let read = |typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(|name| (*name).to_owned()).collect();
            let missing = |name: &str| Failure::usage(format!("no {name}"), "");
            meant(&typed, &all, "session", &missing).map_err(|failure| failure.message)
        };
        let table: &[(&[&str], &[&str])] = &[
            (&["a"], &["a"]),
            (&["test-2", "a", "a"], &["a", "test-2"]),
            (&["test-*", "test-1"], &["test-1", "test-2"]),
            (&["x*"], &["x*"]),
            // Of ASCII: the pattern is one of bytes.
            (&["?"], &["a"]),
            (&["*"], &["a", "test-1", "test-2", "x*", "é", "two words"]),
            (&["two*"], &["two words"]),
            (&["[at]*"], &["a", "test-1", "test-2", "two words"]),
        ];
        for (typed, want) in table {
            assert_eq!(read(typed).unwrap(), *want, "{typed:?}");
        }
        assert_eq!(read(&["a", "gone"]), Err("no gone".into()));
        assert_eq!(
            read(&["a", "gone-*"]),
            Err("no session has a name like gone-*".into())
        );
        assert!(read(&["[a"]).unwrap_err().starts_with("[a is no pattern"));
    }
}
