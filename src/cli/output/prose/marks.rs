//! The marks that npast itself draws beside text: of lists, quotes, tables. Where the locale says that the
//! terminal does not read UTF-8, they are ASCII.

use std::sync::OnceLock;

use super::table::TableMarks;

/// One set of marks, each one column wide.
#[derive(Clone, Copy)]
pub struct ProseMarks {
    /// Before an item of a list.
    pub bullet: &'static str,
    /// Before the lines of a quote.
    pub quote: &'static str,
    /// A line across.
    pub rule: &'static str,
    /// Of tables.
    pub table: TableMarks,
}

const UTF8: ProseMarks = ProseMarks {
    bullet: "•",
    quote: "│",
    rule: "─",
    table: TableMarks {
        bar: "│",
        line: "─",
        cross: "┼",
    },
};

const ASCII: ProseMarks = ProseMarks {
    bullet: "-",
    quote: ">",
    rule: "-",
    table: TableMarks {
        bar: "|",
        line: "-",
        cross: "+",
    },
};

/// Those of this process's locale.
pub fn here() -> &'static ProseMarks {
    static HERE: OnceLock<ProseMarks> = OnceLock::new();
    HERE.get_or_init(|| of(&|name| std::env::var(name).ok()))
}

/// Those of the locale that these variables name. The first that is set counts.
fn of(variable: &dyn Fn(&str) -> Option<String>) -> ProseMarks {
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    let coding = locale.as_deref().and_then(|locale| locale.split_once('.'));
    let utf8 = coding.is_none_or(|(_, coding)| {
        let coding = coding.to_lowercase();
        coding.starts_with("utf-8") || coding.starts_with("utf8")
    });
    if utf8 { UTF8 } else { ASCII }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_of_another_coding_has_marks_of_ascii() {
        let table = [
            (None, "•"),
            (Some("C"), "•"),
            (Some("de_DE.UTF-8"), "•"),
            (Some("en_US.utf8"), "•"),
            (Some("de_DE.ISO-8859-1"), "-"),
            (Some("ja_JP.eucJP"), "-"),
        ];
        for (lang, bullet) in table {
            let marks = of(&|name| lang.filter(|_| name == "LANG").map(str::to_owned));
            assert_eq!(marks.bullet, bullet, "{lang:?}");
        }
        let all = |name: &str| match name {
            "LC_ALL" => Some("C.UTF-8".to_owned()),
            "LANG" => Some("de_DE.ISO-8859-1".to_owned()),
            _ => Some(String::new()),
        };
        assert_eq!(of(&all).bullet, "•", "the first one that is set counts");
    }
}
