//! Text of a model on a terminal: words in rows of its width, and Markdown as it looks. The text comes
//! piece by piece, and each piece costs what it has itself: words are shown when their end is known, what
//! is emphasized when its mark is closed, code line by line, a table when it is complete. Nothing that
//! was shown is written again. How the text is cut into pieces makes no difference.

mod code;
mod inline;
mod line;
mod marks;
mod table;
mod wrap;

use code::CodePainter;
use inline::{InlineScan, columns, styled};
use line::{FenceMark, LineKind, LineStart, begin, closes, is_delimiter_row, margins};
use marks::ProseMarks;
use table::TableRows;
use wrap::WordWrap;

use super::area::advance;
use super::style::{StyledText, TextStyle, add};
use crate::harmless;

/// Bytes of white space before a line that are looked at.
const INDENT: usize = 256;
/// Bytes of a line of code that are held until its end is there. A longer one has no colours.
const CODE_LINE: usize = 4096;
/// Bytes of a table that are held until it is complete, and of one row of it.
const TABLE: usize = 32 * 1024;
/// Columns of a line across.
const RULE: usize = 40;

/// What the text is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProseForm {
    /// Marks of Markdown become styles.
    Markdown,
    /// It is shown as it is, in rows of words. Lines of code are not wrapped.
    Plain,
}

/// The form of a model's text on such a terminal: without styles a mark of Markdown would be lost.
pub fn form(color: bool) -> ProseForm {
    match color {
        true => ProseForm::Markdown,
        false => ProseForm::Plain,
    }
}

/// The rows of a whole text on a terminal of `width` columns.
pub fn rows(text: &str, form: ProseForm, base: TextStyle, width: usize) -> Vec<Vec<StyledText>> {
    let mut prose = Prose::new(form, base);
    let mut pieces = prose.more(text, 0, width);
    // What the text comes to is known to `prose` alone; the terminal's cursor follows it.
    let column = pieces
        .iter()
        .fold(0, |column, piece| advance(column, piece.text(), width));
    pieces.extend(prose.end(column, width));
    let mut rows: Vec<Vec<StyledText>> = vec![Vec::new()];
    for piece in pieces {
        for (number, part) in piece.text().split('\n').enumerate() {
            if number > 0 {
                rows.push(Vec::new());
            }
            if let Some(row) = rows.last_mut() {
                add(row, part, piece.style());
            }
        }
    }
    while rows.last().is_some_and(Vec::is_empty) {
        rows.pop();
    }
    rows
}

/// A text that comes, and how much of it is shown.
pub struct Prose {
    form: ProseForm,
    base: TextStyle,
    marks: &'static ProseMarks,
    wrap: WordWrap,
    /// A carriage return came; what follows says what it is.
    returned: bool,
    place: LinePlace,
    /// The present line, as far as it is held.
    line: String,
    scan: InlineScan,
    /// How the words of the present line look.
    style: TextStyle,
    fence: Option<OpenFence>,
    /// The lines of a table that is not complete, and what stands before each.
    table: Vec<String>,
    table_start: Option<LineStart>,
    table_bytes: usize,
    /// Something was shown.
    began: bool,
    /// Empty lines came, and are shown as one before the next line.
    blank: bool,
    in_list: bool,
    /// The line before was code by its indentation.
    indented: bool,
}

/// What the next character belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LinePlace {
    /// The beginning of a line: what it is, is not known.
    Start,
    /// Words.
    Words,
    /// A line of code.
    Code,
    /// The row of a table.
    Row,
    /// A line that is shown as it is.
    AsItIs,
}

/// Code whose end has not come.
struct OpenFence {
    mark: FenceMark,
    painter: CodePainter,
    quotes: usize,
    /// Columns of white space before its lines that are none of theirs.
    margin: usize,
    /// What stands before its lines on the terminal.
    before: Vec<StyledText>,
}

impl Prose {
    /// A text in this form; all of it looks like `base`, and its marks add to that.
    pub fn new(form: ProseForm, base: TextStyle) -> Prose {
        Prose {
            form,
            base,
            marks: marks::here(),
            wrap: WordWrap::default(),
            returned: false,
            place: LinePlace::Start,
            line: String::new(),
            scan: InlineScan::default(),
            style: base,
            fence: None,
            table: Vec::new(),
            table_start: None,
            table_bytes: 0,
            began: false,
            blank: false,
            in_list: false,
            indented: false,
        }
    }

