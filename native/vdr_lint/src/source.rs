//! Parses a source file: the modules that it declares, the paths that it names, its number of
//! lines. Tests are left out.

use crate::tokens::{Token, tokens};

/// The declarations and paths of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Modules in files of their own, as paths from this file.
    pub children: Vec<Vec<String>>,
    /// Inline modules, as paths from this file.
    pub inline: Vec<Vec<String>>,
    pub paths: Vec<Named>,
    /// The number of lines, without those of tests.
    pub lines: usize,
}

/// A path as written: `crate::a::b`, `super::c`, `d::e`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub segments: Vec<String>,
    /// The inline modules around it.
    pub within: Vec<String>,
    pub line: usize,
}

pub fn parse(text: &str) -> Source {
    let (kept, test_lines) = without_tests(&tokens(text));
    let mut source = Source { lines: text.lines().count().saturating_sub(test_lines), ..Source::default() };
    // The inline modules around the current token, each with its depth of braces.
    let mut within: Vec<(String, usize)> = Vec::new();
    let mut depth = 0usize;
    // Whether the next module has an attribute with its path. Such a file does not count as part of
    // the crate.
    let mut elsewhere = false;
    let mut read = 0;
    let names = |within: &[(String, usize)]| within.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for (at, token) in kept.iter().enumerate() {
        if at < read {
            continue;
        }
        let rest = kept.get(at..).unwrap_or_default();
        match [token.text, text_at(rest, 1), text_at(rest, 2)] {
            ["#", "[", "path"] => elsewhere = true,
            ["mod", _, ";"] if elsewhere => elsewhere = false,
            ["mod", name, ";"] => source.children.push([names(&within), vec![name.to_owned()]].concat()),
            ["mod", name, "{"] => {
                within.push((name.to_owned(), depth + 1));
                source.inline.push(names(&within));
            }
            ["{", ..] => depth += 1,
            ["}", ..] => {
                depth = depth.saturating_sub(1);
                within.pop_if(|(_, inside)| *inside > depth);
            }
            [first, ":", ":"] if is_word(first) => {
                let mut paths = Vec::new();
                read = at + tree(rest, &[], &mut paths);
                // A method with its generics, `x.f::<T>()`, names no module.
                paths.retain(|path| path.len() > 1 || ["crate", "self", "super"].contains(&first));
                let named = |segments| Named { segments, within: names(&within), line: token.line };
                source.paths.extend(paths.into_iter().map(named));
            }
            _ => {}
        }
    }
    source
}

