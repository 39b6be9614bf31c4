use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef01234567";
const PASSWORD: &str = "hunter2";

fn opening(password: Option<&str>, position: Option<u64>) -> Opening {
    Opening {
        credentials: password
            .map(|password| Credentials { username: Some("repl".to_string()), password: Secret::new(password) }),
        listening_port: HIDDEN_LISTENING_PORT,
        role: RoleQuery::Skip,
        ask_version: false,
        sync_by: SyncBy::Socket,
        psync_command: None,
        ask_string_limit: false,
        position: position.map(|offset| Position { replication_id: ID.to_string(), offset }),
    }
}

/// Feeds `replies` cut into pieces of `piece` bytes after a first piece of `first`; gives what was
/// sent, the outcome, and what was left over.
fn run(opening: Opening, replies: &[u8], first: usize, piece: usize) -> (Vec<u8>, Result<Action, Refusal>, Vec<u8>) {
    let (head, tail) = replies.split_at(first);
    let mut pieces = std::iter::once(head).chain(tail.chunks(piece));
    let mut handshake = Handshake::new(opening);
    let (mut sent, mut input) = (Vec::new(), BytesMut::new());
    loop {
        match handshake.advance(&mut input) {
            Ok(Action::Send(bytes)) => sent.extend_from_slice(&bytes),
            Ok(Action::Replied) => {}
            Ok(Action::Wait) => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return (sent, Ok(Action::Wait), input.to_vec()),
            },
            outcome => {
                pieces.for_each(|piece| input.extend_from_slice(piece));
                return (sent, outcome, input.to_vec());
            }
        }
    }
}

fn refusal(opening: Opening, replies: &str) -> Refusal {
    run(opening, replies.as_bytes(), 0, usize::MAX).1.unwrap_err()
}

fn outcome(opening: Opening, replies: &str) -> Result<Action, Refusal> {
    run(opening, replies.as_bytes(), 0, usize::MAX).1
}

/// The replies up to PSYNC of a server that agrees, and PSYNC's.
fn agreed(psync: &str) -> String {
    format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n{psync}")
}

#[test]
fn asks_in_the_order_of_a_real_replica_and_leaves_what_follows() {
    let (sent, outcome, rest) = run(
        opening(Some(PASSWORD), None),
        format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n\n\n+FULLRESYNC {ID} 14\r\n\n$9\r\n").as_bytes(),
        0,
        usize::MAX,
    );
    let expected = [
        command(&[b"PING"]),
        command(&[b"AUTH", b"repl", b"hunter2"]),
        command(&[b"REPLCONF", b"listening-port", b"70000"]),
        command(&[b"REPLCONF", b"capa", b"eof"]),
        command(&[b"REPLCONF", b"capa", b"psync2"]),
        command(&[b"REPLCONF", b"version", b"9.1.0"]),
        command(&[b"PSYNC", b"?", b"-1"]),
    ];
    assert_eq!(sent, expected.concat());
    assert_eq!(outcome, Ok(Action::FullSync { replication_id: ID.to_string(), offset: 14 }));
    assert_eq!(rest, b"\n$9\r\n");
}

#[test]
fn the_version_is_asked_for_before_anything_that_is_only_a_replicas() {
    let info = "redis_version:8.2.1\r\n";
    for (reply, version) in
        [(format!("${}\r\n{info}\r\n", info.len()), Some("8.2.1")), ("-NOPERM no\r\n".to_string(), None)]
    {
        let mut handshake = Handshake::new(Opening { ask_version: true, ..opening(None, Some(7)) });
        let replies = format!("+PONG\r\n\n{reply}+OK\r\n+OK\r\n+OK\r\n+OK\r\n+CONTINUE\r\n");
        let (mut input, mut sent) = (BytesMut::from(replies.as_bytes()), Vec::new());
        let action = loop {
            match handshake.advance(&mut input) {
                Ok(Action::Send(bytes)) => sent.push(bytes),
                Ok(Action::Replied) => {}
                action => break action,
            }
        };
        assert_eq!(action, Ok(Action::Continue { replication_id: ID.to_string() }));
        assert_eq!(sent[0], [command(&[b"PING"]), command(&[b"INFO", b"server"])].concat());
        assert_eq!(handshake.server().map(|server| server.version.as_str()), version);
    }
}

