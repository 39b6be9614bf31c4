//! Snapshot files that real servers wrote.

use std::path::PathBuf;

/// The project's own files, written by real servers (`bin/make-rdb-fixtures`): the name, the file,
/// the server's answers.
pub fn own_files() -> Vec<(String, Vec<u8>, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vdr_rdb/tests/rdb");
    let answers = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.keys"))).unwrap();
    files(&folder)
        .into_iter()
        .map(|(name, bytes)| {
            let answers = answers(&name);
            (name, bytes, answers)
        })
        .collect()
}

/// A wider collection that stands beside the project on some machines.
pub fn shared_folder() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/rdb");
    let folder = std::env::var_os("VDR_SHARED_RDB").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("no folder {}: only the project's own snapshot files are tested", folder.display());
    None
}

pub fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rdb"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}
