//! The reply to `INFO server`: name and version of the server that is linked to. Versions apply the
//! same command in different ways, and after a partial resync the server is not always the one that
//! wrote the snapshot file.

use vdr_rdb::Server;

/// The longest reply that is accepted. Real ones have about a thousand bytes.
const INFO_BYTES_MAX: usize = 64 << 10;

/// A whole reply: its length, and what it says, if it says it.
#[derive(Debug, PartialEq, Eq)]
pub struct VersionReply {
    pub len: usize,
    pub server: Option<Server>,
}

/// Parses the reply at the front of `input`. `Ok(None)`: it is not whole yet. An error: it is no
/// reply.
pub fn parse(input: &[u8]) -> Result<Option<VersionReply>, ()> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() >= INFO_BYTES_MAX { Err(()) } else { Ok(None) };
    };
    let (line, start) = (input.get(..end).unwrap_or_default(), end.saturating_add(2));
    match line.split_first() {
        // The user may not ask, or the server does not know the question.
        Some((b'+' | b'-', _)) => Ok(Some(VersionReply { len: start, server: None })),
        Some((b'$', digits)) => {
            let len = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
            let len = len.filter(|len| *len <= INFO_BYTES_MAX).ok_or(())?;
            let end = start.saturating_add(len);
            let (Some(text), Some(b"\r\n")) = (input.get(start..end), input.get(end..end.saturating_add(2))) else {
                return if input.len() < end.saturating_add(2) { Ok(None) } else { Err(()) };
            };
            Ok(Some(VersionReply { len: end.saturating_add(2), server: server(text) }))
        }
        _ => Err(()),
    }
}

/// Valkey names a version of Redis, too, for clients that look for nothing else.
fn server(info: &[u8]) -> Option<Server> {
    let named = |field: &str, name| {
        let lines = info.split(|byte| *byte == b'\n');
        let value = lines.filter_map(|line| line.strip_prefix(field.as_bytes())).next()?;
        let version = String::from_utf8_lossy(value.trim_ascii()).into_owned();
        Some(Server { name, version })
    };
    named("valkey_version:", "valkey").or_else(|| named("redis_version:", "redis"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Vec<u8> {
        format!("${}\r\n{text}\r\n", text.len()).into_bytes()
    }

    #[test]
    fn the_servers_own_name_and_version_are_taken() {
        let valkey = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.0\r\n";
        for (text, name, version) in [
            (valkey, "valkey", "9.1.0"),
            ("# Server\r\nredis_version:8.6.3\r\nredis_mode:standalone\r\n", "redis", "8.6.3"),
        ] {
            let reply = bulk(text);
            for cut in 0..reply.len() {
                assert_eq!(parse(&reply[..cut]), Ok(None), "cut at {cut}");
            }
            let server = Some(Server { name, version: version.to_owned() });
            assert_eq!(parse(&[&reply[..], b"+OK\r\n"].concat()), Ok(Some(VersionReply { len: reply.len(), server })));
        }
    }

    #[test]
    fn a_server_that_does_not_answer_it_is_followed_all_the_same() {
        for reply in [&b"-NOPERM User repl has no permissions\r\n"[..], b"+OK\r\n", b"$2\r\nhi\r\n"] {
            assert_eq!(parse(reply), Ok(Some(VersionReply { len: reply.len(), server: None })));
        }
        for bad in [&b"$99999999\r\n"[..], b"$x\r\n", b"$1\r\nabcd", b"HTTP/1.1 400\r\n", &[b'x'; INFO_BYTES_MAX]] {
            assert_eq!(parse(bad), Err(()));
        }
    }
}