#[test]
fn the_limit_of_strings_is_asked_for_where_it_is_wanted() {
    for (reply, string_bytes_max) in
        [("*2\r\n$18\r\nproto-max-bulk-len\r\n$3\r\n999\r\n", Some(999)), ("-NOPERM no\r\n", None)]
    {
        let mut handshake = Handshake::new(Opening { ask_string_limit: true, ..opening(None, Some(7)) });
        let replies = format!("+PONG\r\n\n{reply}+OK\r\n+OK\r\n+OK\r\n+OK\r\n+CONTINUE\r\n");
        let (mut input, mut sent) = (BytesMut::from(replies.as_bytes()), Vec::new());
        let action = loop {
            match handshake.advance(&mut input) {
                Ok(Action::Send(bytes)) => sent.push(bytes),
                Ok(Action::Replied) => {}
                action => break action,
            }
        };
        assert_eq!(action, Ok(Action::Continue { replication_id: ID.to_string() }));
        assert_eq!(sent[0], [command(&[b"PING"]), command(&[b"CONFIG", b"GET", b"proto-max-bulk-len"])].concat());
        assert_eq!(handshake.string_bytes_max(), string_bytes_max);
    }
}

/// How many commands are sent at a time, if each reply is given only when the link waits for it.
fn commands_of_each_round_trip(opening: Opening, replies: &[&str]) -> Vec<usize> {
    let mut handshake = Handshake::new(opening);
    let (mut replies, mut input, mut sent) = (replies.iter(), BytesMut::new(), Vec::new());
    loop {
        match handshake.advance(&mut input).unwrap() {
            Action::Send(bytes) => sent.push(String::from_utf8(bytes).unwrap().matches('*').count()),
            Action::Wait => match replies.next() {
                Some(reply) => input.extend_from_slice(reply.as_bytes()),
                None => return sent,
            },
            _ => {}
        }
    }
}

