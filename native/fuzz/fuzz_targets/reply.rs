//! Reads replies of a server: in pieces they equal the whole, and the limits hold.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use vdr_replica::resp::reply::{Reply, ReplyError, ReplyLimits, ReplyReader};

const LIMITS: ReplyLimits = ReplyLimits { bytes_max: 4096, depth_max: 8, elements_max: 256 };

/// All replies, and the error behind them.
fn replies(input: &[u8], piece: usize) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut reader, mut buffer, mut all) = (ReplyReader::new(LIMITS), BytesMut::new(), Vec::new());
    for piece in input.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match reader.read(&mut buffer) {
                Ok(Some(reply)) => all.push(reply),
                Ok(None) => break,
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}

/// Elements, depth and bytes of a reply.
fn measure(reply: &Reply) -> (usize, usize, usize) {
    match reply {
        Reply::Array(elements) => elements.iter().map(measure).fold((elements.len(), 1, 0), |all, each| {
            (all.0 + each.0, all.1.max(each.1 + 1), all.2 + each.2)
        }),
        Reply::Simple(bytes) | Reply::Error(bytes) | Reply::Bulk(bytes) => (0, 0, bytes.len()),
        Reply::Integer(_) | Reply::Null => (0, 0, 0),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, input)) = input.split_first() else { return };
    let (whole, error) = replies(input, usize::MAX / 2);
    let (cut, cut_error) = replies(input, usize::from(*piece) % 16 + 1);
    assert_eq!(whole, cut);
    // Of bytes that are no reply, the error shows as many as have arrived.
    assert_eq!(error.as_ref().map(ReplyError::code), cut_error.as_ref().map(ReplyError::code));
    for reply in &whole {
        let (elements, depth, bytes) = measure(reply);
        assert!(elements <= LIMITS.elements_max && depth <= LIMITS.depth_max && bytes <= LIMITS.bytes_max);
    }
});
