//! Glob patterns by the server's rules, its oddities included. One rule differs between machines on
//! the server: here the bytes of `[a-z]` are compared as unsigned, as where `char` of C is unsigned
//! (ARM). On x86 it is signed, and bytes from 0x80 on come before all others.
//!
//! `?` is any byte, `*` any run of bytes, `[abc]` `[a-z]` `[^a]` one byte of a class, `\x` the byte
//! `x`. A class without its `]` ends with the pattern. The server's matcher is recursive. This one
//! backtracks only to the last `*`, so no pattern costs more than its length times the length of
//! the text.

/// Whether the whole `text` matches. As on the server, an empty text matches only `` and `*`, not
/// `**`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return matches!(pattern, b"" | b"*");
    }
    let (mut rest, mut at) = (pattern, 0);
    let mut star: Option<(&[u8], usize)> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            rest = after;
            star = Some((after, at));
            continue;
        }
        let (matched, after) = match text.get(at) {
            Some(byte) => step(rest, *byte),
            None => return rest.is_empty(),
        };
        if matched {
            rest = after;
            at += 1;
        } else if let Some((after, from)) = star {
            // An empty rest means that the pattern ended with the star.
            if after.is_empty() {
                return true;
            }
            rest = after;
            at = from + 1;
            star = Some((after, at));
        } else {
            return false;
        }
    }
}

/// Matches one byte with the head of a pattern that does not begin with a star; returns the rest of
/// the pattern.
fn step(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [] => (false, pattern),
        [b'?', rest @ ..] => (true, rest),
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', escaped, rest @ ..] => (*escaped == byte, rest),
        [literal, rest @ ..] => (*literal == byte, rest),
    }
}

fn class(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [b'\\', escaped, rest @ ..] => {
                found |= *escaped == byte;
                rest
            }
            [b']', rest @ ..] => return (found != negated, rest),
            [] => return (found != negated, rest),
            [a, b'-', b, rest @ ..] => {
                found |= (*a.min(b)..=*a.max(b)).contains(&byte);
                rest
            }
            [one, rest @ ..] => {
                found |= *one == byte;
                rest
            }
        }
    }
}

/// The prefix that every match begins with, and whether the pattern is only that prefix.
pub fn literal_prefix(pattern: &[u8]) -> (Vec<u8>, bool) {
    let mut prefix = Vec::new();
    let mut rest = pattern;
    loop {
        rest = match rest {
            [] => return (prefix, true),
            [b'*' | b'?' | b'[', ..] => return (prefix, false),
            [b'\\', escaped, rest @ ..] => {
                prefix.push(*escaped);
                rest
            }
            [literal, rest @ ..] => {
                prefix.push(*literal);
                rest
            }
        }
    }
}

/// A run of literal bytes that every match contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    pub bytes: Vec<u8>,
    /// Every match begins with it.
    pub at_start: bool,
    /// Every match ends with it.
    pub at_end: bool,
}

/// The runs of literal bytes of a pattern, in their order. None of them is empty.
pub fn literals(pattern: &[u8]) -> Vec<Literal> {
    let mut found = Vec::new();
    let mut run = Literal { bytes: Vec::new(), at_start: true, at_end: false };
    let mut end_run = |run: &mut Literal, at_end: bool| {
        let next = Literal { bytes: Vec::new(), at_start: false, at_end: false };
        let ended = Literal { at_end, ..std::mem::replace(run, next) };
        if !ended.bytes.is_empty() {
            found.push(ended);
        }
    };
    let mut rest = pattern;
    loop {
        rest = match rest {
            [] => {
                end_run(&mut run, true);
                return found;
            }
            [b'*' | b'?', rest @ ..] => {
                end_run(&mut run, false);
                rest
            }
            [b'[', rest @ ..] => {
                end_run(&mut run, false);
                // Where a class ends does not depend on the byte.
                class(rest, 0).1
            }
            [b'\\', escaped, rest @ ..] => {
                run.bytes.push(*escaped);
                rest
            }
            [literal, rest @ ..] => {
                run.bytes.push(*literal);
                rest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_match_contains_the_literals_of_its_pattern() {
        let runs = |pattern: &str| {
            let shown = |run: &Literal| {
                let (start, end) = (if run.at_start { "^" } else { "" }, if run.at_end { "$" } else { "" });
                format!("{start}{}{end}", run.bytes.escape_ascii())
            };
            literals(pattern.as_bytes()).iter().map(shown).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(runs("user:*:name"), "^user: :name$");
        assert_eq!(runs("*a?b[c-d]e"), "a b e$");
        assert_eq!(runs("a\\*b"), "^a*b$");
        assert_eq!(runs("[ab"), "");
        assert_eq!(runs("x[^]]y"), "^x ]y$");
        assert_eq!(runs("**"), "");
        assert_eq!(runs("a\\"), "^a\\\\$");
    }

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} should match {text}");
        }
        for text in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn the_wildcards_mean_what_they_mean_to_the_server() {
        check("h?llo", &["hello", "hallo"], &["hllo", "heello"]);
        check("h*llo", &["hllo", "heeello", "hllo llo"], &["hell", "ahllo"]);
        check("a*b*c", &["abc", "aXbbcbc"], &["ab", "acb"]);
        check("*a", &["a", "ba", "aaa"], &["ab"]);
        check("a**", &["a", "ab"], &["b"]);
        check("*?b", &["ab", "a[b"], &["b"]);
        check("h[ae]llo", &["hello", "hallo"], &["hillo"]);
        check("h[^e]llo", &["hallo"], &["hello"]);
        check("h[a-c]", &["ha", "hc"], &["hd", "h-"]);
        check("h[c-a]", &["ha", "hc"], &["hd"]);
        check("\\*x", &["*x"], &["ax"]);
        check("a[\\]]", &["a]"], &["a\\"]);
    }

    /// Each line was compared with KEYS of a server.
    #[test]
    fn the_odd_patterns_are_as_odd_as_the_servers() {
        check("", &[""], &["a"]);
        check("*", &["", "a"], &[]);
        check("**", &["a"], &[""]);
        check("a[", &[], &["a", "a[", "ab"]);
        check("a[^", &["ab", "a\\"], &["a", "a[b"]);
        check("a[b", &["ab"], &["a[b"]);
        check("a[]", &[], &["ab", "a]"]);
        check("a[^]", &["ab"], &["a"]);
        check("a\\", &["a\\"], &["a"]);
        check("a[\\", &["a\\"], &["ab"]);
        check("a[a-", &["aa", "a-"], &["ab"]);
    }

    #[test]
    fn many_stars_do_not_blow_up() {
        let text = "a".repeat(20_000);
        let pattern = "a*".repeat(50) + "b";
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn the_literal_prefix_stops_at_the_first_wildcard() {
        assert_eq!(literal_prefix(b"user:*"), (b"user:".to_vec(), false));
        assert_eq!(literal_prefix(b"a\\*b"), (b"a*b".to_vec(), true));
        assert_eq!(literal_prefix(b"a\\"), (b"a\\".to_vec(), true));
        assert_eq!(literal_prefix(b"[a]"), (Vec::new(), false));
    }
}
