//! Flags of llama.cpp's programs, as people type them by habit: short ones of several letters, which no
//! parser of flags reads, and those that npast has in another form. Long names that only differ are aliases
//! where their flag is defined.

use std::ffi::OsString;

use super::near::SUBCOMMANDS;
use crate::cli::error::Failure;

/// Short flags of several letters.
const SHORT: &[(&str, &str)] = &[
    ("-ngl", "--gpu-layers"),
    ("-tb", "--threads-batch"),
    ("-ub", "--ubatch"),
    ("-mg", "--main-gpu"),
    ("-ts", "--tensor-split"),
    ("-ot", "--override-tensor"),
    ("-ncmoe", "--n-cpu-moe"),
    ("-nkvo", "--no-kv-offload"),
    ("-sys", "--system"),
];
/// The cache types of keys and of values: npast has one for both.
const CACHE: &[&str] = &["-ctk", "-ctv", "--cache-type-k", "--cache-type-v"];
/// npast always uses flash attention.
const FLASH: &[&str] = &["-fa", "--flash-attn"];
/// Flags whose value may be any text.
const ANY_VALUE: &[&str] = &["--stop", "-p", "--prompt", "--system"];

/// The same command line in npast's own flags. What stands behind `--`, or is a value, stays as it is.
///
/// # Errors
/// Wrong usage: what npast cannot do.
pub fn translated(args: &[OsString]) -> Result<Vec<OsString>, Failure> {
    let mut out: Vec<OsString> = Vec::with_capacity(args.len());
    let mut cache: Option<String> = None;
    let mut words = args.iter().peekable();
    out.extend(words.next().cloned());
    if let Some(help) = help(&args[out.len()..]) {
        out.extend(help);
        return Ok(out);
    }
    while let Some(word) = words.next() {
        if word == "--" {
            out.push(word.clone());
            out.extend(words.cloned());
            return Ok(out);
        }
        let Some(text) = word.to_str() else {
            out.push(word.clone());
            continue;
        };
        if ANY_VALUE.contains(&text) {
            out.push(word.clone());
            out.extend(words.next().cloned());
            continue;
        }
        let (flag, mut value) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (text, None),
        };
        let next = words.peek().and_then(|next| next.to_str());
        if let Some((_, own)) = SHORT.iter().find(|(short, _)| *short == flag) {
            out.push((*own).into());
            out.extend(value.map(OsString::from));
        } else if flag == "-hf" {
            let given = value.or_else(|| next.map(str::to_owned));
            let taken = given.as_deref() == next && !text.contains('=');
            if taken {
                words.next();
            }
            out.push("--model".into());
            out.extend(given.map(|name| OsString::from(format!("hf:{name}"))));
        } else if CACHE.contains(&flag) {
            if value.is_none() {
                value = words
                    .next()
                    .and_then(|next| next.to_str())
                    .map(str::to_owned);
            }
            match (cache.as_deref(), value.as_deref()) {
                (Some(known), Some(value)) if known != value => {
                    return Err(Failure::usage(
                        format!(
                            "keys and values have one type, and here they are {known} and {value}"
                        ),
                        format!("--cache-type {value} is for both"),
                    ));
                }
                (Some(_), _) => {}
                (None, value) => {
                    out.push("--cache-type".into());
                    out.extend(value.map(OsString::from));
                }
            }
            cache = cache.or(value);
        } else if FLASH.contains(&flag) {
            let word = |word: &str| matches!(word, "on" | "off" | "auto" | "1" | "0");
            if value.is_none() && next.is_some_and(word) {
                value = words
                    .next()
                    .and_then(|next| next.to_str())
                    .map(str::to_owned);
            }
            if matches!(value.as_deref(), Some("off" | "0")) {
                return Err(Failure::usage(
                    "npast always uses flash attention",
                    format!("leave {flag} away"),
                ));
            }
        } else if text == "-c" && next.is_some_and(is_number) {
            let number = next.unwrap_or_default();
            return Err(Failure::usage(
                "-c goes on with the last session; it is not the length of the context",
                format!("--ctx {number} sets the length; `-c -- {number}` says it to the model"),
            ));
        } else {
            out.push(word.clone());
        }
    }
    Ok(out)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

/// `npast help`, `npast help SUBCOMMAND` and `npast version` as flags.
fn help(words: &[OsString]) -> Option<Vec<OsString>> {
    let (first, rest) = words.split_first()?;
    let plain = |word: &OsString| {
        word.to_str()
            .is_some_and(|word| word.bytes().all(|b| b.is_ascii_lowercase()))
    };
    let named = |word: &OsString| SUBCOMMANDS.iter().any(|known| word == *known);
    match first.to_str()? {
        "help" if rest.len() <= 2 && rest.first().is_none_or(named) && rest.iter().all(plain) => {
            let mut line = rest.to_vec();
            line.push("--help".into());
            Some(line)
        }
        "version" if rest.is_empty() => Some(vec!["--version".into()]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<String, String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let words: Vec<OsString> = std::iter::once("npast")
            .chain(words)
            .map(OsString::from)
            .collect();
        let out = translated(&words).map_err(|failure| failure.message)?;
        let out: Vec<&str> = out[1..].iter().filter_map(|word| word.to_str()).collect();
        Ok(out.join(" "))
    }

    #[test]
    fn llama_cpps_flags_are_read_as_npasts() {
        let table = [
            ("-ngl 99 hello", "--gpu-layers 99 hello"),
            ("-ngl=99", "--gpu-layers 99"),
            ("-ctk q8_0 -ctv q8_0 x", "--cache-type q8_0 x"),
            ("--cache-type-k=q8_0 x", "--cache-type q8_0 x"),
            ("-fa x", "x"),
            ("-fa on x", "x"),
            ("--flash-attn auto x", "x"),
            (
                "-hf Qwen/Qwen3-4B-GGUF:Q8_0 x",
                "--model hf:Qwen/Qwen3-4B-GGUF:Q8_0 x",
            ),
            (
                "serve -ngl 0 -tb 4",
                "serve --gpu-layers 0 --threads-batch 4",
            ),
            // Values, and what stands behind --, are left alone.
            ("--stop -ngl x", "--stop -ngl x"),
            ("-p -fa", "-p -fa"),
            ("-- -ngl", "-- -ngl"),
            ("-c hello", "-c hello"),
            ("-c -- 42", "-c -- 42"),
            ("help", "--help"),
            ("help sessions rm", "sessions rm --help"),
            ("version", "--version"),
            ("help me, please", "help me, please"),
            ("help me now", "help me now"),
        ];
        for (line, want) in table {
            assert_eq!(read(line).as_deref(), Ok(want), "{line}");
        }
    }

    #[test]
    fn what_npast_cannot_do_is_said() {
        let table = [
            (
                "-ctk q8_0 -ctv q4_0",
                "keys and values have one type, and here they are q8_0 and q4_0",
            ),
            ("-fa off x", "npast always uses flash attention"),
            (
                "-c 4096 x",
                "-c goes on with the last session; it is not the length of the context",
            ),
        ];
        for (line, want) in table {
            assert_eq!(read(line), Err(want.to_owned()), "{line}");
        }
    }
}
