//! `read_file`: lines of a text file, as many as fit, and where to read on.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Value, json};

use super::place::{self, Stamp};
use super::{
    CallContext, Effect, ResultLimits, Spec, Subject, Tool, ToolAnswer, lines, results, shown,
};

/// Bytes that are looked at to see whether a file is text.
const SNIFFED: usize = 8192;

/// How far lines are counted behind what is shown, in bytes.
const MAX_COUNTED: u64 = 64 << 20;

/// Bytes of a result that its first and last line may take.
const FRAME: usize = 512;

/// Reads a file.
pub struct ReadFile {
    spec: Spec,
}

impl Default for ReadFile {
    fn default() -> ReadFile {
        let parameters = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "from": {"type": "integer", "minimum": 1, "description": "first line, default 1"},
                "lines": {"type": "integer", "minimum": 1},
                "byte": {"type": "integer", "minimum": 0, "description": "start here instead, for very long lines"},
            },
            "required": ["path"],
            "additionalProperties": false,
        });
        ReadFile {
            spec: Spec::new("read_file", "Read a text file.", parameters),
        }
    }
}

impl Tool for ReadFile {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        Effect::Reads
    }

    fn subject(&self, arguments: &Value, project: &Path) -> Subject {
        place::subject(arguments, project)
    }

    fn foresee(
        &self,
        arguments: &Value,
        room: &CallContext<'_>,
    ) -> Result<Option<super::FileChange>, super::ForeseenRefusal> {
        place::readable(arguments, room)
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        match read_with(arguments, room, || ()) {
            Ok(text) => ToolAnswer::good(text),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

/// `meanwhile` is called when the file is open and nothing of it was shown yet.
fn read_with(
    arguments: &Value,
    room: &CallContext<'_>,
    meanwhile: impl FnOnce(),
) -> Result<String, String> {
    let number = |name: &str| arguments.get(name).and_then(Value::as_u64);
    let given = arguments["path"].as_str().unwrap_or_default();
    let real = place::resolve(given, room.project)?;
    place::allowed(&real, room)?;
    let name = shown::name(&real, &place::project_folder(room.project)?);
    if let Some(reason) = results::gone(&real, room.temp) {
        return Err(reason);
    }
    let file = place::open(&real, &name)?;
    let said = |error| place::failed(error, &name);
    let before = Stamp::of(&file).map_err(said)?;
    let size = file.metadata().map_err(said)?.len();
    let mut part = ReadWindow {
        name: &name,
        size,
        limits: room.limits,
        stopped: &|| room.cancelled(),
    };
    meanwhile();
    let text = match number("byte") {
        Some(byte) => part.bytes(&file, byte),
        None => part.lines(
            &file,
            number("from").unwrap_or(1),
            number("lines").unwrap_or(u64::MAX),
        ),
    }?;
    // The descriptor sees a file that grows, the place one that was replaced.
    let same = Stamp::of(&file).is_ok_and(|after| after == before)
        && Stamp::at(&real).is_ok_and(|there| there == Some(before));
    Ok(match same {
        true => text,
        false => {
            format!("{text}\n[{name} was changed while it was read: parts may not belong together]")
        }
    })
}

/// Which file, and how much of it may be shown.
struct ReadWindow<'a> {
    name: &'a str,
    /// Bytes.
    size: u64,
    limits: ResultLimits,
    stopped: &'a dyn Fn() -> bool,
}

impl ReadWindow<'_> {
    fn room(&self) -> usize {
        self.limits.bytes.saturating_sub(FRAME).max(FRAME)
    }

    /// Lines `from..from + most`, counted from 1.
    fn lines<R: Read>(&mut self, file: R, from: u64, most: u64) -> Result<String, String> {
        let name = self.name;
        let mut reader = BufReader::with_capacity(64 << 10, file);
        self.text(&mut reader)?;
        if self.size == 0 {
            return Ok(format!("{name} is empty."));
        }
        let most = most.min(self.limits.lines.saturating_sub(4).max(4) as u64);
        let mut scan = Scan::new(from, most, self.room());
        let mut counted = 0;
        loop {
            if (self.stopped)() {
                return Err(format!("Reading {name} was interrupted."));
            }
            let bytes = match reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(place::failed(error, name)),
            };
            if bytes.is_empty() {
                scan.finish();
                break;
            }
            scan.feed(bytes);
            let length = bytes.len();
            counted += if scan.full { length as u64 } else { 0 };
            reader.consume(length);
            if counted > MAX_COUNTED {
                break;
            }
        }
        self.said(&scan, from, counted > MAX_COUNTED)
    }

    fn said(&self, scan: &Scan, from: u64, more: bool) -> Result<String, String> {
        let name = self.name;
        let of = match more {
            true => format!("more than {}", shown::count(scan.lines, "line")),
            false => shown::count(scan.lines, "line"),
        };
        if scan.shown == 0 {
            return Err(format!("{name} has {of}: there is no line {from}."));
        }
        let last = from + scan.shown - 1;
        let head = match (from, last) {
            (1, last) if last == scan.lines && !more && scan.cut.is_none() => {
                format!("{name}, {of}:")
            }
            _ if from == last => format!("{name}, line {from} of {of}:"),
            _ => format!("{name}, lines {from}-{last} of {of}:"),
        };
        let body = String::from_utf8_lossy(&scan.kept);
        let body = body.strip_suffix('\n').unwrap_or(&body);
        let mut text = format!("{head}\n{body}");
        if let Some(byte) = scan.cut {
            text +=
                &format!("\n[line {last} is longer than can be shown; read on with byte={byte}]");
        } else if more || last < scan.lines {
            text += &format!("\n[read on with from={}]", last + 1);
        }
        text += &unshown(&scan.kept);
        Ok(text)
    }

    /// As many bytes as fit, from `byte`.
    fn bytes<R: Read + Seek>(&mut self, mut file: R, byte: u64) -> Result<String, String> {
        let name = self.name;
        let said = |error| place::failed(error, name);
        self.text(&mut BufReader::new(&mut file))?;
        if byte >= self.size {
            return Err(format!("{name} has {}.", shown::count(self.size, "byte")));
        }
        file.seek(SeekFrom::Start(byte)).map_err(said)?;
        let mut kept = Vec::new();
        file.take(self.room() as u64)
            .read_to_end(&mut kept)
            .map_err(said)?;
        kept.truncate(whole_characters(&kept));
        let end = byte + kept.len() as u64;
        let of = shown::count(self.size, "byte");
        let body = lines::plain(&String::from_utf8_lossy(&kept));
        let mut text = format!("{name}, from byte {byte} to {end} of {of}:\n{body}");
        if end < self.size {
            text += &format!("\n[read on with byte={end}]");
        }
        text += &unshown(lines::plain(&String::from_utf8_lossy(&kept)).as_bytes());
        Ok(text)
    }

    /// Refuses what is no text.
    fn text<R: Read>(&self, reader: &mut BufReader<R>) -> Result<(), String> {
        let start = reader
            .fill_buf()
            .map_err(|error| place::failed(error, self.name))?;
        match kind(&start[..start.len().min(SNIFFED)]) {
            Some(kind) => Err(format!(
                "{} is no text: {kind}, {}.",
                self.name,
                shown::size(self.size)
            )),
            None => Ok(()),
        }
    }
}