    /// More of the text, whatever is in it; what is to be written at the cursor, which is in `column` of
    /// `width`.
    pub fn more(&mut self, text: &str, column: usize, width: usize) -> Vec<StyledText> {
        self.wrap.resume(column, width);
        for c in text.chars() {
            if std::mem::take(&mut self.returned) && c != '\n' {
                self.harmless('\r');
            }
            match c {
                '\r' => self.returned = true,
                ' '..='~' => self.push(c),
                c => self.harmless(c),
            }
        }
        self.wrap.take()
    }

    /// What is held and can be shown: something else is written below, and the text may go on after it.
    pub fn pause(&mut self, column: usize, width: usize) -> Vec<StyledText> {
        self.wrap.resume(column, width);
        if self.place == LinePlace::Words {
            self.words_held();
        }
        self.wrap.take()
    }

    /// The rest: the text is over, and what comes then is another one.
    pub fn end(&mut self, column: usize, width: usize) -> Vec<StyledText> {
        self.wrap.resume(column, width);
        if self.place == LinePlace::Start && !self.line.is_empty() {
            self.whole_beginning();
        }
        match self.place {
            LinePlace::Start => {}
            LinePlace::Words => self.words_held(),
            LinePlace::Code | LinePlace::Row | LinePlace::AsItIs => self.end_of_line(),
        }
        self.table_is_complete();
        let rest = self.wrap.take();
        *self = Prose::new(self.form, self.base);
        rest
    }

    /// A character, shown as its picture where a terminal would obey it.
    fn harmless(&mut self, c: char) {
        match c {
            '\n' => self.end_of_line(),
            '\r' => self.push('␍'),
            c => {
                let mut bytes = [0; 4];
                let text = harmless::text(c.encode_utf8(&mut bytes));
                text.chars().for_each(|c| self.push(c));
            }
        }
    }

    fn push(&mut self, c: char) {
        match self.place {
            LinePlace::Start if self.fence.is_some() => {
                self.place = LinePlace::Code;
                self.line.push(c);
            }
            LinePlace::Start => {
                let space = matches!(c, ' ' | '\t');
                if space && self.line.len() >= INDENT && self.line.trim().is_empty() {
                    return;
                }
                self.line.push(c);
                if let Some(start) = begin(&self.line, false) {
                    self.begin_line(start);
                }
            }
            LinePlace::Words => self.word(c),
            LinePlace::Code => {
                self.line.push(c);
                if self.line.len() >= CODE_LINE {
                    self.long_code_line();
                }
            }
            LinePlace::Row => {
                self.line.push(c);
                if self.line.len() >= TABLE {
                    self.long_row();
                }
            }
            LinePlace::AsItIs => {
                self.line.push(c);
                if self.line.len() >= INDENT {
                    self.as_it_is();
                }
            }
        }
    }

    fn end_of_line(&mut self) {
        if self.place == LinePlace::Start && self.fence.is_none() {
            self.whole_beginning();
        } else if self.place == LinePlace::Start {
            self.place = LinePlace::Code;
        }
        match std::mem::replace(&mut self.place, LinePlace::Start) {
            // An empty line.
            LinePlace::Start => {}
            LinePlace::Words => {
                self.words_held();
                self.wrap.end_line();
            }
            LinePlace::Code => self.code_line(),
            LinePlace::Row => self.row(),
            LinePlace::AsItIs => {
                self.as_it_is();
                self.wrap.end_line();
            }
        }
        self.line.clear();
    }

    /// The line ends before it was known what it is.
    fn whole_beginning(&mut self) {
        if let Some(start) = begin(&self.line, true) {
            self.begin_line(start);
        }
    }

