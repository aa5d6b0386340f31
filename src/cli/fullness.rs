//! How full the context is, in words: near its end a person hears what helps before it does not fit.

use crate::ledger::Finish;

/// From this part of the context on, in percent, its end is announced.
const NEAR: usize = 80;

/// Tokens in thousands of 1,024, as contexts are called: `812`, `6.1k`, `8k`, `128k`.
pub fn thousands(tokens: usize) -> String {
    let tenths = tokens * 10 / 1024;
    match tokens {
        0..1024 => tokens.to_string(),
        _ if tenths < 100 && !tenths.is_multiple_of(10) => {
            format!("{}.{}k", tenths / 10, tenths % 10)
        }
        _ => format!("{}k", tokens / 1024),
    }
}

/// Whether a conversation is near the end of its context.
pub fn is_near_the_end(context: usize, limit: usize) -> bool {
    limit > 0 && context * 100 >= limit * NEAR
}

/// What is said of a conversation that is near the end of its context, or whose reply reached it.
/// `compresses` says whether npast compresses it by itself, `ways` what the person can do.
pub fn announcement(
    (context, limit): (usize, usize),
    finish: Finish,
    compresses: bool,
    ways: &str,
) -> String {
    let used = format!("{} of {} tokens", thousands(context), thousands(limit));
    if finish == Finish::Context {
        return format!("The reply ends here: the conversation has {used}. {ways}");
    }
    let percent = context * 100 / limit.max(1);
    let own = match compresses {
        true => " npast compresses it by itself when it is a little longer.",
        false => "",
    };
    format!("The conversation has {used} ({percent} %).{own} {ways}")
}

/// What helps in a chat.
pub const IN_A_CHAT: &str = "/compress puts a summary in the place of its middle, /undo takes turns \
    back; a new session begins empty.";

/// What helps outside of one.
pub fn on_a_command_line(session: &str) -> String {
    format!(
        "`npast sessions compress {session}` puts a summary in the place of its middle, `undo` takes \
         turns back, `fork NAME NEW --at N` goes on from an earlier message; a new session begins empty."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_called_as_contexts_are() {
        let table = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1k"),
            (6300, "6.1k"),
            (8192, "8k"),
            (16_384, "16k"),
            (20_000, "19k"),
            (131_072, "128k"),
        ];
        for (tokens, want) in table {
            assert_eq!(thousands(tokens), want);
        }
    }

    #[test]
    fn the_end_is_announced_from_four_fifths_on_with_what_helps() {
        assert!(!is_near_the_end(6553, 8192));
        assert!(is_near_the_end(6554, 8192));
        assert!(!is_near_the_end(9, 0));
        let said = |finish, own| announcement((6656, 8192), finish, own, IN_A_CHAT);
        let near = said(Finish::Stop, true);
        assert!(
            near.starts_with("The conversation has 6.5k of 8k tokens (81 %). npast compresses")
        );
        assert!(!said(Finish::Stop, false).contains("by itself"));
        let full = said(Finish::Context, true);
        assert!(full.starts_with("The reply ends here: the conversation has 6.5k of 8k tokens."));
        for said in [near, full] {
            for way in ["/compress", "/undo", "new session"] {
                assert!(said.contains(way), "{said}");
            }
            assert!(!said.contains("--ctx"), "{said}");
        }
    }
}
