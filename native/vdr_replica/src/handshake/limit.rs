//! The reply to `CONFIG GET proto-max-bulk-len`: the longest string that the server accepts.
//!
//! ```text
//! *2 $18 proto-max-bulk-len $9 536870912
//! *0                                        a server that does not know the name
//! ```

pub const NAME: &[u8] = b"proto-max-bulk-len";

/// The longest reply that is accepted.
const REPLY_BYTES_MAX: usize = 1024;

/// A whole reply: its length, and what it says, if it says it.
#[derive(Debug, PartialEq, Eq)]
pub struct LimitReply {
    pub len: usize,
    pub string_bytes_max: Option<u64>,
}

/// Parses the reply at the front of `input`. `Ok(None)`: it is not whole yet. An error: it is no
/// reply.
pub fn parse(input: &[u8]) -> Result<Option<LimitReply>, ()> {
    let missing = || if input.len() >= REPLY_BYTES_MAX { Err(()) } else { Ok(None) };
    let Some((line, mut at)) = line(input, 0) else { return missing() };
    let count = match line.split_first() {
        // The user may not ask, or the server does not know the question.
        Some((b'+' | b'-', _)) => 0,
        Some((b'*', digits)) => number(digits).filter(|count| *count <= 2).ok_or(())?,
        _ => return Err(()),
    };
    let mut value = None;
    for _ in 0..count {
        let Some((line, start)) = self::line(input, at) else { return missing() };
        let Some((b'$', digits)) = line.split_first() else { return Err(()) };
        let len = number(digits).and_then(|len| usize::try_from(len).ok()).filter(|len| *len < REPLY_BYTES_MAX);
        let end = start.saturating_add(len.ok_or(())?);
        match (input.get(start..end), input.get(end..end.saturating_add(2))) {
            (Some(text), Some(b"\r\n")) => value = number(text),
            (_, Some(_)) => return Err(()),
            _ => return missing(),
        }
        at = end.saturating_add(2);
    }
    Ok(Some(LimitReply { len: at, string_bytes_max: value }))
}

/// The line that begins at `at`, and where the next one begins.
fn line(input: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = input.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((rest.get(..end)?, at.saturating_add(end).saturating_add(2)))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
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
        for bad in [&b"$2\r\nhi\r\n"[..], b"*3\r\n", b"*1\r\n:1\r\n", b"*1\r\n$1\r\nabc", &[b'+'; REPLY_BYTES_MAX]] {
            assert_eq!(parse(bad), Err(()), "{:?}", bad.escape_ascii().to_string());
        }
    }
}
