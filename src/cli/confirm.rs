//! A question before something that has no way back.

use std::io::{BufRead, IsTerminal};

use super::error::Failure;
use super::output;

/// Asks on the terminal; no answer is a no. `what` is what would go.
///
/// # Errors
/// Wrong usage where there is no terminal to ask on.
pub fn agreed(question: &str, what: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            format!("removing {what} has no way back"),
            "write --yes behind it",
        ));
    }
    let answer = asked(question)?;
    Ok(matches!(answer.as_str(), "y" | "Y" | "yes"))
}

/// The answer to a question, one line.
///
/// # Errors
/// When the terminal cannot be read.
pub fn asked(question: &str) -> Result<String, Failure> {
    output::question(question);
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Failure::failed("io", format!("the answer cannot be read: {e}")))?;
    Ok(answer.trim().to_owned())
}