    /// What the line is, is known; some of it is held.
    fn begin_line(&mut self, start: LineStart) {
        if start.kind == LineKind::Row && self.form == ProseForm::Markdown {
            if self
                .table_start
                .as_ref()
                .is_some_and(|s| s.quotes != start.quotes)
            {
                self.table_is_complete();
            }
            self.table_start.get_or_insert(start);
            self.place = LinePlace::Row;
            return;
        }
        self.table_is_complete();
        if start.kind == LineKind::Blank && start.quotes == 0 {
            self.blank = self.began;
            self.line.clear();
            return;
        }
        let code = self.is_indented_code(&start);
        self.indented = code;
        self.show_blank();
        self.in_list = start.marker.is_some() || (self.in_list && start.indent > 0);
        let line = std::mem::take(&mut self.line);
        let content = &line[start.content..];
        self.style = self.base;
        if code || (self.form == ProseForm::Plain && matches!(start.kind, LineKind::Fence(_))) {
            if let LineKind::Fence(mark) = start.kind
                && !code
            {
                self.fence = Some(self.open(mark, &start, "", Vec::new()));
            }
            self.wrap.begin(&[], Vec::new());
            (self.place, self.line) = (LinePlace::AsItIs, line);
            return;
        }
        let (first, hang) = self.before(&start, &line);
        self.place = LinePlace::Words;
        self.wrap.begin(&first, hang.clone());
        match start.kind {
            LineKind::Heading(level) if self.form == ProseForm::Markdown => {
                self.style = TextStyle {
                    bold: true,
                    underline: level == 1,
                    ..TextStyle::PLAIN
                }
                .within(self.base);
            }
            LineKind::Rule if self.form == ProseForm::Markdown => {
                let room = self
                    .wrap
                    .limit()
                    .saturating_sub(columns(&first))
                    .clamp(1, RULE);
                let rule = self.marks.rule.repeat(room);
                return self.wrap.verbatim(&rule, TextStyle::DIM.within(self.base));
            }
            LineKind::Fence(mark) => {
                let language = content[mark.length..].trim();
                self.fence = Some(self.open(mark, &start, language, hang));
                return self
                    .wrap
                    .verbatim(&spaced(content), TextStyle::DIM.within(self.base));
            }
            _ => {}
        }
        content.chars().for_each(|c| self.word(c));
    }

    fn open(
        &self,
        mark: FenceMark,
        start: &LineStart,
        language: &str,
        before: Vec<StyledText>,
    ) -> OpenFence {
        let marker = start.marker.as_ref().map_or(0, |marker| marker.len() + 1);
        OpenFence {
            mark,
            painter: CodePainter::new(language),
            quotes: start.quotes,
            margin: start.indent + marker,
            before,
        }
    }

    /// Four columns of white space make code where no list is open and no paragraph goes on.
    fn is_indented_code(&self, start: &LineStart) -> bool {
        let apart = self.blank || !self.began || self.indented;
        start.kind != LineKind::Blank
            && start.quotes == 0
            && start.indent >= 4
            && !self.in_list
            && apart
    }

    /// What stands before the words of a line, and before the rows that go on with it.
    fn before(&self, start: &LineStart, line: &str) -> (Vec<StyledText>, Vec<StyledText>) {
        let room = self.wrap.limit() / 2;
        if self.form == ProseForm::Plain {
            let first = vec![StyledText::new(
                line[..start.content].replace('\t', " "),
                self.base,
            )];
            let hang = " ".repeat(columns(&first).min(room));
            return (first, vec![StyledText::new(hang, self.base)]);
        }
        let quote = format!("{} ", self.marks.quote).repeat(start.quotes.min(room / 2));
        let bars = StyledText::new(quote, TextStyle::DIM.within(self.base));
        let marker = match start.marker.as_deref() {
            None => String::new(),
            Some("-" | "*" | "+") => format!("{} ", self.marks.bullet),
            Some(number) => format!("{number} "),
        };
        let taken =
            columns(std::slice::from_ref(&bars)) + columns(&[StyledText::new(&*marker, self.base)]);
        let indent = " ".repeat(start.indent.min(room.saturating_sub(taken)));
        let behind = " ".repeat(columns(&[StyledText::new(&*marker, self.base)]));
        let first = StyledText::new(format!("{indent}{marker}"), self.base);
        let hang = StyledText::new(format!("{indent}{behind}"), self.base);
        (vec![bars.clone(), first], vec![bars, hang])
    }

    fn show_blank(&mut self) {
        if std::mem::take(&mut self.blank) && self.began {
            self.wrap.end_line();
        }
        self.began = true;
    }

    fn word(&mut self, c: char) {
        let part = match self.form {
            ProseForm::Markdown => self.scan.push(c),
            ProseForm::Plain => self.scan.push_plain(c),
        };
        if let Some(part) = part {
            self.show(&part);
        }
    }

    fn words_held(&mut self) {
        if let Some(part) = self.scan.rest() {
            self.show(&part);
        }
        self.wrap.place();
    }

    fn show(&mut self, part: &str) {
        match self.form {
            ProseForm::Plain => self.wrap.text(part, self.style),
            ProseForm::Markdown => {
                for piece in styled(part, self.style) {
                    self.wrap.text(piece.text(), piece.style());
                }
            }
        }
    }