/// Lines that are looked for in a stream of bytes.
struct Scan {
    from: u64,
    most: u64,
    room: usize,
    kept: Vec<u8>,
    /// Lines that were kept, the last perhaps in part.
    shown: u64,
    /// Lines so far.
    lines: u64,
    /// Bytes so far.
    at: u64,
    /// Where the current line began in `kept`.
    line: usize,
    /// Nothing more is kept.
    full: bool,
    /// Where a line that was cut goes on, in bytes.
    cut: Option<u64>,
    /// The current line has bytes.
    open: bool,
    /// The last byte was a CR, which ended its line: a LF that follows belongs to it.
    after_cr: bool,
}

impl Scan {
    fn new(from: u64, most: u64, room: usize) -> Scan {
        Scan {
            from,
            most,
            room,
            kept: Vec::new(),
            shown: 0,
            lines: 0,
            at: 0,
            line: 0,
            full: false,
            cut: None,
            open: false,
            after_cr: false,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
            rest = &rest[1..];
            self.at += 1;
        }
        while !rest.is_empty() {
            let (text, length) = match lines::end(rest) {
                Some((at, length)) => (&rest[..at], at + length),
                None => (rest, rest.len()),
            };
            let ends = length > text.len();
            // The line that this piece belongs to.
            let number = self.lines + 1;
            let wanted = number >= self.from && number - self.from < self.most;
            if wanted && !self.full {
                self.keep(text, ends, number);
            } else if number >= self.from {
                self.full = true;
            }
            self.at += length as u64;
            self.open = !ends;
            if ends {
                self.lines += 1;
                self.line = self.kept.len();
                self.after_cr = length == rest.len() && rest.ends_with(b"\r");
            }
            rest = &rest[length..];
        }
    }

