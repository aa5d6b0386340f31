//! What a command line most likely runs, of all that bash can read: for the hard list and for rules
//! that deny, which are reminders and no protection. Where a text can be read in two ways, or is
//! broken, the reading that finds more commands is taken. It never fails, and [`Steps`] bounds it.
//!
//! - `parse`: characters to the shapes of `tree`, each character once.
//! - `state`, `names`: what is known of the shell that would run the line.
//! - `walk`: through these shapes in order, following `cd`, variables and functions.
//! - `word`: one word made into the words that a program gets; `braces` and `ansi` for parts of it.
//! - `unwrap`: programs that run other programs.
//!
//! [`Steps`]: super::steps::Steps

mod ansi;
mod braces;
mod names;
mod parse;
mod state;
mod tree;
mod unwrap;
mod walk;
mod word;

#[cfg(test)]
mod tests;

pub(super) use state::ShellState;
