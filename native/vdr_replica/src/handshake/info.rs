//! The reply to INFO: what the server says about itself. Versions apply the same command in
//! different ways, and after a partial resync the server is not always the one that wrote the
//! snapshot file. The size of the data decides the way of a full sync.

use vdr_rdb::Server;

/// The longest reply that is accepted. Real ones have some thousand bytes, and a line for each
/// database.
const INFO_BYTES_MAX: usize = 4 << 20;

/// A whole reply: its length, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub struct InfoReply {
    pub len: usize,
    pub info: Info,
}

/// What a server says about itself, as far as it says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub server: Option<Server>,
    /// The bytes of memory that the data takes.
    pub dataset_bytes: Option<u64>,
    /// The last snapshot file that the server wrote to its disk failed.
    pub last_save_failed: bool,
    /// The server is a Sentinel.
    pub is_sentinel: bool,
}

/// Parses the reply at the front of `input`. `Ok(None)`: it is not whole yet. An error: it is no
/// reply.
pub fn parse(input: &[u8]) -> Result<Option<InfoReply>, ()> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() >= INFO_BYTES_MAX { Err(()) } else { Ok(None) };
    };
    let (line, start) = (input.get(..end).unwrap_or_default(), end.saturating_add(2));
    match line.split_first() {
        // The user may not ask, or the server does not know the question.
        Some((b'+' | b'-', _)) => Ok(Some(InfoReply { len: start, info: Info::default() })),
        Some((b'$', digits)) => {
            let len = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
            let len = len.filter(|len| *len <= INFO_BYTES_MAX).ok_or(())?;
            let end = start.saturating_add(len);
            let (Some(text), Some(b"\r\n")) = (input.get(start..end), input.get(end..end.saturating_add(2))) else {
                return if input.len() < end.saturating_add(2) { Ok(None) } else { Err(()) };
            };
            Ok(Some(InfoReply { len: end.saturating_add(2), info: info(text) }))
        }
        _ => Err(()),
    }
}

fn info(text: &[u8]) -> Info {
    let field = |name: &str| {
        let mut lines = text.split(|byte| *byte == b'\n');
        lines.find_map(|line| line.strip_prefix(name.as_bytes())).map(<[u8]>::trim_ascii)
    };
    let number = |name| std::str::from_utf8(field(name)?).ok()?.parse::<u64>().ok();
    let server = |label, name| field(label).map(|value| Server { name, version: text_of(value) });
    Info {
        // Valkey names a version of Redis, too, for clients that look for nothing else.
        server: server("valkey_version:", "valkey").or_else(|| server("redis_version:", "redis")),
        dataset_bytes: number("used_memory_dataset:").or_else(|| number("used_memory:")),
        last_save_failed: field("rdb_last_bgsave_status:").is_some_and(|status| status != b"ok"),
        is_sentinel: field("redis_mode:").or_else(|| field("server_mode:")).is_some_and(|mode| mode == b"sentinel"),
    }
}

fn text_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Vec<u8> {
        format!("${}\r\n{text}\r\n", text.len()).into_bytes()
    }

    fn parsed(text: &str) -> Info {
        parse(&bulk(text)).unwrap().unwrap().info
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
            let info = Info { server: Some(Server { name, version: version.to_owned() }), ..Info::default() };
            assert_eq!(parse(&[&reply[..], b"+OK\r\n"].concat()), Ok(Some(InfoReply { len: reply.len(), info })));
        }
    }

    #[test]
    fn the_size_of_the_data_the_last_save_and_a_sentinel_are_seen() {
        let text = "redis_mode:standalone\r\nused_memory:900000\r\nused_memory_dataset:1234\r\n\
                    rdb_last_bgsave_status:ok\r\n";
        let info = parsed(text);
        assert_eq!((info.dataset_bytes, info.last_save_failed, info.is_sentinel), (Some(1234), false, false));
        assert_eq!(parsed("used_memory:77\r\n").dataset_bytes, Some(77));
        assert_eq!(parsed("used_memory_dataset:many\r\n").dataset_bytes, None);
        assert!(parsed("rdb_last_bgsave_status:err\r\n").last_save_failed);
        assert!(parsed("redis_version:8.6.3\r\nredis_mode:sentinel\r\n").is_sentinel);
        assert!(parsed("server_mode:sentinel\r\n").is_sentinel);
    }

    #[test]
    fn a_server_that_does_not_answer_it_is_followed_all_the_same() {
        for reply in [&b"-NOPERM User repl has no permissions\r\n"[..], b"+OK\r\n", b"$2\r\nhi\r\n"] {
            assert_eq!(parse(reply), Ok(Some(InfoReply { len: reply.len(), info: Info::default() })));
        }
        for bad in [&b"$99999999\r\n"[..], b"$x\r\n", b"$1\r\nabcd", b"HTTP/1.1 400\r\n", &[b'x'; INFO_BYTES_MAX]] {
            assert_eq!(parse(bad), Err(()));
        }
    }
}