    fn keep(&mut self, text: &[u8], ends: bool, number: u64) {
        let free = self.room - self.kept.len();
        if text.len() + usize::from(ends) <= free {
            self.kept.extend_from_slice(text);
            if ends {
                self.kept.push(b'\n');
            }
            self.shown = number - self.from + 1;
            return;
        }
        self.full = true;
        if self.line > 0 {
            // Whole lines are enough.
            self.kept.truncate(self.line);
            self.shown = number - self.from;
            return;
        }
        let free = free.min(text.len());
        self.kept.extend_from_slice(&text[..free]);
        let whole = whole_characters(&self.kept);
        self.cut = Some(self.at + free as u64 - (self.kept.len() - whole) as u64);
        self.kept.truncate(whole);
        self.shown = 1;
    }

    fn finish(&mut self) {
        self.lines += u64::from(self.open);
    }
}

/// What to say of text that is shown otherwise than it is.
fn unshown(kept: &[u8]) -> String {
    let mut notes = String::new();
    let text = String::from_utf8_lossy(kept);
    if matches!(text, Cow::Owned(_)) {
        notes += "\n[bytes that are not UTF-8 are shown as \u{fffd}]";
    }
    if text.chars().any(shown::is_hidden) {
        notes += "\n[control characters and escape sequences in it are not shown]";
    }
    notes
}

/// The length of `bytes` without a character that is cut at its end.
fn whole_characters(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let needs = match bytes[at] {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return match at + needs > bytes.len() {
            true => at,
            false => bytes.len(),
        };
    }
    bytes.len()
}

/// What bytes are that are no text; the marks are those of file(1).
fn kind(start: &[u8]) -> Option<&'static str> {
    const KINDS: &[(&[u8], &str)] = &[
        (b"\x89PNG\r\n", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"GIF8", "a GIF image"),
        (b"%PDF-", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive or a document of that form"),
        (b"\x1f\x8b", "gzip data"),
        (b"\x28\xb5\x2f\xfd", "zstd data"),
        (b"\xfd7zXZ\0", "xz data"),
        (b"BZh", "bzip2 data"),
        (b"\x7fELF", "a program (ELF)"),
        (b"\xcf\xfa\xed\xfe", "a program (Mach-O)"),
        (b"GGUF", "a model (GGUF)"),
        (b"SQLite format 3\0", "an SQLite database"),
        (
            b"\xff\xfe",
            "UTF-16 text; `iconv -f utf-16 -t utf-8` makes it readable",
        ),
        (
            b"\xfe\xff",
            "UTF-16 text; `iconv -f utf-16 -t utf-8` makes it readable",
        ),
    ];
    let marked = KINDS.iter().find(|(mark, _)| start.starts_with(mark));
    match marked {
        // A text may begin like one of these by chance.
        Some((_, kind)) if !start.is_ascii() || start.contains(&0) || *kind == "a PDF document" => {
            Some(kind)
        }
        _ => start.contains(&0).then_some("binary data"),
    }
}

#[cfg(test)]
#[path = "read_file_tests.rs"]
mod tests;
