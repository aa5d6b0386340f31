//! The one place that prints. Everything that npast shows goes through here: untrusted text is made
//! safe, npast's own styles are put around it, and the rows at the end of the terminal in which a person
//! types (the area) are removed before it and drawn again below it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::area::{Area, AreaRow, advance};
use super::prose::{self, ProseForm};
use super::style::{StyledText, TextStyle};
use crate::harmless;

/// What the streams can show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    /// Standard output is a terminal.
    pub out: bool,
    /// Standard error is a terminal.
    pub err: bool,
    /// Styles and colours are wanted. Without them a reply keeps its Markdown marks.
    pub color: bool,
    /// The terminal moves its cursor by escape sequences.
    pub moves: bool,
}

/// The two streams, and where the terminal's cursor stands.
pub struct Screen {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    looks: Looks,
    /// Columns of the terminal's last line that are written; 0 where it is finished.
    column: usize,
    /// The last line had all of its columns, and making room went on to the next one: a line feed that
    /// ends it is there already.
    full: bool,
    /// Columns in all.
    width: usize,
    /// Replies are shown as they are written.
    raw: bool,
    /// It is npast's own terminal, and its window has a size.
    own: bool,
    /// Rows in all.
    height: usize,
    /// What is going on that takes long.
    status: Vec<String>,
    /// What is being typed, and the cursor in it.
    input: Option<(Vec<AreaRow>, (usize, usize))>,
    area: Area,
}

/// This process's screen.
pub fn screen() -> MutexGuard<'static, Screen> {
    lock(shared())
}

/// The same, to be held.
pub fn shared() -> &'static Arc<Mutex<Screen>> {
    static SCREEN: OnceLock<Arc<Mutex<Screen>>> = OnceLock::new();
    SCREEN.get_or_init(|| {
        let (out, err) = (io::stdout(), io::stderr());
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let term = std::env::var_os("TERM");
        let looks = Looks {
            out: out.is_terminal(),
            err: err.is_terminal(),
            color: !plain && term.as_deref().is_some_and(|t| t != "dumb"),
            moves: term.is_some_and(|t| !t.is_empty() && t != "dumb"),
        };
        let mut screen = Screen::new(Box::new(out), Box::new(err), looks);
        screen.own = true;
        screen.size();
        Arc::new(Mutex::new(screen))
    })
}

