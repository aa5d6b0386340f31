//! The text of `$'…'`: bash's backslash escapes.

/// Replaces the escapes; an unknown one stays as it is written. A NUL ends the text, as in bash.
pub(super) fn text(raw: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(raw.len());
    let mut rest = raw.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.extend(c.to_string().bytes());
            continue;
        }
        let Some(kind) = rest.next() else {
            out.push(b'\\');
            break;
        };
        let mut digits = |radix: u32, most: usize, first: Option<char>| {
            let mut value: Option<u32> = first.and_then(|c| c.to_digit(radix));
            let mut taken = usize::from(value.is_some());
            while taken < most {
                let Some(digit) = rest.peek().and_then(|c| c.to_digit(radix)) else {
                    break;
                };
                rest.next();
                value = Some(value.unwrap_or(0).wrapping_mul(radix).wrapping_add(digit));
                taken += 1;
            }
            value
        };
        let wide = |out: &mut Vec<u8>, value: Option<u32>| match value.map(char::from_u32) {
            Some(Some(c)) => out.extend(c.to_string().bytes()),
            Some(None) => out.push(b'?'),
            None => out.extend([b'\\', kind as u8]),
        };
        match kind {
            'a' => out.push(7),
            'b' => out.push(8),
            'e' | 'E' => out.push(27),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '\\' | '\'' | '"' | '?' => out.push(kind as u8),
            '0'..='7' => out.push(digits(8, 3, Some(kind)).unwrap_or(0) as u8),
            'x' => match digits(16, 2, None) {
                Some(value) => out.push(value as u8),
                None => out.extend(b"\\x"),
            },
            'u' => {
                let value = digits(16, 4, None);
                wide(&mut out, value);
            }
            'U' => {
                let value = digits(16, 8, None);
                wide(&mut out, value);
            }
            'c' => {
                if let Some(c) = rest.next() {
                    out.push(c.to_ascii_uppercase() as u8 ^ 0x40);
                }
            }
            other => {
                out.push(b'\\');
                out.extend(other.to_string().bytes());
            }
        }
    }
    if let Some(end) = out.iter().position(|b| *b == 0) {
        out.truncate(end);
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_become_the_characters_that_bash_makes_of_them() {
        let table = [
            (r"rm", "rm"),
            (r"\x72\155", "rm"),
            (r"a\tb\n", "a\tb\n"),
            (r"\u002f\U0000002fx", "//x"),
            (r"\'\\", r"'\"),
            (r"\q", r"\q"),
            (r"a\0b", "a"),
            (r"\x", r"\x"),
            ("\\", "\\"),
        ];
        for (raw, want) in table {
            assert_eq!(super::text(raw), want, "{raw}");
        }
    }
}
