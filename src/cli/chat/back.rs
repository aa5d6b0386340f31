//! What a person sees of a session: the line about it, and the last exchange for whoever comes back.

use super::super::error::Failure;
use super::super::fullness::thousands;
use super::super::output::{StyledText, TextStyle, first_rows, last_rows, say_rows, say_styled};
use super::Chat;
use crate::agent::{Done, Info, LastExchange};
use crate::approve::Approve;
use crate::harmless;
use crate::ledger::Finish;
use crate::service::Request;

/// Rows of the last message that are shown again.
const SAID: usize = 4;
/// Rows of the last reply, from its end.
const REPLIED: usize = 12;

impl Chat {
    /// The line about the session that is open, or about the one that the first message starts.
    pub(super) fn show_session(&self) {
        let info = self.info();
        let model = self.serving.model();
        let mode = mode(
            info.as_ref()
                .map_or(self.start.is_agent(), |info| info.runs_tools),
            self.start.policy(),
        );
        let used = info.as_ref().map_or(0, |info| info.context);
        let folder = match &info {
            Some(info) => info.folder.clone(),
            None => self.start.folder().to_owned(),
        };
        let name = info
            .as_ref()
            .map_or("new session", |info| info.name.as_str());
        let line = [
            harmless::line(name).into_owned(),
            harmless::line(info.as_ref().map_or(&*model, |info| info.model.as_str())).into_owned(),
            harmless::line(&short(&folder)).into_owned(),
            mode.to_owned(),
            format!(
                "{} of {} tokens",
                thousands(used),
                thousands(self.serving.limit())
            ),
            "/help".to_owned(),
        ];
        say_rows(TextStyle::PLAIN, &line.join(" · "));
        self.show_sandbox();
    }

    /// The last exchange, dimmed, and where the conversation stands.
    pub(super) fn show_last_exchange(&mut self) -> Result<(), Failure> {
        let Done::Info { info, exchange, .. } = self.ask(Request::Info)? else {
            return Ok(());
        };
        let Some(exchange) = exchange else {
            say_rows(TextStyle::DIM, "Nothing was said yet.");
            return Ok(());
        };
        say_styled(rows(&exchange));
        say_rows(
            TextStyle::DIM,
            &stands(&exchange, &info, self.serving.limit()),
        );
        Ok(())
    }
}

/// What npast does with the calls of a session.
fn mode(runs_tools: bool, policy: Approve) -> &'static str {
    match policy {
        _ if !runs_tools => "no tools",
        Approve::Ask => "asks before it changes something",
        Approve::Edits => "asks, but not before it edits files",
        Approve::Auto => "runs calls without asking",
        Approve::Deny => "refuses what no rule allows",
    }
}

/// A folder below the user's home begins with `~`.
fn short(folder: &str) -> String {
    let home = std::env::home_dir().filter(|home| home.parent().is_some());
    let below = home.and_then(|home| {
        let rest = std::path::Path::new(folder).strip_prefix(home).ok()?;
        Some(rest.to_string_lossy().into_owned())
    });
    match below {
        Some(rest) if rest.is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{rest}"),
        None => folder.to_owned(),
    }
}

/// The exchange in rows: the beginning of the message, the end of the reply.
fn rows(exchange: &LastExchange) -> Vec<Vec<StyledText>> {
    let dim = |text: String| vec![StyledText::new(text, TextStyle::DIM)];
    let mut all = vec![dim("The last exchange:".to_owned())];
    let (said, more) = first_rows(&exchange.said, SAID, 2);
    for (number, row) in said.into_iter().enumerate() {
        let mut line = dim(if number == 0 { "> " } else { "  " }.to_owned());
        line.extend(row);
        all.push(line);
    }
    if more > 0 {
        all.push(dim(format!("  … {more} more lines")));
    }
    match exchange.calls {
        0 => {}
        1 => all.push(dim("(1 call of a tool)".to_owned())),
        calls => all.push(dim(format!("({calls} calls of tools)"))),
    }
    let (before, reply) = last_rows(&exchange.reply, REPLIED);
    if before > 0 {
        all.push(dim(format!("… {before} lines before")));
    }
    all.extend(reply);
    all
}

/// Where the conversation stands, and whether the last reply was cut.
fn stands(exchange: &LastExchange, info: &Info, limit: usize) -> String {
    let turns = match exchange.turns {
        1 => "1 turn".to_owned(),
        turns => format!("{turns} turns"),
    };
    let used = thousands(info.context);
    let mut text = format!("{turns}, {used} of {} tokens", thousands(limit));
    if info.open_message.is_none() && info.unfinished {
        text.push_str(match exchange.finish {
            Some(Finish::Length) => {
                ". The last reply was cut at the token limit; /continue goes on with it"
            }
            Some(Finish::Interrupted) => {
                ". The last reply was interrupted; /continue goes on with it"
            }
            Some(Finish::Context) => {
                ". The last reply was cut where the context is full; /compress makes room"
            }
            _ => ". The last reply was cut; /continue goes on with it",
        });
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::MemoryClass;

    fn info(context: usize, unfinished: bool) -> Info {
        Info {
            id: 1,
            name: "work".into(),
            resumed: true,
            model: "m.gguf".into(),
            class: MemoryClass::Dense,
            context,
            open_message: None,
            unfinished,
            runs_tools: true,
            folder: "/".into(),
        }
    }

    #[test]
    fn where_a_conversation_stands_says_whether_the_last_reply_was_cut() {
        let exchange = |turns, finish| LastExchange {
            turns,
            finish: Some(finish),
            ..LastExchange::default()
        };
        let table = [
            (1, Finish::Stop, false, "1 turn, 6.1k of 8k tokens."),
            (
                3,
                Finish::Length,
                true,
                "3 turns, 6.1k of 8k tokens. The last reply was cut at the token limit; \
                 /continue goes on with it.",
            ),
            (
                3,
                Finish::Interrupted,
                true,
                "3 turns, 6.1k of 8k tokens. The last reply was interrupted; /continue goes on \
                 with it.",
            ),
            (
                3,
                Finish::Context,
                true,
                "3 turns, 6.1k of 8k tokens. The last reply was cut where the context is full; \
                 /compress makes room.",
            ),
        ];
        for (turns, finish, cut, want) in table {
            assert_eq!(
                stands(&exchange(turns, finish), &info(6300, cut), 8192),
                want
            );
        }
    }

    #[test]
    fn a_mode_is_said_in_words() {
        assert_eq!(mode(false, Approve::Auto), "no tools");
        assert_eq!(mode(true, Approve::Ask), "asks before it changes something");
        assert_eq!(mode(true, Approve::Auto), "runs calls without asking");
        assert_eq!(mode(true, Approve::Deny), "refuses what no rule allows");
    }
}