fn text_at<'s>(tokens: &[Token<'s>], at: usize) -> &'s str {
    tokens.get(at).map_or("", |token| token.text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Reads a path, or a tree of paths in braces. Returns its number of tokens.
fn tree(tokens: &[Token<'_>], prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        let text = text_at(tokens, at);
        if text == "{" {
            return at + branches(tokens.get(at..).unwrap_or_default(), &path, paths);
        }
        if !is_word(text) {
            // A star, or the generics of a path: what stands before them is the path.
            paths.push(path);
            return at + usize::from(text == "*");
        }
        path.push(text.to_owned());
        at += 1;
        if [text_at(tokens, at), text_at(tokens, at + 1)] != [":", ":"] {
            paths.push(path);
            return at;
        }
        at += 2;
    }
}

/// The branches of a tree, in braces.
fn branches(tokens: &[Token<'_>], prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut at = 1;
    loop {
        match text_at(tokens, at) {
            "" | "}" => return at + 1,
            // An alias is not part of the path.
            "as" => at += 2,
            "*" => {
                paths.push(prefix.to_vec());
                at += 1;
            }
            text if text == "{" || is_word(text) => {
                at += tree(tokens.get(at..).unwrap_or_default(), prefix, paths).max(1);
            }
            _ => at += 1,
        }
    }
}

/// The number of tokens of a bracketed group, with both brackets.
fn bracketed(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The tokens without items that are compiled only for tests, and the number of lines of these
/// items.
fn without_tests<'s>(tokens: &[Token<'s>]) -> (Vec<Token<'s>>, usize) {
    let (mut kept, mut lines, mut at) = (Vec::new(), 0, 0);
    while let Some(token) = tokens.get(at) {
        let rest = tokens.get(at..).unwrap_or_default();
        let len = test_item(rest);
        if len == 0 {
            kept.push(*token);
            at += 1;
            continue;
        }
        let last = rest.get(len - 1).map_or(token.line, |last| last.line);
        lines += last + 1 - token.line;
        at += len;
    }
    (kept, lines)
}

/// The number of tokens of an item for tests, its attribute included; 0 if there is none here.
fn test_item(tokens: &[Token<'_>]) -> usize {
    if text_at(tokens, 0) != "#" {
        return 0;
    }
    // `#![cfg(test)]` turns the rest of the file into tests.
    let inner = usize::from(text_at(tokens, 1) == "!");
    let attribute = tokens.get(1 + inner..).unwrap_or_default();
    let end = 1 + inner + bracketed(attribute);
    if !is_test(attribute.get(..end - 1 - inner).unwrap_or_default()) {
        return 0;
    }
    if inner == 1 {
        return tokens.len();
    }
    let mut at = end;
    while text_at(tokens, at) == "#" {
        at += 1 + bracketed(tokens.get(at + 1..).unwrap_or_default());
    }
    at + item(tokens.get(at..).unwrap_or_default())
}

/// Whether an attribute is `[test]`, or a `[cfg(...)]` that asks for tests.
fn is_test(attribute: &[Token<'_>]) -> bool {
    match [text_at(attribute, 1), text_at(attribute, 2)] {
        ["test", "]"] => true,
        ["cfg", "("] => {
            let words = attribute.iter().map(|token| token.text);
            words.clone().any(|word| word == "test") && words.clone().all(|word| word != "not")
        }
        _ => false,
    }
}

/// The number of tokens of an item, a field or a statement.
fn item(tokens: &[Token<'_>]) -> usize {
    let is_value = ["use", "static", "type", "let"].contains(&text_at(tokens, 0))
        || text_at(tokens, 0) == "const" && text_at(tokens, 1) != "fn";
    let mut at = 0;
    while at < tokens.len() {
        let rest = tokens.get(at..).unwrap_or_default();
        match text_at(rest, 0) {
            ";" => return at + 1,
            // The end of the enclosing group.
            ")" | "]" | "}" => return at,
            "{" if !is_value => return at + bracketed(rest),
            "(" | "[" | "{" => at += bracketed(rest),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(source: &str) -> Vec<String> {
        parse(source).paths.iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn imports_are_read_whatever_their_form() {
        assert_eq!(paths("use crate::a::b;"), ["crate::a::b"]);
        assert_eq!(
            paths("pub use super::a::{b, c::{self, d}, e::*};"),
            ["super::a::b", "super::a::c::self", "super::a::c::d", "super::a::e"]
        );
        assert_eq!(paths("use crate::{\n a::b as c,\n d,\n};"), ["crate::a::b", "crate::d"]);
        assert_eq!(
            paths("fn f() -> crate::a::T<crate::b::U> { x.c::<D>(); e::f::<G>(1) }"),
            ["crate::a::T", "crate::b::U", "e::f"]
        );
        assert_eq!(paths("pub(super) fn f(x: self::T) {} pub(in crate::a) struct S;"), ["self::T", "crate::a"]);
    }

    #[test]
    fn what_is_for_tests_alone_is_left_out() {
        let source = "use crate::a::A;\n#[cfg(test)]\nuse crate::b::{B, C};\nfn f() {\n #[cfg(test)]\n let x = crate::c::C { y: 1 };\n crate::d::d()\n}\n#[cfg(test)]\n#[expect(dead_code)]\nmod tests {\n use crate::e;\n}\n";
        assert_eq!(paths(source), ["crate::a::A", "crate::d::d"]);
        assert_eq!(parse(source).lines, 4);
        assert_eq!(
            paths("#[cfg(all(test, unix))] const fn f() { crate::a::b() } #[cfg(not(test))] use crate::c::d;"),
            ["crate::c::d"]
        );
        assert_eq!(paths("#![cfg(test)]\nuse crate::a;"), [""; 0]);
        assert_eq!(parse("#[cfg(test)]\nmod tests;\nmod a;").children, [["a"]]);
    }

    #[test]
    fn modules_are_read_with_what_is_around_them() {
        let source = parse(
            "mod a; mod b { use super::x::Y; mod c; fn f() { if d {} } } mod e; #[path = \"../f.rs\"] mod f; use crate::g::H;",
        );
        assert_eq!(source.children, [vec!["a"], vec!["b", "c"], vec!["e"]]);
        assert_eq!(source.inline, [["b"]]);
        let within: Vec<_> =
            source.paths.iter().map(|named| (named.segments.join("::"), named.within.clone())).collect();
        assert_eq!(within, [("super::x::Y".to_owned(), vec!["b".to_owned()]), ("crate::g::H".to_owned(), vec![])]);
    }
}
