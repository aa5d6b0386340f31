//! HTML as text. Laying out takes time that grows with the square of the nesting, so that is bounded
//! before it begins.

/// Columns of the text: paragraphs stay lines of a length that can be cut well.
const WIDTH: usize = 120;

/// Deepest nesting that is laid out; what people and programs write has some dozens.
const MAX_DEPTH: usize = 400;

/// Elements that have no end, or end where their parent or the next of their kind begins: pages
/// leave their end tags out.
const ENDLESS: &[&str] = &[
    "area", "base", "br", "col", "colgroup", "dd", "dt", "embed", "hr", "img", "input", "li",
    "link", "meta", "option", "p", "param", "source", "tbody", "td", "tfoot", "th", "thead", "tr",
    "track", "wbr",
];

/// The text of a page.
///
/// # Errors
/// Why it has none, to follow its address in a sentence.
pub(super) fn text(html: &str) -> Result<String, String> {
    if depth(html) > MAX_DEPTH {
        return Err(format!(
            "cannot be shown: its HTML is nested more than {MAX_DEPTH} deep"
        ));
    }
    html2text::config::plain()
        .link_footnotes(false)
        .no_table_borders()
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), WIDTH)
        .map_err(|error| format!("cannot be read as HTML: {error}"))
}

/// How deep elements are nested at most, by their tags alone: never less than a parser would nest
/// those that count.
fn depth(html: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.starts_with('/');
        let name = &rest[usize::from(end)..];
        let length = name
            .bytes()
            .take(16)
            .take_while(u8::is_ascii_alphanumeric)
            .count();
        let name = name[..length].to_ascii_lowercase();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || ENDLESS.contains(&&*name) {
            continue;
        }
        depth = match end {
            true => depth.saturating_sub(1),
            false => depth + 1,
        };
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_by_tags_that_nest() {
        assert_eq!(
            depth("<html><BODY><p>a<p>b<br><img src=x><li>c</body></html>"),
            2
        );
        assert_eq!(depth("a < b, c<3, <!-- x --> </div></div><div>"), 1);
        assert_eq!(depth(&"<div><p>".repeat(1000)), 1000);
    }

    /// The worst that passes, and it is quick; what does not pass is a sentence.
    #[test]
    fn the_deepest_page_is_laid_out_and_a_deeper_one_is_not() {
        let nested = |tag: &str, n: usize| format!("{}deep", format!("<{tag}>").repeat(n));
        let refused = Err("cannot be shown: its HTML is nested more than 400 deep".to_owned());
        assert_eq!(text(&nested("div", 400)), Ok("deep\n".to_owned()));
        for tag in ["div", "b", "ul><li", "blockquote", "table><tr><td", "x-y"] {
            let text_of = |n| text(&nested(tag, n));
            // Lists so deep have no columns left: that is an error of its own.
            assert_ne!(text_of(400), refused, "{tag}");
            assert_eq!(text_of(401), refused, "{tag}");
            assert_eq!(text_of(300_000), refused, "{tag}");
        }
    }
}
