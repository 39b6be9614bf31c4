//! The reply to ROLE: what the server says that it is. Only the first word matters.
//!
//! ```text
//! *3 $6 master :3129659 *1 *3 $9 127.0.0.1 $4 9001 $7 3129242
//! *5 $5 slave $9 127.0.0.1 :9000 $9 connected :3167038
//! ```

use crate::resp::reply::{Reply, ReplyLimits, parse_front};

/// The longest reply that is accepted. Each replica of the server adds about 60 bytes to it.
const MAX_ROLE_BYTES: usize = 64 * 1024;

const LIMITS: ReplyLimits = ReplyLimits { bytes_max: MAX_ROLE_BYTES, depth_max: 4, elements_max: MAX_ROLE_BYTES };

/// The role of a server, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    Replica,
}

impl Role {
    /// The name shown to users.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }

    /// The role in a reply to ROLE. None: another reply, or that of a server without data.
    pub fn of_reply(reply: &Reply) -> Option<Self> {
        match word(reply)? {
            b"master" => Some(Role::Primary),
            b"slave" => Some(Role::Replica),
            _ => None,
        }
    }
}

/// Whether the handshake asks for the server's role. ROLE needs a permission that replication does
/// not need; a server that refuses to answer is followed all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoleQuery {
    #[default]
    Skip,
    Ask,
    /// A server that answers with another role is refused.
    Expect(Role),
}

/// A whole reply: its length, and the role, if it is that of a server with data.
#[derive(Debug, PartialEq, Eq)]
pub struct RoleReply {
    pub len: usize,
    pub role: Option<Role>,
    pub is_sentinel: bool,
}

/// Parses the reply at the front of `input`. `Ok(None)`: it is not whole yet. An error: it is no
/// reply.
pub fn parse(input: &[u8]) -> Result<Option<RoleReply>, ()> {
    Ok(parse_front(input, LIMITS).map_err(|_| ())?.map(|(len, reply)| RoleReply {
        len,
        role: Role::of_reply(&reply),
        is_sentinel: word(&reply) == Some(b"sentinel"),
    }))
}

fn word(reply: &Reply) -> Option<&[u8]> {
    reply.array()?.first()?.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &[u8] =
        b"*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$7\r\n3129242\r\n";
    const REPLICA: &[u8] = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$9\r\nconnected\r\n:3167038\r\n";

    #[test]
    fn the_first_word_is_the_role_and_the_whole_reply_is_taken() {
        for (reply, role) in [(PRIMARY, Some(Role::Primary)), (REPLICA, Some(Role::Replica))] {
            let more = [reply, b"+OK\r\n"].concat();
            assert_eq!(parse(&more), Ok(Some(RoleReply { len: reply.len(), role, is_sentinel: false })));
        }
        let sentinel = b"*2\r\n$8\r\nsentinel\r\n*1\r\n$6\r\nmaster\r\n";
        let reply = RoleReply { len: sentinel.len(), role: None, is_sentinel: true };
        assert_eq!(parse(sentinel), Ok(Some(reply)));
    }

    #[test]
    fn a_reply_cut_anywhere_is_waited_for() {
        for cut in 0..PRIMARY.len() {
            assert_eq!(parse(&PRIMARY[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_reply_or_never_ends_is_refused() {
        assert_eq!(parse(b"HTTP/1.1 400\r\n"), Err(()));
        assert_eq!(parse(b"*99999999999999999999\r\n"), Err(()));
        assert_eq!(parse(b"$99999999\r\n"), Err(()));
        assert_eq!(parse(&b"*2\r\n".repeat(MAX_ROLE_BYTES / 4)), Err(()));
        assert_eq!(parse(&vec![b'x'; MAX_ROLE_BYTES]), Err(()));
    }
}
