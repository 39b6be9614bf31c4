//! Splits Rust source into tokens: words, and single characters of punctuation. Comments, strings
//! and lifetimes are left out.

/// A token and the number of its line, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'s> {
    pub text: &'s str,
    pub line: usize,
}

/// The tokens of a source text.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut rest = source;
    let (mut line, mut tokens) = (1, Vec::new());
    while let Some(first) = rest.chars().next() {
        let len = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest, 0),
            'r' | 'b' | 'c' if prefixed_string(rest).is_some() => prefixed_string(rest).unwrap_or(1),
            '\'' => character_or_lifetime(rest),
            _ if is_word(first) => {
                let len = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
                tokens.extend(rest.get(..len).map(|text| Token { text, line }));
                len
            }
            _ => {
                let len = first.len_utf8();
                tokens.extend(rest.get(..len).filter(|_| !first.is_whitespace()).map(|text| Token { text, line }));
                len
            }
        };
        let (skipped, behind) = rest.split_at_checked(len.max(1)).unwrap_or((rest, ""));
        line += skipped.matches('\n').count();
        rest = behind;
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string that is not raw, its prefix and quotes included.
fn string(text: &str, prefix: usize) -> usize {
    let body = text.get(prefix + 1..).unwrap_or_default();
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return prefix + 1 + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a string with a prefix such as `b`, `r#` or `br##`, if there is one here.
fn prefixed_string(text: &str) -> Option<usize> {
    let letters = text.find(|character| !"rbc".contains(character))?;
    let behind = text.get(letters..)?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    let raw = text.get(..letters)?.contains('r');
    if letters > 2 || !behind.trim_start_matches('#').starts_with('"') || (hashes > 0 && !raw) {
        // A byte such as b'x' is a word and a character.
        return None;
    }
    let prefix = letters + hashes;
    if !raw {
        return Some(string(text, prefix));
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = text.get(prefix + 1..)?;
    Some(body.find(&end).map_or(text.len(), |at| prefix + 1 + at + end.len()))
}

/// The length of a character such as `'x'` or `'\''`, or of a lifetime such as `'static`.
fn character_or_lifetime(text: &str) -> usize {
    let mut inside = text.char_indices().skip(1);
    match inside.next() {
        Some((_, '\\')) => {
            inside.next();
            inside.find(|(_, character)| *character == '\'').map_or(text.len(), |(at, _)| at + 1)
        }
        Some((at, character)) => {
            let end = at + character.len_utf8();
            if text.get(end..).is_some_and(|rest| rest.starts_with('\'')) { end + 1 } else { 1 }
        }
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_strings_are_left_out() {
        assert_eq!(texts("a // use b;\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(texts(r####"x "use a;\" b" y r"\" z r#"a"b"# b"q\"" br##"c"#d"## e"####), ["x", "y", "z", "e"]);
    }

    #[test]
    fn characters_and_lifetimes_end_where_they_end() {
        assert_eq!(texts(r#"'{' '\'' '\u{7b}' '"' a<'static> b'{' c"#), ["a", "<", "static", ">", "b", "c"]);
        assert_eq!(texts("fn f<'a>(a: &'a str)"), ["fn", "f", "<", "a", ">", "(", "a", ":", "&", "a", "str", ")"]);
    }

    #[test]
    fn tokens_know_their_line() {
        let lines: Vec<usize> = tokens("a\n\"x\ny\"\nb /*\n*/ c").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 4, 5]);
    }

    #[test]
    fn what_does_not_end_takes_all_that_is_left() {
        for text in ["\"abc", "/* abc", "r#\"abc\"", "'\\", "b\"", "'"] {
            assert!(texts(text).len() <= 1, "{text}");
        }
    }
}
