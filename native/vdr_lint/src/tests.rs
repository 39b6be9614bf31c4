use crate::{LINES_MAX, check};
use std::path::PathBuf;

/// A folder with one crate of these files.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("vdr_lint-{}-{name}", std::process::id()));
    for (path, text) in files {
        let path = folder.join("krate/src").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// What is wrong with a crate of these files.
fn faults(name: &str, files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(name, files);
    let faults = check(&folder).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    faults
}

#[test]
fn a_circle_is_reported_with_its_files_and_imports() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\npub use a::A;"),
        ("a/mod.rs", "mod c;\nuse crate::b::B;\npub struct A;"),
        ("a/c.rs", "use super::super::b::B;"),
        ("b.rs", "fn f() {\n    crate::a::A;\n}\npub struct B;"),
    ];
    let expected = "a circle of imports:\n  \
        krate/src/a/mod.rs:2: imports `crate::b::B` from krate/src/b.rs\n  \
        krate/src/b.rs:2: imports `crate::a::A` from krate/src/a/mod.rs";
    assert_eq!(faults("circle", &files), [expected]);
}

#[test]
fn a_child_and_its_parent_are_a_circle_as_any_two() {
    let files = [("main.rs", "mod a;\nuse a::f;"), ("a.rs", "use super::X;")];
    assert_eq!(faults("parent", &files).len(), 1);
    // To declare a module is not to import it, and tests may import what they like.
    let files = [("main.rs", "mod a;\nmod t {}"), ("a.rs", "use super::X;\n#[cfg(test)]\nmod tests { use super::*; }")];
    assert!(faults("declared", &files).is_empty());
}

#[test]
fn a_module_of_the_root_uses_only_those_above_it() {
    let files =
        |root| [("lib.rs", root), ("a.rs", "pub struct A;"), ("b/mod.rs", "mod c;"), ("b/c.rs", "use crate::a::A;")];
    assert!(faults("ordered", &files("mod a;\nmod b;")).is_empty());
    let fault = "krate/src/b/c.rs:1: imports `crate::a::A` from krate/src/a.rs, which the root declares below";
    assert_eq!(faults("unordered", &files("mod b;\nmod a;")), [fault]);
}

#[test]
fn a_file_is_as_long_as_it_is_without_its_tests() {
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(LINES_MAX));
    let whole = "// x\n".repeat(LINES_MAX);
    assert!(faults("short", &[("lib.rs", &format!("{whole}{tests}"))]).is_empty());
    let fault = format!("krate/src/lib.rs: {} lines without its tests, more than {LINES_MAX}", LINES_MAX + 1);
    assert_eq!(faults("long", &[("lib.rs", &format!("{whole}\n{tests}"))]), [fault]);
}

#[test]
fn a_module_without_a_file_is_an_error() {
    let folder = folder("missing", &[("lib.rs", "mod a;")]);
    assert!(check(&folder).unwrap_err().contains("no file of the module a"));
    std::fs::remove_dir_all(folder).unwrap();
}
