//! Snapshot files on disk as NIFs: loaded or surveyed, a few megabytes per call, so that the caller
//! can show progress and stop at any time.

use crate::dropper;
use crate::source::Source;
use crate::terms;
use parking_lot::Mutex;
use rustler::types::atom;
use rustler::{Atom, Binary, Encoder, Env, NifResult, Resource, ResourceArc, Term};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use vdr_link::now_ms;
use vdr_rdb::{KeyspaceBuilder, Loader, Progress, RdbError, Survey};
use vdr_replica::live::Snapshot;

/// The bytes of a file that one call reads.
const STEP_BYTES: u64 = 4 << 20;
const CHUNK_BYTES: usize = 256 << 10;

mod atoms {
    rustler::atoms! { load, survey, more, closed, enoent, eacces, eisdir, not_a_file, io_error }
}

/// A file that is being read.
pub struct RdbFile {
    reading: Mutex<Option<Reading>>,
}

struct Reading {
    file: File,
    loader: Loader,
    product: Product,
    total_bytes: u64,
}

/// The result that the file is read for.
enum Product {
    Keyspace(Box<KeyspaceBuilder>),
    Survey(Box<Survey>),
}

#[rustler::resource_impl]
impl Resource for RdbFile {}

impl Drop for RdbFile {
    fn drop(&mut self) {
        dropper::defer_drop(self.reading.get_mut().take());
    }
}

enum Fault {
    Io(io::Error),
    Rdb(RdbError),
}

impl Reading {
    /// Reads the next step. Answers whether the file has ended.
    fn step(&mut self, chunk: &mut [u8]) -> Result<bool, Fault> {
        let until = self.loader.offset_bytes().saturating_add(STEP_BYTES);
        while self.loader.offset_bytes() < until {
            let len = self.file.read(chunk).map_err(Fault::Io)?;
            let bytes = chunk.get(..len).unwrap_or_default();
            let progress = match &mut self.product {
                Product::Keyspace(builder) => self.loader.feed(bytes, builder.as_mut()),
                Product::Survey(survey) => self.loader.feed(bytes, survey.as_mut()),
            };
            // Bytes behind the end of a snapshot are ignored.
            if let Progress::Done { .. } = progress.map_err(Fault::Rdb)? {
                return Ok(true);
            }
            if len == 0 {
                self.loader.finish().map_err(Fault::Rdb)?;
            }
        }
        Ok(false)
    }
}

/// `{:ok, file, bytes}` or `{:error, reason}`. The purpose is `:load` or `:survey`.
#[rustler::nif(schedule = "DirtyIo")]
fn rdb_open<'a>(env: Env<'a>, path: Binary<'a>, purpose: Atom) -> NifResult<Term<'a>> {
    let product = if purpose == atoms::load() {
        Product::Keyspace(Box::new(KeyspaceBuilder::new()))
    } else if purpose == atoms::survey() {
        Product::Survey(Box::new(Survey::new(now_ms())))
    } else {
        return Err(rustler::Error::BadArg);
    };
    Ok(match open(Path::new(std::ffi::OsStr::from_bytes(path.as_slice()))) {
        Ok((file, total_bytes)) => {
            let reading = Reading { file, loader: Loader::new(), product, total_bytes };
            let file = ResourceArc::new(RdbFile { reading: Mutex::new(Some(reading)) });
            (atom::ok(), file, total_bytes).encode(env)
        }
        Err(reason) => env.error_tuple(reason),
    })
}

/// Checks the file type first, since opening a pipe would wait for its other end.
fn open(path: &Path) -> Result<(File, u64), Atom> {
    let about = std::fs::metadata(path).map_err(|error| io_reason(&error))?;
    if about.is_dir() {
        return Err(atoms::eisdir());
    }
    if !about.is_file() {
        return Err(atoms::not_a_file());
    }
    Ok((File::open(path).map_err(|error| io_reason(&error))?, about.len()))
}

fn io_reason(error: &io::Error) -> Atom {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => atoms::enoent(),
        io::ErrorKind::PermissionDenied => atoms::eacces(),
        io::ErrorKind::IsADirectory => atoms::eisdir(),
        _ => atoms::io_error(),
    }
}

/// `{:more, bytes}`, or the end: `{:ok, source}`, `{:ok, survey}` or `{:error, reason}`. Then the
/// file is closed.
#[rustler::nif(schedule = "DirtyIo")]
fn rdb_step<'a>(env: Env<'a>, file: ResourceArc<RdbFile>) -> Term<'a> {
    // Taken out instead of locked: meanwhile another process with the same file finds it closed.
    let Some(mut reading) = file.reading.lock().take() else { return env.error_tuple(atoms::closed()) };
    let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(reading.total_bytes).unwrap_or(CHUNK_BYTES)).max(1)];
    match reading.step(&mut chunk) {
        Ok(false) => {
            let bytes = reading.loader.offset_bytes();
            *file.reading.lock() = Some(reading);
            (atoms::more(), bytes).encode(env)
        }
        Ok(true) => (atom::ok(), product(env, reading)).encode(env),
        Err(fault) => {
            dropper::defer_drop(reading);
            match fault {
                Fault::Io(error) => env.error_tuple(io_reason(&error)),
                Fault::Rdb(error) => env.error_tuple(terms::rdb_error(env, &error)),
            }
        }
    }
}

fn product(env: Env<'_>, reading: Reading) -> Term<'_> {
    match reading.product {
        Product::Keyspace(builder) => {
            let server = builder.summary().server.clone().map(Arc::new);
            Source::fixed(Snapshot { keyspace: builder.into_keyspace(), server, ..Snapshot::default() }).encode(env)
        }
        Product::Survey(mut survey) => {
            survey.finish();
            terms::survey(env, &survey, reading.loader.version(), reading.loader.offset_bytes())
        }
    }
}
