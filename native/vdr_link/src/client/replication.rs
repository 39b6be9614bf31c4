//! What a server says of its replication: the replies to `INFO replication` and `ROLE`.

use crate::address::Address;
use std::collections::HashMap;
use std::sync::Arc;
use vdr_replica::handshake::Role;
use vdr_replica::resp::reply::Reply;

/// The answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Primary {
        /// Only INFO tells.
        id: Option<Arc<str>>,
        offset: u64,
        /// The id that the primary had as a replica, and up to where that is its history.
        former: Option<(Arc<str>, u64)>,
    },
    /// A replica, and its primary as it names it.
    Replica(Option<Address>),
    /// The user may not ask, or the server does not know the question.
    Refused,
}

/// From the reply to ROLE or to `INFO replication`. None: the reply makes no sense.
pub fn standing(reply: &Reply) -> Option<Standing> {
    match reply {
        Reply::Error(_) => Some(Standing::Refused),
        Reply::Bulk(_) | Reply::Simple(_) => info(reply.text()?),
        Reply::Array(parts) => role(Role::of_reply(reply)?, parts),
        Reply::Integer(_) | Reply::Null => None,
    }
}

fn role(role: Role, parts: &[Reply]) -> Option<Standing> {
    match (role, parts) {
        (Role::Primary, [_, Reply::Integer(offset), ..]) => {
            Some(Standing::Primary { id: None, offset: u64::try_from(*offset).ok()?, former: None })
        }
        (Role::Replica, [_, host, Reply::Integer(port), ..]) => {
            Some(Standing::Replica(host.text().and_then(|host| Address::from_text(host, &port.to_string()))))
        }
        _ => None,
    }
}

fn info(text: &str) -> Option<Standing> {
    let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    match *fields.get("role")? {
        "master" => Some(Standing::Primary {
            id: fields.get("master_replid").filter(|id| is_id(id)).map(|id| Arc::from(*id)),
            offset: fields.get("master_repl_offset")?.parse().ok()?,
            former: former(&fields),
        }),
        "slave" => {
            let address = fields.get("master_host").zip(fields.get("master_port"));
            Some(Standing::Replica(address.and_then(|(host, port)| Address::from_text(host, port))))
        }
        _ => None,
    }
}

/// The server names the first offset that is no longer shared, or -1.
fn former(fields: &HashMap<&str, &str>) -> Option<(Arc<str>, u64)> {
    let id = fields.get("master_replid2").filter(|id| is_id(id))?;
    let first: u64 = fields.get("second_repl_offset")?.parse().ok()?;
    Some((Arc::from(*id), first.checked_sub(1)?))
}

fn is_id(id: &str) -> bool {
    id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn info_tells_both_ids() {
        let (new, old) = ("a".repeat(40), "b".repeat(40));
        let text = |offset: &str, second: &str| {
            bulk(&format!(
                "# Replication\r\nrole:master\r\nmaster_replid:{new}\r\nmaster_replid2:{second}\r\n\
                 master_repl_offset:77\r\nsecond_repl_offset:{offset}\r\n"
            ))
        };
        let id = Some(Arc::from(new.as_str()));
        let former = Some((Arc::from(old.as_str()), 41));
        assert_eq!(standing(&text("42", &old)), Some(Standing::Primary { id: id.clone(), offset: 77, former }));
        let none = Some(Standing::Primary { id, offset: 77, former: None });
        assert_eq!(standing(&text("-1", &"0".repeat(40))), none);
        assert_eq!(standing(&text("-1", &old)), none);
    }

    #[test]
    fn a_replica_names_its_primary() {
        let info = bulk("role:slave\r\nmaster_host:10.0.0.7\r\nmaster_port:6380\r\nmaster_replid:x\r\n");
        let role = Reply::Array(vec![bulk("slave"), bulk("10.0.0.7"), Reply::Integer(6380), bulk("connected")]);
        for reply in [info, role] {
            assert_eq!(standing(&reply), Some(Standing::Replica(Some(Address::new("10.0.0.7", 6380)))));
        }
    }

    #[test]
    fn role_tells_the_offset() {
        let role = Reply::Array(vec![bulk("master"), Reply::Integer(77), Reply::Array(vec![])]);
        assert_eq!(standing(&role), Some(Standing::Primary { id: None, offset: 77, former: None }));
        assert_eq!(standing(&Reply::Error(Bytes::from_static(b"NOPERM"))), Some(Standing::Refused));
        for odd in [
            Reply::Null,
            Reply::Integer(1),
            Reply::Array(vec![]),
            Reply::Array(vec![bulk("sentinel")]),
            Reply::Array(vec![bulk("master"), Reply::Integer(-1)]),
            bulk("role:master\r\n"),
            bulk(""),
        ] {
            assert_eq!(standing(&odd), None, "{odd:?}");
        }
    }
}
