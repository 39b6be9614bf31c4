//! Reads snapshot files and payloads of RESTORE: no panic, no more memory than the budget, and the
//! same result in pieces as in one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vdr_data::digest::{Dialect, digest};
use vdr_rdb::{KeyspaceBuilder, Loader, Progress, Survey, restore};

const FREE_BYTES: u64 = 16 << 20;

fn load(input: &[u8], piece: usize) -> Result<String, &'static str> {
    let (mut loader, mut builder) = (Loader::with_free_bytes(FREE_BYTES), KeyspaceBuilder::new());
    for bytes in input.chunks(piece) {
        if let Progress::Done { .. } = loader.feed(bytes, &mut builder).map_err(|error| error.code())? {
            break;
        }
    }
    loader.finish().map_err(|error| error.code())?;
    let keyspace = builder.into_keyspace();
    // A value of an unknown kind has no digest; that is a valid result, too.
    let digest = digest(&keyspace, Dialect::of("redis", "8.0"), 0);
    Ok(digest.map_or_else(|unknown| format!("{unknown:?}"), |digest| digest.to_string()))
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, input)) = input.split_first() else { return };
    let whole = load(input, input.len().max(1));
    let pieces = load(input, usize::from(*piece) + 1);
    // The budget grows with the bytes that have arrived, so only the budget may make a difference.
    if whole != Err("rdb_too_large") && pieces != Err("rdb_too_large") {
        assert_eq!(whole, pieces);
    }
    let mut survey = Survey::new(0);
    let _ = Loader::with_free_bytes(FREE_BYTES).feed(input, &mut survey);
    survey.finish();
    // The input as a DUMP payload whose checksum is "not computed".
    let payload = [input, &[11, 0], &[0; 8]].concat();
    let _ = restore(&payload);
});