    /// Shows a part of a line that stands as it is.
    fn as_it_is(&mut self) {
        let line = spaced(&std::mem::take(&mut self.line));
        self.wrap.verbatim(&line, self.base);
    }

    /// A line of code, or the end of it.
    fn code_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let Some(mut fence) = self.fence.take() else {
            return;
        };
        let Some(text) = behind_quotes(&line, fence.quotes) else {
            // The quote is over, and with it the code.
            self.line = line;
            return self.end_of_line();
        };
        self.wrap.begin(&[], Vec::new());
        if self.form == ProseForm::Plain {
            self.wrap.verbatim(&spaced(&line), self.base);
            if !closes(text, fence.mark) {
                self.fence = Some(fence);
            }
            return self.wrap.end_line();
        }
        let text = without_margin(text, fence.margin);
        self.wrap.begin(&fence.before, Vec::new());
        if closes(text, fence.mark) {
            let dim = TextStyle::DIM.within(self.base);
            self.wrap.verbatim(text.trim(), dim);
        } else {
            for piece in fence.painter.line(&spaced(text)) {
                self.wrap
                    .verbatim(piece.text(), piece.style().within(self.base));
            }
            self.fence = Some(fence);
        }
        self.wrap.end_line();
    }

    /// A line of code that has no end: it is shown as it comes.
    fn long_code_line(&mut self) {
        if let Some(fence) = &self.fence {
            self.wrap.begin(&fence.before, Vec::new());
        }
        self.place = LinePlace::AsItIs;
        self.as_it_is();
    }

    /// A row of a table, or of what looked like one.
    fn row(&mut self) {
        let line = std::mem::take(&mut self.line);
        let row = margins(&line, usize::MAX).2;
        let row = spaced(&line[row..]);
        if self.table_bytes + row.len() > TABLE
            || (self.table.len() == 1 && !is_delimiter_row(&row))
        {
            let start = self.table_start.clone();
            self.table_is_complete();
            self.table_start = start;
        }
        self.table_bytes += row.len();
        self.table.push(row);
    }

    /// A row that is longer than any table is words.
    fn long_row(&mut self) {
        let line = std::mem::take(&mut self.line);
        let start = self.table_start.clone();
        self.table_is_complete();
        if let Some(start) = start {
            self.show_blank();
            let (first, hang) = self.before(&start, "");
            self.wrap.begin(&first, hang);
        }
        (self.place, self.style) = (LinePlace::Words, self.base);
        line.chars().for_each(|c| self.word(c));
    }

    /// No more rows come.
    fn table_is_complete(&mut self) {
        let lines = std::mem::take(&mut self.table);
        self.table_bytes = 0;
        let Some(start) = self.table_start.take() else {
            return;
        };
        if lines.is_empty() {
            return;
        }
        self.show_blank();
        let (first, hang) = self.before(&start, "");
        if lines.len() == 1 {
            // A bar alone makes no table.
            self.wrap.begin(&first, hang);
            self.style = self.base;
            lines[0].chars().for_each(|c| self.word(c));
            self.words_held();
            return self.wrap.end_line();
        }
        let limit = self.wrap.limit().saturating_sub(columns(&first)).max(1);
        let drawn = table::drawn(&lines, limit, self.marks.table, self.base);
        let wraps = matches!(drawn, TableRows::List(_));
        let (TableRows::Columns(rows) | TableRows::List(rows)) = drawn;
        for row in rows {
            self.wrap.begin(&first, hang.clone());
            for piece in row {
                match wraps {
                    true => self.wrap.text(piece.text(), piece.style()),
                    false => self.wrap.verbatim(piece.text(), piece.style()),
                }
            }
            self.wrap.end_line();
        }
    }
}

/// A line with spaces in the place of tabs.
fn spaced(line: &str) -> String {
    line.replace('\t', "    ")
}

/// What stands behind so many marks of quotes; `None` where there are fewer.
fn behind_quotes(line: &str, quotes: usize) -> Option<&str> {
    let mut rest = line;
    for _ in 0..quotes {
        rest = rest.trim_start_matches(' ').strip_prefix('>')?;
        rest = rest.strip_prefix(' ').unwrap_or(rest);
    }
    Some(rest)
}

/// A line without so many columns of white space before it.
fn without_margin(line: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in line.char_indices() {
        taken += match c {
            ' ' if taken < columns => 1,
            '\t' if taken < columns => 4,
            _ => return &line[at..],
        };
    }
    ""
}

#[cfg(test)]
#[path = "prose/tests.rs"]
mod tests;
