//! Checks the shape of the Rust code of this workspace, as part of `make lint`:
//!
//! - No circle of imports between the files of a crate. The report names each import of the circle.
//! - No file of more than [`LINES_MAX`] lines without its tests.
//!
//! The argument is the folder that holds the crates.

#![forbid(unsafe_code)]

mod tokens;
mod source;
mod modules;
mod circles;

use modules::{File, Import};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The most lines that a file may have. Tests do not count, comments and blank lines do.
const LINES_MAX: usize = 500;

/// Files, from the folder of the crates, that are still in a circle or too long. Each is to go.
const EXCEPTIONS: &[&str] = &[
    "vdr_replica/src/filter/mod.rs",
    "vdr_replica/src/handshake/mod.rs",
];

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: vdr_lint FOLDER");
        return ExitCode::FAILURE;
    };
    match check(&folder, EXCEPTIONS) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            faults.iter().for_each(|fault| println!("{fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("vdr_lint: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every fault of every crate in a folder.
fn check(folder: &Path, exceptions: &[&str]) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    let mut needed = Vec::new();
    for root in roots(folder)? {
        let files = modules::read(&root)?;
        let imports = modules::imports(&files);
        let name = |file: usize| files.get(file).map_or(String::new(), |file| shown(folder, &file.path));
        let excused = |file: usize| exceptions.contains(&name(file).as_str());
        let circled = circles::in_circles(files.len(), &imports);
        let long = |(at, file): (usize, &File)| (file.lines > LINES_MAX).then_some(at);
        let long: Vec<usize> = files.iter().enumerate().filter_map(long).collect();
        needed.extend(circled.into_iter().chain(long.iter().copied()).map(&name));
        // The files that are not excused must be free of circles among themselves.
        let held: Vec<Import> = imports.into_iter().filter(|one| !excused(one.from) && !excused(one.to)).collect();
        faults.extend(circles::circles(files.len(), &held).iter().map(|circle| circle_fault(circle, &name)));
        for file in long.into_iter().filter(|file| !excused(*file)) {
            let lines = files.get(file).map_or(0, |file| file.lines);
            faults.push(format!("{}: {lines} lines without its tests, more than {LINES_MAX}", name(file)));
        }
    }
    let stale = exceptions.iter().filter(|exception| !needed.iter().any(|name| name == **exception));
    faults.extend(stale.map(|name| format!("{name}: no longer needs its exception")));
    Ok(faults)
}

fn circle_fault(circle: &[Import], name: &dyn Fn(usize) -> String) -> String {
    let mut fault = "a circle of imports:".to_owned();
    for import in circle {
        let (from, to) = (name(import.from), name(import.to));
        fault.push_str(&format!("\n  {from}:{}: imports `{}` from {to}", import.line, import.path));
    }
    fault
}

fn shown(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// The root files of all crates in a folder.
fn roots(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut roots = Vec::new();
    for entry in entries {
        let source = entry.map_err(|error| error.to_string())?.path().join("src");
        roots.extend(["lib.rs", "main.rs"].map(|file| source.join(file)).into_iter().filter(|root| root.is_file()));
    }
    roots.sort();
    Ok(roots)
}

#[cfg(test)]
mod tests;
