//! Sessions as JSON Lines, and back: one conversation a line, in the form of OpenAI's messages or of the
//! usual `conversations`. What npast alone knows of a session (its exact tokens, the places of its
//! messages in them, receipts, sums) is one field beside that, `npast`, so that a session that comes back
//! has the tokens that it had (law 1), and other programs read the rest as they always do.
//!
//! - `lines`: the lines of a file, each bounded before it is read. `line`: one line and what it says.
//! - `own`: the field `npast`. `sharegpt`: a message as `from` and `value`. Both pure.
//! - `import`: all sessions of a file into npast.db, in one transaction.

mod import;
mod line;
mod lines;
mod own;
mod sharegpt;
#[cfg(test)]
mod tests;

pub use import::{ImportError, ImportPlan, import};
pub use line::{Form, line};
pub use lines::MOST_LINE;
