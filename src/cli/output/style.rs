//! How a piece of text looks on a terminal. The colours are the sixteen that the user's own terminal
//! defines, so that they fit its background.

/// One of the terminal's own colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hue {
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

/// How a piece of text looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TextStyle {
    pub bold: bool,
    pub dim: bool,
    pub italic: bool,
    pub underline: bool,
    pub strike: bool,
    pub hue: Option<Hue>,
}

impl TextStyle {
    /// As the terminal writes by itself.
    pub const PLAIN: TextStyle = TextStyle {
        bold: false,
        dim: false,
        italic: false,
        underline: false,
        strike: false,
        hue: None,
    };
    /// Beside what matters.
    pub const DIM: TextStyle = TextStyle {
        dim: true,
        ..TextStyle::PLAIN
    };
    /// Stressed.
    pub const BOLD: TextStyle = TextStyle {
        bold: true,
        ..TextStyle::PLAIN
    };

    /// A line that a change adds.
    pub const ADDED: TextStyle = TextStyle {
        hue: Some(Hue::Green),
        ..TextStyle::PLAIN
    };
    /// A line that it removes.
    pub const REMOVED: TextStyle = TextStyle {
        hue: Some(Hue::Red),
        ..TextStyle::PLAIN
    };
    /// Where in the file it is.
    pub const PLACE: TextStyle = TextStyle {
        hue: Some(Hue::Cyan),
        ..TextStyle::PLAIN
    };

    /// The same in a colour.
    pub fn with(self, hue: Hue) -> TextStyle {
        TextStyle {
            hue: Some(hue),
            ..self
        }
    }

    /// `self` as a part of a text that looks like `around`.
    pub fn within(self, around: TextStyle) -> TextStyle {
        TextStyle {
            bold: self.bold || around.bold,
            dim: self.dim || around.dim,
            italic: self.italic || around.italic,
            underline: self.underline || around.underline,
            strike: self.strike || around.strike,
            hue: self.hue.or(around.hue),
        }
    }

    /// `text` with the sequences that turn the style on before it and off behind it.
    pub fn painted(self, text: &str) -> String {
        if self == TextStyle::PLAIN || text.is_empty() {
            return text.to_owned();
        }
        let mut codes: Vec<&str> = Vec::new();
        let flags = [
            (self.bold, "1"),
            (self.dim, "2"),
            (self.italic, "3"),
            (self.underline, "4"),
            (self.strike, "9"),
        ];
        codes.extend(flags.iter().filter(|flag| flag.0).map(|flag| flag.1));
        codes.extend(self.hue.map(|hue| match hue {
            Hue::Red => "31",
            Hue::Green => "32",
            Hue::Yellow => "33",
            Hue::Blue => "34",
            Hue::Magenta => "35",
            Hue::Cyan => "36",
        }));
        format!("\u{1b}[{}m{text}\u{1b}[0m", codes.join(";"))
    }
}

/// The prompt, behind which a person types.
pub const PROMPT: TextStyle = TextStyle {
    hue: Some(Hue::Cyan),
    ..TextStyle::BOLD
};

/// A piece of text and its style.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StyledText {
    text: String,
    style: TextStyle,
}

impl StyledText {
    /// `text` looks like `style`.
    pub fn new(text: impl Into<String>, style: TextStyle) -> StyledText {
        StyledText {
            text: text.into(),
            style,
        }
    }

    /// The text alone.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How it looks.
    pub fn style(&self) -> TextStyle {
        self.style
    }
}

/// Adds a piece behind others; one that looks like the last becomes part of it.
pub fn add(pieces: &mut Vec<StyledText>, text: &str, style: TextStyle) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.style == style => last.text.push_str(text),
        _ => pieces.push(StyledText::new(text, style)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_is_turned_on_before_its_text_and_off_behind_it() {
        let style = TextStyle {
            underline: true,
            ..TextStyle::BOLD.with(Hue::Cyan)
        };
        assert_eq!(style.painted("a"), "\u{1b}[1;4;36ma\u{1b}[0m");
        assert_eq!(style.painted(""), "");
        assert_eq!(TextStyle::PLAIN.painted("a"), "a");
        let inner = TextStyle::BOLD.within(TextStyle::DIM.with(Hue::Red));
        assert_eq!(inner.painted("a"), "\u{1b}[1;2;31ma\u{1b}[0m");
    }
}