#[test]
fn a_handshake_takes_few_round_trips() {
    let asking = |password, sync_by| {
        let role = RoleQuery::Ask;
        Opening { role, sync_by, ask_version: true, ask_string_limit: true, ..opening(password, Some(7)) }
    };
    let answers = ["*0\r\n", "$22\r\nused_memory_dataset:99\r\n", "-ERR no\r\n"];
    let options = ["-ERR no\r\n", "+OK\r\n", "+OK\r\n"];
    let replies = |greeting: &[&'static str]| [greeting, &answers, &options].concat();
    let sent = commands_of_each_round_trip(asking(None, SyncBy::Auto), &replies(&["+PONG\r\n"]));
    assert_eq!(sent, [4, 3, 1], "PING and the questions, the options, PSYNC");
    let sent = commands_of_each_round_trip(asking(Some(PASSWORD), SyncBy::Auto), &replies(&["+PONG\r\n", "+OK\r\n"]));
    assert_eq!(sent, [1, 4, 3, 1], "nobody but a server of this protocol gets the password");
    let more = [replies(&["+PONG\r\n"]), vec!["+OK\r\n"]].concat();
    assert_eq!(commands_of_each_round_trip(asking(None, SyncBy::Socket), &more), [4, 4, 1]);
    assert_eq!(commands_of_each_round_trip(opening(None, None), &["+PONG\r\n"]), [1, 4]);
}

#[test]
fn commands_are_arrays_of_bulk_strings() {
    assert_eq!(command(&[b"AUTH", b"a b\r\n", b""]), b"*3\r\n$4\r\nAUTH\r\n$5\r\na b\r\n\r\n$0\r\n\r\n");
}

#[test]
fn a_password_alone_is_sent_alone() {
    let mut opening = opening(Some(PASSWORD), None);
    opening.credentials.as_mut().unwrap().username = None;
    let (sent, ..) = run(opening, b"+PONG\r\n", 0, 1);
    assert_eq!(sent, [command(&[b"PING"]), command(&[b"AUTH", b"hunter2"])].concat());
}

#[test]
fn every_split_of_the_replies_gives_the_same_outcome() {
    let replies = [
        format!("\n+PONG\r\n+OK\r\n\n+OK\r\n-ERR no\r\n+OK\r\n\n\r\n\n+FULLRESYNC {ID} 9\r\n\n$2\r\nhi"),
        format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n-ERR Unrecognized REPLCONF option: version\r\n+CONTINUE {ID}\r\n*1\r\n"),
        agreed("-NOMASTERLINK Can't SYNC while not connected with my master\r\n"),
    ];
    for replies in &replies {
        let whole = run(opening(None, Some(7)), replies.as_bytes(), 0, usize::MAX);
        assert_ne!(whole.1, Ok(Action::Wait));
        for first in 0..replies.len() {
            assert_eq!(run(opening(None, Some(7)), replies.as_bytes(), first, usize::MAX), whole);
        }
        for piece in 1..4 {
            assert_eq!(run(opening(None, Some(7)), replies.as_bytes(), 0, piece), whole);
        }
    }
}

#[test]
fn nothing_is_sent_before_the_reply_to_the_last_command_is_whole() {
    let mut handshake = Handshake::new(opening(None, None));
    let mut input = BytesMut::new();
    assert!(matches!(handshake.advance(&mut input), Ok(Action::Send(_))));
    for byte in b"\n\n+PONG\r" {
        assert_eq!(handshake.advance(&mut input), Ok(Action::Wait));
        input.extend_from_slice(&[*byte]);
        assert_eq!(handshake.step(), Step::Ping);
    }
    input.extend_from_slice(b"\n");
    assert!(matches!(handshake.advance(&mut input), Ok(Action::Send(_))));
    assert_eq!(handshake.step(), Step::ListeningPort);
}

#[test]
fn asks_for_the_first_byte_that_is_missing() {
    let (sent, ..) = run(opening(None, Some(41)), agreed("").as_bytes(), 0, usize::MAX);
    assert!(sent.ends_with(&command(&[b"PSYNC", ID.as_bytes(), b"42"])));
}

#[test]
fn continues_under_the_id_that_the_primary_names_or_else_the_old_one() {
    let new = "f".repeat(40);
    assert_eq!(
        outcome(opening(None, Some(7)), &agreed(&format!("+CONTINUE {new}\r\n"))),
        Ok(Action::Continue { replication_id: new })
    );
    assert_eq!(
        outcome(opening(None, Some(7)), &agreed("+CONTINUE\r\n")),
        Ok(Action::Continue { replication_id: ID.to_string() })
    );
    assert_eq!(
        outcome(opening(None, Some(7)), &agreed(&format!("+FULLRESYNC {ID} 0\r\n"))),
        Ok(Action::FullSync { replication_id: ID.to_string(), offset: 0 })
    );
}

#[test]
fn a_reply_to_psync_that_makes_no_sense_is_refused() {
    let bad = [
        "+OK".to_string(),
        "+".to_string(),
        "+DUALCHANNELSYNC".to_string(),
        format!("+CONTINUE {ID}"),
        "+CONTINUE".to_string(),
        format!("+FULLRESYNC {ID}"),
        format!("+FULLRESYNC {ID} 1 2"),
        format!("+FULLRESYNC {ID}0 1"),
        format!("+FULLRESYNC {} 1", "z".repeat(40)),
        format!("+FULLRESYNC {ID} -1"),
        format!("+FULLRESYNC {ID} +1"),
        format!("+FULLRESYNC {ID} 9223372036854775808"),
        format!("+FULLRESYNC {ID} 99999999999999999999999"),
        "$9".to_string(),
        "*1".to_string(),
    ];
    for reply in bad {
        let refusal = refusal(opening(None, None), &agreed(&format!("{reply}\r\n")));
        assert_eq!((refusal.code(), refusal.command), ("bad_reply", "PSYNC"), "{reply}");
    }
    assert_eq!(
        refusal(opening(None, Some(1)), &agreed("+CONTINUE short\r\n")).code(),
        "bad_reply",
        "an id that no server makes"
    );
}

#[test]
fn whoever_speaks_another_protocol_is_told_by_the_first_byte() {
    for reply in ["HTTP/1.1 400 Bad Request\r\n", "SSH-2.0-x", "\u{16}\u{3}\u{1}", "\0", "$4\r\nPONG\r\n"] {
        let refusal = refusal(opening(None, None), reply);
        assert_eq!((refusal.code(), refusal.retry()), ("not_redis", Retry::Slowly), "{reply:?}");
    }
    let tls = refusal(opening(None, None), "\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{46}");
    assert_eq!((tls.code(), tls.retry()), ("tls_required", Retry::Slowly));
    let shown = refusal(opening(None, None), "HTTP/1.1 400 Bad Request\r\nServer: x\r\n").to_string();
    assert_eq!(shown, "PING: HTTP/1.1 400 Bad Request");
}

#[test]
fn a_line_without_end_is_not_waited_for() {
    let endless = format!("+{}", "x".repeat(MAX_REPLY_BYTES));
    let (_, outcome, _) = run(opening(None, None), endless.as_bytes(), 0, 1000);
    let refusal = outcome.unwrap_err();
    assert_eq!(refusal.code(), "bad_reply");
    assert!(refusal.text.len() <= 160);
}

/// Which reply to which command means what, and whether asking again helps. `None`: the opening
/// goes on.
#[test]
fn refusals_are_told_apart() {
    const PING: &str = "";
    const AUTH: &str = "+PONG\r\n";
    const CONF: &str = "+PONG\r\n+OK\r\n";
    const PSYNC: &str = "+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n";
    use Retry::{Slowly, Soon};
    let rows = [
        (PING, "NOAUTH Authentication required.", None),
        (PING, "NOPERM this user has no permissions to run the 'ping' command", None),
        (PING, "ERR operation not permitted", None),
        (PING, "LOADING Redis is loading the dataset in memory", Some(("loading", Soon))),
        (PING, "MASTERDOWN Link with MASTER is down", Some(("master_down", Soon))),
        (PING, "BUSY Redis is busy running a script.", Some(("busy", Soon))),
        (PING, "MISCONF Errors writing to the AOF file", Some(("misconf", Soon))),
        (PING, "ERR max number of clients reached", Some(("too_many_clients", Soon))),
        (PING, "DENIED Redis is running in protected mode", Some(("protected_mode", Slowly))),
        (AUTH, "WRONGPASS invalid username-password pair or user is disabled.", Some(("wrong_password", Slowly))),
        (AUTH, "ERR invalid password", Some(("wrong_password", Slowly))),
        (AUTH, "ERR Client sent AUTH, but no password is set", Some(("no_password_set", Slowly))),
        (
            AUTH,
            "ERR AUTH <password> called without any password configured for the default user.",
            Some(("no_password_set", Slowly)),
        ),
        (AUTH, "ERR wrong number of arguments for 'auth' command", Some(("refused", Slowly))),
        (CONF, "ERR Unrecognized REPLCONF option: listening-port", None),
        (CONF, "ERR unknown command 'REPLCONF'", None),
        (CONF, "NOPERM User repl has no permissions to run the 'replconf' command", Some(("no_permission", Slowly))),
        (CONF, "NOAUTH Authentication required.", Some(("password_required", Slowly))),
        (PSYNC, "NOPERM User repl has no permissions to run the 'psync' command", Some(("no_permission", Slowly))),
        (PSYNC, "ERR unknown command 'PSYNC', with args beginning with: '?'", Some(("psync_forbidden", Slowly))),
        (PSYNC, "ERR Command is not available: 'PSYNC'.", Some(("psync_forbidden", Slowly))),
        (PSYNC, "ERR command not allowed", Some(("psync_forbidden", Slowly))),
        (PSYNC, "LOADING Redis is loading the dataset in memory", Some(("loading", Soon))),
        (PSYNC, "NOMASTERLINK Can't SYNC while failing over", Some(("no_master_link", Soon))),
        (PSYNC, "ERR Can't SYNC while not connected with my master", Some(("no_master_link", Soon))),
        (PSYNC, "ERR SYNC and PSYNC are invalid with pending output", Some(("pending_output", Soon))),
        (PSYNC, "ERR BGSAVE failed, replication can't continue", Some(("bgsave_failed", Soon))),
        (PSYNC, "ERR wrong number of arguments for 'sync' command", Some(("not_psync", Slowly))),
        (PSYNC, "ERR wrong number of arguments for 'psync' command", Some(("not_psync", Slowly))),
        (PSYNC, "ERR value is not an unsigned long long or out of range", Some(("other_replication", Slowly))),
        (PSYNC, "ERR sequence out of range, please use fullsync", Some(("other_replication", Slowly))),
        (PSYNC, "ERR wrong replication id of the last log", Some(("other_replication", Slowly))),
        (PSYNC, "ERR:18,msg:unknown", Some(("other_replication", Slowly))),
        (PSYNC, "ERR something new", Some(("refused", Soon))),
        (PSYNC, "", Some(("refused", Soon))),
    ];
    for (before, error, expected) in rows {
        let outcome = outcome(opening(Some(PASSWORD), None), &format!("{before}-{error}\r\n"));
        let found = outcome.err().map(|refusal| (refusal.code(), refusal.retry()));
        assert_eq!(found, expected, "{error}");
    }
}

#[test]
fn without_a_password_to_give_a_server_that_wants_one_is_a_refusal() {
    for reply in ["-NOAUTH Authentication required.\r\n", "-ERR operation not permitted\r\n"] {
        let refusal = refusal(opening(None, None), reply);
        assert_eq!((refusal.code(), refusal.retry()), ("password_required", Retry::Slowly));
    }
}

#[test]
fn a_secret_is_never_shown() {
    let opening = opening(Some(PASSWORD), None);
    let handshake = Handshake::new(opening.clone());
    assert!(format!("{opening:?} {handshake:?}").contains("[secret]"));
    let replies = [
        "+PONG\r\n-ERR unknown command 'AUTH', with args beginning with: 'repl' 'hunter2'\r\n".to_string(),
        "+PONG\r\n-WRONGPASS hunter2 is wrong\r\n".to_string(),
        "+PONG\r\n-hunter2\r\n".to_string(),
        "+PONG\r\nhunter2\r\n".to_string(),
        "-ERR hunter2\r\n".to_string(),
        format!("+PONG\r\n{}-ERR you said hunter2\r\n", "+OK\r\n".repeat(5)),
    ];
    for reply in &replies {
        let refusal = refusal(opening.clone(), reply);
        let shown = format!("{refusal} {refusal:?} {opening:?} {handshake:?}");
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
    let shouted =
        Opening { credentials: Some(Credentials { username: None, password: Secret::new("HUNTER") }), ..opening };
    assert!(!refusal(shouted, "+PONG\r\n-HUNTER\r\n").to_string().contains("HUNTER"));
}

#[test]
fn what_a_server_says_is_escaped_and_bounded() {
    let refusal = refusal(opening(None, None), &format!("-ERR \u{1b}[31m{}\r\n", "x".repeat(1000)));
    assert!(refusal.text.starts_with("ERR \\x1b[31mx"));
    assert!(refusal.text.len() < 200);
}

fn asking(role: RoleQuery) -> Opening {
    Opening { role, ..opening(None, None) }
}

#[test]
fn the_role_is_asked_after_the_greeting_and_remembered() {
    let primary = "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n";
    for piece in [1, 3, usize::MAX] {
        let replies = format!("+PONG\r\n{primary}+OK\r\n+OK\r\n+OK\r\n+OK\r\n+FULLRESYNC {ID} 14\r\n");
        let (sent, outcome, _) = run(asking(RoleQuery::Expect(Role::Primary)), replies.as_bytes(), 0, piece);
        assert!(sent.starts_with(&[command(&[b"PING"]), command(&[b"ROLE"])].concat()));
        assert!(matches!(outcome, Ok(Action::FullSync { .. })));
    }
    let mut handshake = Handshake::new(asking(RoleQuery::Ask));
    let mut input = BytesMut::from(format!("+PONG\r\n{primary}").as_bytes());
    while handshake.step() != Step::ListeningPort {
        handshake.advance(&mut input).unwrap();
    }
    assert_eq!(handshake.role(), Some(Role::Primary));
}

#[test]
fn a_server_of_another_role_than_expected_is_refused() {
    let replica = "+PONG\r\n*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:7\r\n";
    let refused = refusal(asking(RoleQuery::Expect(Role::Primary)), replica);
    assert_eq!((refused.kind, refused.text.as_str()), (RefusalKind::WrongRole, "replica"));
    assert_eq!(refused.retry(), Retry::Soon);
    let sentinel = "+PONG\r\n*2\r\n$8\r\nsentinel\r\n*0\r\n";
    assert_eq!(refusal(asking(RoleQuery::Expect(Role::Replica)), sentinel).kind, RefusalKind::WrongRole);
    assert_eq!(refusal(asking(RoleQuery::Ask), sentinel).code(), "sentinel_port", "when no Sentinel named it");
}

#[test]
fn a_server_that_does_not_tell_its_role_is_followed_all_the_same() {
    for said in ["-NOPERM this user has no permissions to run the 'role' command", "-ERR unknown command 'ROLE'", "+OK"]
    {
        let replies = format!("+PONG\r\n{said}\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+FULLRESYNC {ID} 14\r\n");
        let outcome = outcome(asking(RoleQuery::Expect(Role::Primary)), &replies);
        assert!(matches!(outcome, Ok(Action::FullSync { .. })), "{said}: {outcome:?}");
    }
}

fn by(sync_by: SyncBy) -> Opening {
    Opening { sync_by, ..opening(None, None) }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

const ANNOUNCED: [&[u8]; 3] = [b"REPLCONF", b"capa", b"eof"];

/// Whether the file comes by disk, if the server answers INFO with this.
fn goes_by_disk(info: &str) -> bool {
    let replies = format!("+PONG\r\n{info}+OK\r\n+OK\r\n+OK\r\n");
    let (sent, outcome, _) = run(by(SyncBy::Auto), replies.as_bytes(), 0, 7);
    assert_eq!(outcome, Ok(Action::Wait));
    assert!(sent.starts_with(&[command(&[b"PING"]), command(&[b"INFO"])].concat()));
    let announced = command(&ANNOUNCED);
    !sent.windows(announced.len()).any(|window| window == announced)
}

#[test]
fn small_data_comes_by_the_servers_disk_and_all_else_by_the_socket() {
    let info = |bytes: u64, status: &str| {
        bulk(&format!("used_memory:9\r\nused_memory_dataset:{bytes}\r\nrdb_last_bgsave_status:{status}\r\n"))
    };
    assert!(goes_by_disk(&info(0, "ok")));
    assert!(goes_by_disk(&info(DISK_BYTES_MAX, "ok")));
    assert!(!goes_by_disk(&info(DISK_BYTES_MAX + 1, "ok")));
    assert!(!goes_by_disk(&info(1, "err")), "the disk failed before");
    assert!(!goes_by_disk(&bulk("redis_version:7.2.4\r\n")), "no size is told");
    assert!(!goes_by_disk("-NOPERM no\r\n"));
}

#[test]
fn the_way_that_is_asked_for_is_taken_without_a_question() {
    for (sync_by, announced) in [(SyncBy::Disk, false), (SyncBy::Socket, true)] {
        let (sent, ..) = run(by(sync_by), b"+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n", 0, usize::MAX);
        let mut expected = vec![command(&[b"PING"]), command(&[b"REPLCONF", b"listening-port", b"70000"])];
        expected.extend(announced.then(|| command(&ANNOUNCED)));
        expected.push(command(&[b"REPLCONF", b"capa", b"psync2"]));
        expected.push(command(&[b"REPLCONF", b"version", b"9.1.0"]));
        expected.push(command(&[b"PSYNC", b"?", b"-1"]));
        assert_eq!(sent, expected.concat());
    }
}

fn renamed(position: Option<u64>) -> Opening {
    Opening { psync_command: Some(Secret::new("Xk3")), ..opening(None, position) }
}

#[test]
fn psync_goes_by_the_name_that_the_server_has_for_it() {
    let (sent, outcome, _) = run(renamed(Some(41)), agreed(&format!("+CONTINUE {ID}\r\n")).as_bytes(), 0, usize::MAX);
    assert!(sent.ends_with(&command(&[b"Xk3", ID.as_bytes(), b"42"])));
    assert_eq!(outcome, Ok(Action::Continue { replication_id: ID.to_string() }));
    let replies = agreed(&format!("+FULLRESYNC {ID} 9\r\n"));
    let (sent, outcome, _) = run(renamed(None), replies.as_bytes(), 0, usize::MAX);
    assert!(sent.ends_with(&command(&[b"Xk3", b"?", b"-1"])));
    assert_eq!(outcome, Ok(Action::FullSync { replication_id: ID.to_string(), offset: 9 }));
}

#[test]
fn a_server_that_takes_the_other_name_for_sync_sends_the_file_at_once() {
    for (position, piece) in [(None, usize::MAX), (Some(7), 1)] {
        let (_, outcome, rest) = run(renamed(position), agreed("\n\n$9\r\nREDIS").as_bytes(), 0, piece);
        assert_eq!(outcome, Ok(Action::BareSync));
        assert_eq!(rest, b"$9\r\nREDIS", "the header is the file's");
    }
    let (_, outcome, _) = run(renamed(None), agreed("\n").as_bytes(), 0, usize::MAX);
    assert_eq!(outcome, Ok(Action::Wait));
    assert_eq!(refusal(opening(None, None), &agreed("$9\r\n")).code(), "bad_reply", "PSYNC itself is not answered so");
}

#[test]
fn the_other_name_of_psync_is_never_shown() {
    let refused = refusal(renamed(None), &agreed("-ERR unknown command 'xK3', with args beginning with: '?'\r\n"));
    assert_eq!((refused.code(), refused.text.as_str()), ("psync_forbidden", ""));
    assert!(!format!("{:?}", Handshake::new(renamed(None))).contains("Xk3"));
}

#[test]
fn an_active_replica_of_keydb_and_a_sentinel_are_told_as_such() {
    let refused = refusal(opening(None, None), "+PONG\r\n+OK\r\n+OK active-replica\r\n");
    assert_eq!((refused.code(), refused.retry()), ("active_replication", Retry::Slowly));
    let sentinel = bulk("redis_version:8.6.3\r\nredis_mode:sentinel\r\n");
    let refused = refusal(by(SyncBy::Auto), &format!("+PONG\r\n{sentinel}"));
    assert_eq!((refused.code(), refused.retry(), refused.command), ("sentinel_port", Retry::Slowly, "INFO"));
}