// What a panicking thread was printing is cut; what follows is whole.
pub fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Screen {
    /// Prints to `out` and `err`.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, looks: Looks) -> Screen {
        Screen {
            out,
            err,
            looks,
            column: 0,
            full: false,
            width: 80,
            height: 24,
            raw: false,
            own: false,
            status: Vec::new(),
            input: None,
            area: Area::default(),
        }
    }

    /// What the streams can show.
    pub fn looks(&self) -> Looks {
        self.looks
    }

    /// Replies are shown as they are written from now on.
    pub fn set_raw(&mut self) {
        self.raw = true;
    }

    /// Whether a reply is shown in rows of words.
    pub fn has_rows(&self) -> bool {
        self.looks.moves && !self.raw
    }

    /// An answer, or what else a program may read: on a terminal harmless, else as it is.
    ///
    /// # Errors
    /// Standard output's.
    pub fn answer(&mut self, text: &str) -> io::Result<()> {
        match self.looks.out {
            true => self.page(text),
            false => flushed(&mut self.out, text),
        }
    }

    /// A text for people: untrusted names and reasons may be in it.
    ///
    /// # Errors
    /// Standard output's.
    pub fn page(&mut self, text: &str) -> io::Result<()> {
        let text = harmless::text(text);
        if !self.looks.out {
            return flushed(&mut self.out, &text);
        }
        let text = self.make_room(&text);
        let done = flushed(&mut self.out, text);
        self.come_back(text);
        done
    }

    /// Pieces of an answer for the terminal. `make` gets the column of the cursor and the columns in all.
    ///
    /// # Errors
    /// Standard output's.
    pub fn answer_styled(
        &mut self,
        make: impl FnOnce(usize, usize) -> Vec<StyledText>,
    ) -> io::Result<()> {
        self.fit();
        let pieces = make(self.column, self.width);
        let (text, painted) = self.painted(&pieces);
        let done = flushed(&mut self.out, &painted);
        self.come_back(&text);
        done
    }

    /// The same on standard error.
    pub fn part_styled(&mut self, make: impl FnOnce(usize, usize) -> Vec<StyledText>) {
        self.fit();
        let pieces = make(self.column, self.width);
        if !self.looks.err {
            let all: String = pieces.iter().map(StyledText::text).collect();
            return self.write_err(&harmless::text(&all));
        }
        let (text, painted) = self.painted(&pieces);
        self.write_err(&painted);
        self.come_back(&text);
    }

    /// Pieces on a line of their own, on standard error.
    pub fn say_styled(&mut self, mut pieces: Vec<StyledText>) {
        self.fresh_line();
        pieces.push(StyledText::new("\n", TextStyle::PLAIN));
        self.part_styled(|_, _| pieces);
    }

    /// Lines of npast's own words on standard error; on a terminal in rows of words.
    pub fn say_rows(&mut self, style: TextStyle, text: &str) {
        if !self.looks.err || !self.looks.moves {
            return self.say(TextStyle::PLAIN, text);
        }
        let (width, _) = self.size();
        for row in prose::rows(text, ProseForm::Plain, style, width) {
            self.say_styled(row);
        }
    }

    /// Takes the area away; pieces as text, and as the terminal gets them.
    fn painted(&mut self, pieces: &[StyledText]) -> (String, String) {
        let (mut text, mut painted) = (String::new(), String::new());
        for piece in pieces {
            let mut own = harmless::text(piece.text());
            if text.is_empty() {
                own = self.make_room(&own).to_owned().into();
            }
            match self.looks.color {
                true => painted.push_str(&piece.style().painted(&own)),
                false => painted.push_str(&own),
            }
            text.push_str(&own);
        }
        (text, painted)
    }

    /// An event: one line of JSON.
    ///
    /// # Errors
    /// Standard output's.
    pub fn event(&mut self, line: &str) -> io::Result<()> {
        let line = format!("{}\n", harmless::json(line));
        if !self.looks.out {
            return flushed(&mut self.out, &line);
        }
        self.make_room(&line);
        let done = flushed(&mut self.out, &line);
        self.come_back(&line);
        done
    }

    /// Lines on standard error, the first on a line of its own. Nobody is left to be told when this
    /// fails.
    pub fn say(&mut self, style: TextStyle, text: &str) {
        self.fresh_line();
        self.err_part(style, &harmless::text(text), "\n");
    }

    /// A part of a line on standard error; what follows is written behind it.
    pub fn part(&mut self, style: TextStyle, text: &str) {
        self.err_part(style, &harmless::text(text), "");
    }

    /// What follows begins on a line of its own, on the terminal.
    pub fn fresh_line(&mut self) {
        self.full = false;
        if self.column == 0 {
            return;
        }
        match self.looks.err {
            true => self.err_part(TextStyle::PLAIN, "\n", ""),
            false => drop(self.page("\n")),
        }
    }

    /// Says in the last line of the terminal what takes long; `None` takes it away.
    pub fn status(&mut self, text: Option<String>) {
        self.live(text.as_slice());
    }

    /// The same in several rows, of which the last are shown where the window has no room for all.
    pub fn live(&mut self, rows: &[String]) {
        let rows = rows.iter().map(|row| harmless::line(row).into_owned());
        self.status = rows.collect();
        self.size();
        self.draw();
    }

    /// Rows on standard error, the first on a line of its own.
    pub fn rows(&mut self, rows: &[StyledText]) {
        if rows.is_empty() {
            return;
        }
        self.fresh_line();
        let color = self.looks.err && self.looks.color;
        let mut painted = String::new();
        for row in rows {
            let text = harmless::text(row.text());
            match color {
                true => painted.push_str(&row.style().painted(&text)),
                false => painted.push_str(&text),
            }
            painted.push('\n');
        }
        if !self.looks.err {
            let _ = flushed(&mut self.err, &painted);
            return;
        }
        // The last row ends its line, so the column is known.
        let painted = self.make_room(&painted).to_owned();
        self.write_err(&painted);
        self.come_back("\n");
    }

    /// Shows what is being typed, with the cursor in it; `None` takes it away. Rows fit the width.
    pub fn input(&mut self, input: Option<(Vec<AreaRow>, (usize, usize))>) {
        self.input = input;
        self.draw();
    }

    /// Columns of the terminal that standard output is; nothing where it is none.
    pub fn columns(&mut self) -> Option<usize> {
        if !self.looks.out {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col));
        columns.filter(|columns| *columns > 0)
    }

    /// Columns and rows of the terminal.
    pub fn size(&mut self) -> (usize, usize) {
        if !self.own {
            return (self.width, 24);
        }
        let size = match self.looks.err {
            true => rustix::termios::tcgetwinsize(io::stderr()),
            false => rustix::termios::tcgetwinsize(io::stdout()),
        };
        let size = size.ok();
        let size = size.map(|s| (usize::from(s.ws_col), usize::from(s.ws_row)));
        let (columns, rows) = size.filter(|s| s.0 > 0 && s.1 > 0).unwrap_or((80, 24));
        (self.width, self.height) = (columns, rows);
        (columns, rows)
    }

    /// Takes the present width of the window; a line that is wider takes more lines now.
    fn fit(&mut self) {
        let before = self.width;
        let (width, _) = self.size();
        if width != before && self.column > 0 {
            self.column = (self.column - 1) % width + 1;
        }
    }

    /// The window was resized, or another program wrote: the area is removed, to be drawn again. What
    /// is being typed has to be given again, in rows that fit.
    pub fn redraw(&mut self) {
        self.fit();
        self.erase();
        self.input = None;
        self.draw();
    }

    /// Takes the area away and runs `stopped`, with which the terminal is somebody else's for a while.
    pub fn suspended(&mut self, stopped: impl FnOnce()) {
        self.fresh_line();
        self.erase();
        stopped();
        self.size();
        self.draw();
    }

    /// The terminal says where a paste begins and ends.
    pub fn mark_pastes(&mut self, on: bool) {
        if self.moves() {
            self.write_err(match on {
                true => "\u{1b}[?2004h",
                false => "\u{1b}[?2004l",
            });
        }
    }

    /// Clears the terminal.
    pub fn clear(&mut self) {
        if self.moves() {
            self.erase();
            (self.column, self.full) = (0, false);
            self.write_err("\u{1b}[H\u{1b}[2J");
            self.draw();
        }
    }

    fn moves(&self) -> bool {
        self.looks.err && self.looks.moves
    }

    fn draw(&mut self) {
        if !self.moves() {
            return;
        }
        // The area must fit the window: what is typed first, then what goes on and the end of its rows.
        let typed = self.input.as_ref().map_or(0, |(rows, _)| rows.len());
        let room = self.height.saturating_sub(typed + 1).max(1);
        let skipped = self.status.len().saturating_sub(room);
        let first = usize::from(room > 1 && skipped > 0);
        let status = self.status.iter().enumerate();
        let status = status.filter(|(at, _)| *at < first || *at >= skipped + first);
        let mut rows: Vec<AreaRow> = status
            .map(|(_, text)| AreaRow::dim(text, self.width))
            .collect();
        let mut cursor = None;
        if let Some((input, at)) = &self.input {
            cursor = Some((rows.len() + at.0, at.1));
            rows.extend(input.iter().cloned());
        }
        if rows.is_empty() {
            return self.erase();
        }
        let color = self.looks.color;
        let text = self.area.show(rows, cursor, self.column, self.width, color);
        self.write_err(&text);
    }

    /// Takes the area away.
    fn erase(&mut self) {
        let shown = self.area.is_shown();
        let erased = self.area.erase(self.column, self.width);
        self.write_err(&erased);
        // The area began on the line behind one that was full, and there the cursor is.
        if shown && self.column >= self.width {
            (self.column, self.full) = (0, true);
        }
    }

    /// Takes the area away; what of `text` is still to be written then.
    fn make_room<'t>(&mut self, text: &'t str) -> &'t str {
        self.erase();
        match !text.is_empty() && std::mem::take(&mut self.full) {
            true => text.strip_prefix('\n').unwrap_or(text),
            false => text,
        }
    }

    fn come_back(&mut self, written: &str) {
        self.column = advance(self.column, written, self.width);
        self.draw();
    }

    /// Writes harmless text in its style, and its end without one.
    fn err_part(&mut self, style: TextStyle, text: &str, end: &str) {
        if !self.looks.err {
            let _ = flushed(&mut self.err, &format!("{text}{end}"));
            return;
        }
        let text = self.make_room(text);
        match self.looks.color {
            true => self.write_err(&format!("{}{end}", style.painted(text))),
            false => self.write_err(&format!("{text}{end}")),
        }
        self.come_back(&format!("{text}{end}"));
    }

    /// A person ended the line that the terminal shows by itself.
    pub fn line_was_entered(&mut self) {
        self.column = 0;
    }

    fn write_err(&mut self, text: &str) {
        if !text.is_empty() {
            let _ = flushed(&mut self.err, text);
        }
    }
}

fn flushed(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// What the rooms below log, a line at a time.
pub struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        screen().say(TextStyle::PLAIN, text.trim_end_matches('\n'));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text of a panic may hold untrusted text.
pub fn harmless_panics() {
    std::panic::set_hook(Box::new(|fault| {
        let trace = std::backtrace::Backtrace::capture();
        let mut text = format!("npast: {fault}");
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            text.push_str(&format!("\n{trace}"));
        }
        // This thread may have been printing.
        match shared().try_lock() {
            Ok(mut screen) => screen.say(TextStyle::PLAIN, &text),
            Err(_) => drop(writeln!(io::stderr(), "{}", harmless::text(&text))),
        }
    }));
}

#[cfg(test)]
#[path = "screen_tests.rs"]
pub mod tests;
