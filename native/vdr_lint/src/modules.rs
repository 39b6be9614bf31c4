//! The files of a crate, and which of them import which.

use crate::source::{Named, Source, parse};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A file of a crate.
pub struct File {
    pub path: PathBuf,
    /// Its module, from the root of the crate: empty for the root.
    pub module: Vec<String>,
    pub lines: usize,
    source: Source,
}

/// One file names something of another.
#[derive(Clone, Debug)]
pub struct Import {
    pub from: usize,
    pub to: usize,
    /// As it stands in the file.
    pub path: String,
    pub line: usize,
}

/// Reads a crate, from its root file along the modules that are declared. Modules for tests are not among them.
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

/// The file that a path leads to, as far as it names modules of this crate.
fn target(module: &[String], named: &Named, modules: &HashMap<Vec<String>, usize>) -> Option<usize> {
    let mut at = [module, &named.within].concat();
    let mut segments = named.segments.iter().map(String::as_str).peekable();
    match segments.peek().copied()? {
        "crate" => at.clear(),
        "self" | "super" => {}
        // A path that begins with a module of the module that it stands in. Any other one leads out of the crate, or to
        // something that was imported.
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
