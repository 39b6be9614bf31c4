//! Finds the files of a crate and the imports between them.

use crate::source::{Named, Source, parse};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A file of a crate.
pub struct File {
    pub path: PathBuf,
    /// The path of its module; empty for the root of the crate.
    pub module: Vec<String>,
    pub lines: usize,
    source: Source,
}

/// A path in one file that names something in another.
#[derive(Clone, Debug)]
pub struct Import {
    pub from: usize,
    pub to: usize,
    /// The path as written.
    pub path: String,
    pub line: usize,
}

/// Reads a crate from its root file along the declared modules, without modules for tests.
pub fn read(root: &Path) -> Result<Vec<File>, String> {
    let folder = root.parent().unwrap_or(root);
    let mut files = Vec::new();
    let mut waiting = vec![(root.to_path_buf(), Vec::new())];
    while let Some((path, module)) = waiting.pop() {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let source = parse(&text);
        for child in &source.children {
            let child = [module.clone(), child.clone()].concat();
            let place = child.iter().fold(folder.to_path_buf(), |place, name| place.join(name));
            let candidates = [place.with_extension("rs"), place.join("mod.rs")];
            let found = candidates.into_iter().find(|candidate| candidate.is_file());
            waiting.push((
                found.ok_or_else(|| format!("{}: no file of the module {}", path.display(), child.join("::")))?,
                child,
            ));
        }
        files.push(File { path, module, lines: source.lines, source });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The imports between the files of a crate.
pub fn imports(files: &[File]) -> Vec<Import> {
    let mut modules: HashMap<Vec<String>, usize> = HashMap::new();
    for (at, file) in files.iter().enumerate() {
        modules.insert(file.module.clone(), at);
        modules.extend(file.source.inline.iter().map(|inside| ([file.module.clone(), inside.clone()].concat(), at)));
    }
    let mut imports = Vec::new();
    for (from, file) in files.iter().enumerate() {
        for named in &file.source.paths {
            let Some(to) = target(&file.module, named, &modules).filter(|to| *to != from) else { continue };
            imports.push(Import { from, to, path: named.segments.join("::"), line: named.line });
        }
    }
    imports
}

/// The imports by which a module of the crate's root uses one that is declared below it: the first
/// import of each such pair.
pub fn out_of_order<'i>(files: &[File], imports: &'i [Import]) -> Vec<&'i Import> {
    let declared = files.iter().filter(|file| file.module.is_empty()).flat_map(|root| &root.source.children);
    let order: Vec<&String> = declared.filter_map(|child| child.first()).collect();
    let place = |file: usize| {
        let module = files.get(file)?.module.first()?;
        order.iter().position(|name| *name == module)
    };
    let mut reported = HashSet::new();
    let mut is_upward = |import: &Import| {
        let pair = place(import.from).zip(place(import.to));
        pair.is_some_and(|(from, to)| from < to && reported.insert((from, to)))
    };
    imports.iter().filter(|import| is_upward(import)).collect()
}

/// The file that a path refers to, as far as it names modules of this crate.
fn target(module: &[String], named: &Named, modules: &HashMap<Vec<String>, usize>) -> Option<usize> {
    let mut at = [module, &named.within].concat();
    let mut segments = named.segments.iter().map(String::as_str).peekable();
    match segments.peek().copied()? {
        "crate" => at.clear(),
        "self" | "super" => {}
        // A path that begins with a child of the module. Any other path leads out of the crate, or
        // to something that was imported.
        first => {
            let child = [at.clone(), vec![first.to_owned()]].concat();
            modules.get(&child)?;
        }
    }
    for segment in segments {
        match segment {
            "crate" | "self" => {}
            "super" => {
                at.pop();
            }
            name => {
                at.push(name.to_owned());
                if !modules.contains_key(&at) {
                    at.pop();
                    break;
                }
            }
        }
    }
    modules.get(&at).copied()
}
