//! Checks the shape of the Rust code of this workspace, as part of `make lint`:
//!
//! - No circle of imports between the files of a crate. The report names each import of the circle.
//! - The modules of a crate's root file stand in reading order: none uses one that is declared
//!   below it.
//! - No file of more than [`LINES_MAX`] lines without its tests.
//!
//! The argument is the folder that holds the crates.

#![forbid(unsafe_code)]

mod tokens;
mod source;
mod modules;
mod circles;

use modules::Import;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The most lines that a file may have. Tests do not count, comments and blank lines do.
const LINES_MAX: usize = 500;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: vdr_lint FOLDER");
        return ExitCode::FAILURE;
    };
    match check(&folder) {
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

/// Finds all faults of all crates in a folder.
fn check(folder: &Path) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for root in roots(folder)? {
        let files = modules::read(&root)?;
        let imports = modules::imports(&files);
        let name = |file: usize| files.get(file).map_or(String::new(), |file| relative(folder, &file.path));
        let circles = circles::circles(files.len(), &imports);
        faults.extend(circles.iter().map(|circle| circle_fault(circle, &name)));
        // Without circles an order exists.
        if circles.is_empty() {
            for import in modules::out_of_order(&files, &imports) {
                let (from, to) = (name(import.from), name(import.to));
                let place = format!("{from}:{}: imports `{}` from {to}", import.line, import.path);
                faults.push(format!("{place}, which the root declares below"));
            }
        }
        for file in files.iter().filter(|file| file.lines > LINES_MAX) {
            let (name, lines) = (relative(folder, &file.path), file.lines);
            faults.push(format!("{name}: {lines} lines without its tests, more than {LINES_MAX}"));
        }
    }
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

fn relative(folder: &Path, path: &Path) -> String {
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
