//! Commands that must not be sent over a connection that calls share: they change the connection,
//! hold it, or make it send what nobody asked for.

/// Commands that are refused whatever their arguments.
const NAMES: &[&str] = &[
    // What follows is no longer one reply for each command.
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
    "MONITOR",
    "SYNC",
    "PSYNC",
    "REPLCONF",
    // The connection waits, and all others that share it.
    "BLPOP",
    "BRPOP",
    "BLMOVE",
    "BLMPOP",
    "BRPOPLPUSH",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
    // The state of the connection is the library's.
    "HELLO",
    "AUTH",
    "RESET",
    "QUIT",
    "SELECT",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH",
    "UNWATCH",
    "ASKING",
    "READONLY",
    "READWRITE",
];

/// Subcommands that are refused.
const SUBCOMMANDS: &[(&str, &[&str])] = &[
    (
        "CLIENT",
        &[
            "REPLY",
            "TRACKING",
            "CACHING",
            "SETNAME",
            "SETINFO",
            "NO-EVICT",
            "NO-TOUCH",
            "CAPA",
            "IMPORT-SOURCE",
            "NO-LOOP",
        ],
    ),
    ("SCRIPT", &["DEBUG"]),
];

/// Commands that wait only with an option, and the word behind which the option no longer stands.
const WAITING: &[(&str, &str, &[u8])] =
    &[("XREAD", "XREAD BLOCK", b"STREAMS"), ("XREADGROUP", "XREADGROUP BLOCK", b"STREAMS")];

/// Commands that wait for replicas: they go over a connection of their own.
const SLOW: &[&str] = &["WAIT", "WAITAOF"];

/// The name of a command that must not be sent.
pub fn forbidden(words: &[&[u8]]) -> Option<String> {
    let (name, rest) = words.split_first()?;
    if let Some(found) = find(NAMES, name) {
        return Some(found.to_owned());
    }
    for (command, subcommands) in SUBCOMMANDS {
        if is(command, name) {
            let found = rest.first().and_then(|word| find(subcommands, word));
            return found.map(|found| format!("{command} {found}"));
        }
    }
    let (_, shown, end) = WAITING.iter().find(|(command, ..)| is(command, name))?;
    let mut options = rest.iter().take_while(|word| !word.eq_ignore_ascii_case(end));
    options.any(|word| word.eq_ignore_ascii_case(b"BLOCK")).then(|| (*shown).to_owned())
}

/// Whether a command may take its time without a fault of the server.
pub fn is_slow(words: &[&[u8]]) -> bool {
    words.first().is_some_and(|name| find(SLOW, name).is_some())
}

fn find(names: &[&'static str], word: &[u8]) -> Option<&'static str> {
    names.iter().find(|name| is(name, word)).copied()
}

fn is(name: &str, word: &[u8]) -> bool {
    name.len() == word.len() && name.as_bytes().eq_ignore_ascii_case(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(command: &str) -> Option<String> {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        forbidden(&words)
    }

    #[test]
    fn a_command_that_would_take_the_connection_is_refused_by_name() {
        for (command, name) in [
            ("subscribe c", "SUBSCRIBE"),
            ("Blpop l 0", "BLPOP"),
            ("MULTI", "MULTI"),
            ("select 1", "SELECT"),
            ("client reply off", "CLIENT REPLY"),
            ("script debug yes", "SCRIPT DEBUG"),
            ("xread count 1 block 0 streams s $", "XREAD BLOCK"),
            ("XREADGROUP GROUP g c BLOCK 5 STREAMS s >", "XREADGROUP BLOCK"),
        ] {
            assert_eq!(refused(command).as_deref(), Some(name), "{command}");
        }
    }

    #[test]
    fn others_are_sent() {
        let allowed =
            ["SET k v", "CLIENT LIST", "CLIENT", "SCRIPT LOAD x", "XREAD STREAMS block 0", "WAIT 1 10", "", "EVAL x 0"];
        for command in allowed {
            assert_eq!(refused(command), None, "{command}");
        }
        assert!(is_slow(&[b"wait", b"1", b"0"]));
        assert!(!is_slow(&[b"GET", b"wait"]));
        assert_eq!(forbidden(&[]), None);
    }
}
