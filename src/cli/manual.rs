//! `npast completions` and `npast man`, made from the same definitions that parse the flags.

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Cli, Completed};
use super::error::Failure;
use super::output;

/// Prints what a shell reads to complete npast's flags and subcommands.
pub fn completions(shell: Completed) -> Result<i32, Failure> {
    output::page(&completed(shell))
}

fn completed(shell: Completed) -> String {
    let shell = match shell {
        Completed::Bash => Shell::Bash,
        Completed::Zsh => Shell::Zsh,
        Completed::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "npast", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Prints a page of the manual: npast's own, or a subcommand's.
///
/// # Errors
/// Wrong usage: no such subcommand.
pub fn page(words: &[String]) -> Result<i32, Failure> {
    let mut command = Cli::command();
    command.build();
    for word in words {
        let found = command.get_subcommands().find(|c| c.get_name() == word);
        let Some(found) = found else {
            return Err(Failure::usage(
                format!("there is no subcommand {word}"),
                "`npast --help` lists them",
            ));
        };
        command = found.clone();
    }
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command);
    let page = page.source(concat!("npast ", env!("CARGO_PKG_VERSION")));
    page.render(&mut text)
        .map_err(|e| Failure::failed("io", e.to_string()))?;
    output::page(&String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flag and a subcommand that were added yesterday are there too.
    #[test]
    fn every_shell_knows_every_subcommand_and_long_flag() {
        let command = Cli::command();
        let names = command.get_subcommands().filter(|c| !c.is_hide_set());
        let names = names.map(|c| c.get_name().to_owned());
        let flags = command.get_arguments().filter_map(|a| a.get_long());
        let words: Vec<String> = names.chain(flags.map(str::to_owned)).collect();
        assert!(words.len() > 40, "{words:?}");
        for shell in [Completed::Bash, Completed::Zsh, Completed::Fish] {
            let text = completed(shell);
            for word in &words {
                assert!(text.contains(word.as_str()), "{shell:?} lacks {word}");
            }
        }
    }
}
