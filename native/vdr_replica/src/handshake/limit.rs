//! The reply to `CONFIG GET proto-max-bulk-len`: the longest string that the server accepts.
//!
//! ```text
//! *2 $18 proto-max-bulk-len $9 536870912
//! *0                                        a server that does not know the name
//! ```

use crate::resp::reply::{Reply, ReplyLimits, parse_front};

pub const NAME: &[u8] = b"proto-max-bulk-len";

/// The longest reply that is accepted: a name and a number.
const LIMITS: ReplyLimits = ReplyLimits { bytes_max: 1024, depth_max: 1, elements_max: 2 };

/// A whole reply: its length, and what it says, if it says it.
#[derive(Debug, PartialEq, Eq)]
pub struct LimitReply {
    pub len: usize,
    pub string_bytes_max: Option<u64>,
}

/// Parses the reply at the front of `input`. `Ok(None)`: it is not whole yet. An error: it is no
/// reply.
pub fn parse(input: &[u8]) -> Result<Option<LimitReply>, ()> {
    let Some((len, reply)) = parse_front(input, LIMITS).map_err(|_| ())? else { return Ok(None) };
    let string_bytes_max = match reply {
        // The user may not ask, or the server does not know the question.
        Reply::Simple(_) | Reply::Error(_) => None,
        Reply::Array(words) => {
            let bulk = |word: &Reply| matches!(word, Reply::Bulk(_));
            if !words.iter().all(bulk) {
                return Err(());
            }
            words.last().and_then(Reply::text).and_then(|text| text.parse().ok())
        }
        _ => return Err(()),
    };
    Ok(Some(LimitReply { len, string_bytes_max }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_limit_is_taken_from_its_answer() {
        for (reply, string_bytes_max) in [
            ("*2\r\n$18\r\nproto-max-bulk-len\r\n$10\r\n1073741824\r\n", Some(1 << 30)),
            ("*0\r\n", None),
            ("-NOPERM this user has no permissions\r\n", None),
            ("-ERR unknown command 'CONFIG'\r\n", None),
        ] {
            for cut in 0..reply.len() {
                assert_eq!(parse(&reply.as_bytes()[..cut]), Ok(None), "cut at {cut}");
            }
            let next = [reply.as_bytes(), b"+OK\r\n"].concat();
            assert_eq!(parse(&next), Ok(Some(LimitReply { len: reply.len(), string_bytes_max })));
        }
    }

    #[test]
    fn what_is_no_such_reply_is_refused() {
        for bad in [&b"$2\r\nhi\r\n"[..], b"*3\r\n", b"*1\r\n:1\r\n", b"*1\r\n$1\r\nabc", &[b'+'; LIMITS.bytes_max]] {
            assert_eq!(parse(bad), Err(()), "{:?}", bad.escape_ascii().to_string());
        }
    }
}
