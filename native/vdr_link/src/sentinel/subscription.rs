//! The subscription to `+switch-master` on one Sentinel, and on the next one when that is gone or
//! silent.

use super::config::{REPLY_LIMITS, SentinelConfig};
use super::owner::Owner;
use crate::address::Address;
use crate::client::{Connection, Question};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use vdr_replica::resp::reply::Reply;

const CHANNEL: &[u8] = b"+switch-master";

/// How often the Sentinel is asked for a sign of life, and how many may be missed.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PINGS_MISSED_MAX: u32 = 3;

/// How long to wait when no Sentinel accepts the subscription, and before a lost one is replaced.
const RETRY_WAIT: Duration = Duration::from_secs(1);
const REPLACE_WAIT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub enum Notice {
    /// Subscribed. What was published before has been missed.
    Subscribed,
    /// This Sentinel has switched to another primary, whose address is not mapped yet.
    Switched { sentinel: Address, primary: Address },
}

/// Runs until the receiver of the notices is gone. `sentinels` are the known ones.
pub async fn run(
    config: Arc<SentinelConfig>,
    owner: Arc<dyn Owner>,
    sentinels: watch::Receiver<Vec<Address>>,
    notices: mpsc::Sender<Notice>,
) {
    let mut last: Option<Address> = None;
    while !notices.is_closed() {
        let mut subscribed = false;
        let in_turn = next_after(&sentinels.borrow(), last.as_ref());
        for sentinel in in_turn {
            last = Some(sentinel.clone());
            if let Some(connection) = subscribe(&config, &*owner, &sentinel).await {
                subscribed = true;
                if notices.send(Notice::Subscribed).await.is_err() {
                    return;
                }
                listen(connection, &config, &sentinel, &notices).await;
                break;
            }
        }
        // A Sentinel that accepts and hangs up must not be asked without a pause.
        sleep(if subscribed { REPLACE_WAIT } else { RETRY_WAIT }).await;
    }
}

/// All addresses, beginning behind `last`.
fn next_after(sentinels: &[Address], last: Option<&Address>) -> Vec<Address> {
    let behind = sentinels.iter().position(|sentinel| Some(sentinel) == last).map_or(0, |at| at.saturating_add(1));
    let (before, after) = sentinels.split_at(behind.min(sentinels.len()));
    after.iter().chain(before).cloned().collect()
}

async fn subscribe(config: &SentinelConfig, owner: &dyn Owner, sentinel: &Address) -> Option<Connection> {
    let credentials = config.access.credentials(owner, Question::SentinelPassword).await.ok()?;
    let client = config.access.client(REPLY_LIMITS);
    let mut connection = Connection::open(&sentinel.endpoint(), &client, credentials.as_ref()).await.ok()?;
    let reply = connection.command(&[b"SUBSCRIBE", CHANNEL]).await.ok()?;
    match reply.array()? {
        [kind, channel, Reply::Integer(1)] if kind.bytes() == Some(b"subscribe") => {
            (channel.bytes() == Some(CHANNEL)).then_some(connection)
        }
        _ => None,
    }
}

/// Passes on what the Sentinel publishes, until it is gone or silent.
async fn listen(
    mut connection: Connection,
    config: &SentinelConfig,
    sentinel: &Address,
    notices: &mpsc::Sender<Notice>,
) {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    let mut missed = 0;
    loop {
        tokio::select! {
            reply = connection.next() => {
                let Ok(reply) = reply else { return };
                missed = 0;
                if let Some(primary) = switched_to(&reply, &config.group) {
                    let notice = Notice::Switched { sentinel: sentinel.clone(), primary };
                    if notices.send(notice).await.is_err() {
                        return;
                    }
                }
            }
            _ = pings.tick() => {
                if missed >= PINGS_MISSED_MAX || connection.send(&[b"PING"]).await.is_err() {
                    return;
                }
                missed += 1;
            }
            () = notices.closed() => return,
        }
    }
}

/// The new primary of a message `<group> <old host> <old port> <new host> <new port>`.
fn switched_to(reply: &Reply, group: &str) -> Option<Address> {
    let [kind, channel, text] = reply.array()? else { return None };
    if kind.bytes() != Some(b"message") || channel.bytes() != Some(CHANNEL) {
        return None;
    }
    let mut words = text.text()?.strip_prefix(group)?.strip_prefix(' ')?.split(' ').skip(2);
    let address = Address::from_text(words.next()?, words.next()?);
    if words.next().is_some() { None } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(text: &'static str) -> Reply {
        let bulk = |bytes: &'static [u8]| Reply::Bulk(Bytes::from_static(bytes));
        Reply::Array(vec![bulk(b"message"), bulk(CHANNEL), bulk(text.as_bytes())])
    }

    #[test]
    fn a_message_names_the_new_primary_of_the_group() {
        let expected = Some(Address::new("10.0.0.2", 6380));
        assert_eq!(switched_to(&message("g 10.0.0.1 6379 10.0.0.2 6380"), "g"), expected);
        assert_eq!(switched_to(&message("my group 10.0.0.1 6379 10.0.0.2 6380"), "my group"), expected);
        for odd in ["gg a 1 b 2", "g a 1 b 0", "g a 1 b", "g a 1 b 2 c", "g a 1  2", "g", ""] {
            assert_eq!(switched_to(&message(odd), "g"), None, "{odd}");
        }
        assert_eq!(switched_to(&Reply::Null, "g"), None);
    }

    #[test]
    fn the_next_one_is_the_one_behind_the_last() {
        let all: Vec<Address> = ["a", "b", "c"].map(|host| Address::new(host, 1)).to_vec();
        let hosts = |last| next_after(&all, last).into_iter().map(|address| address.host).collect::<String>();
        assert_eq!(hosts(None), "abc");
        assert_eq!(hosts(Some(&all[1])), "cab");
        assert_eq!(hosts(Some(&all[2])), "abc");
        assert_eq!(hosts(Some(&Address::new("gone", 1))), "abc");
    }
}
