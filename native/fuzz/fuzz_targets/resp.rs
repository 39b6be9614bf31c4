//! Decodes frames of the command stream: in pieces they equal the whole, and their stated lengths
//! are right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vdr_replica::resp::Decoder;

/// The arguments of every frame; no frame follows an error.
fn frames(input: &[u8], piece: usize) -> (Vec<Vec<Vec<u8>>>, bool) {
    let (mut decoder, mut all, mut from, mut to) = (Decoder::new(), Vec::new(), 0, 0);
    loop {
        match decoder.decode(&input[from..to]) {
            Err(_) => return (all, true),
            Ok(Some(frame)) => {
                all.push(decoder.args(&input[from..to]).map(<[u8]>::to_vec).collect());
                from += frame.skipped + frame.len;
                assert!(from <= to);
            }
            Ok(None) if to == input.len() => return (all, false),
            Ok(None) => to = (to + piece).min(input.len()),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, input)) = input.split_first() else { return };
    let whole = frames(input, usize::MAX / 2);
    assert_eq!(whole, frames(input, usize::from(*piece) % 16 + 1));
});
