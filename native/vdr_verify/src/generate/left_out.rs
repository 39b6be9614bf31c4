//! Commands that are left out by name, whichever part of the generator made them. The module above
//! and CONTRIBUTING.md say why.

use super::draw::Abilities;
use super::keyspace;
use vdr_testkit::Command;

/// The defaults of `zset-max-listpack-value` and `zset-max-listpack-entries`.
const LISTPACK_MEMBER_BYTES_MAX: usize = 64;
const LISTPACK_MEMBERS_MAX: usize = 128;

pub(super) fn is_left_out(command: &Command, abilities: &Abilities) -> bool {
    breaks_hll(command)
        || mistakes_its_key(command)
        || trims_unsaid(command)
        || abilities.negative_zero && converts_unheard(command)
        || abilities.redis_8_0 && (misses_arguments(command) || forgets_expiry(command))
        || !abilities.entries_miscounted && miscounts_entries(command)
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn is_one_of(word: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| is(word, name))
}

fn has(command: &Command, name: &str) -> bool {
    command.iter().any(|word| is(word, name))
}

/// Whether a command writes into the bytes of a HyperLogLog.
fn breaks_hll(command: &Command) -> bool {
    let names_hll = command.iter().skip(1).any(|word| word.starts_with(b"hll:"));
    names_hll && is_one_of(&command[0], &["setbit", "bitfield", "setrange", "append"])
}

/// Whether an HSETEX has one of its own words in the place of its key.
fn mistakes_its_key(command: &Command) -> bool {
    let is_word = |key: &Vec<u8>| is_one_of(key, &["nx", "xx", "fnx", "fxx", "fields"]);
    is(&command[0], "hsetex") && command.get(1).is_some_and(is_word)
}

/// Whether the primary may trim a stream further than it reports.
fn trims_unsaid(command: &Command) -> bool {
    has(command, "minid") && has(command, "~") && (has(command, "acked") || has(command, "delref"))
}

/// Whether a ZADD, or a GEOADD, which becomes one, may turn a listpack into a skiplist (in which -0
/// stays) and add nothing, so that no replica receives it. Newer servers do that for a long member,
/// and for many members.
fn converts_unheard(command: &Command) -> bool {
    let is_long = |word: &Vec<u8>| word.len() > LISTPACK_MEMBER_BYTES_MAX;
    let is_much = command.len() > 2 * LISTPACK_MEMBERS_MAX || command.iter().any(is_long);
    is_one_of(&command[0], &["zadd", "geoadd"]) && has(command, "xx") && is_much
}

/// Whether a function finds no key or no argument to pass on.
fn misses_arguments(command: &Command) -> bool {
    is(&command[0], "fcall") && (command.len() < keyspace::CALL_WORDS || command[2] == b"0")
}

/// Whether the primary may send a write that removes a field's time to live, although the primary
/// keeps it.
fn forgets_expiry(command: &Command) -> bool {
    is(&command[0], "hincrbyfloat")
}

/// Whether a group may count more entries after the command than were ever added.
fn miscounts_entries(command: &Command) -> bool {
    let counts = |pair: &[Vec<u8>]| is(&pair[0], "entriesread") && pair[1] != b"0" && pair[1] != b"-1";
    command.windows(2).any(counts) || is(&command[0], "xsetid") && has(command, "entriesadded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdr_testkit::command;

    fn check(filter: fn(&Command) -> bool, cases: &[(&[&str], bool)]) {
        for (words, expected) in cases {
            assert_eq!(filter(&command(words)), *expected, "{words:?}");
        }
    }

    #[test]
    fn a_function_that_gets_its_key_and_argument_misses_nothing() {
        check(
            misses_arguments,
            &[
                (&["FCALL", "put", "1", "k", "v"], false),
                (&["FCALL", "put", "1", "1", "k", "v"], false),
                (&["FCALL", "put", "1", "k"], true),
                (&["fcall", "put", "0", "k", "v"], true),
                (&["FCALL"], true),
                (&["GET", "k"], false),
            ],
        );
    }

    #[test]
    fn trims_are_unsaid_that_are_about_and_look_at_references() {
        check(
            trims_unsaid,
            &[
                (&["XADD", "s", "DELREF", "MINID", "~", "5", "*", "f", "v"], true),
                (&["xtrim", "s", "minid", "~", "5", "acked"], true),
                (&["XTRIM", "s", "MINID", "=", "5", "ACKED"], false),
                (&["XTRIM", "s", "MAXLEN", "~", "5", "DELREF"], false),
                (&["XTRIM", "s", "MINID", "~", "5", "KEEPREF"], false),
            ],
        );
    }

    #[test]
    fn a_key_is_mistaken_for_a_word_by_its_name() {
        check(
            mistakes_its_key,
            &[
                (&["HSETEX", "fnx", "XX", "FIELDS", "1", "f", "v"], true),
                (&["hsetex", "FIELDS", "2", "f", "v", "g", "w"], true),
                (&["HSETEX", "h", "XX", "FIELDS", "1", "NX", "FIELDS"], false),
                (&["HSET", "NX", "f", "v"], false),
                (&["HSETEX"], false),
            ],
        );
    }

    #[test]
    fn entries_are_miscounted_by_what_says_how_many_there_were() {
        check(
            miscounts_entries,
            &[
                (&["xgroup", "SetId", "s", "g", "5-0", "ENTRIESREAD", "3"], true),
                (&["XGROUP", "CREATE", "s", "g", "5-0", "entriesread", "0"], false),
                (&["XGROUP", "CREATE", "s", "g", "5-0", "MKSTREAM", "ENTRIESREAD", "-1"], false),
                (&["XSETID", "s", "5-0", "ENTRIESADDED", "7", "MAXDELETEDID", "1-0"], true),
                (&["XSETID", "s", "5-0"], false),
            ],
        );
    }

    #[test]
    fn a_zadd_converts_unheard_when_it_may_leave_out_what_no_listpack_holds() {
        let (long, many) = ("m".repeat(65), [&["ZADD", "z", "XX"][..], &["1", "m"].repeat(129)].concat());
        check(
            converts_unheard,
            &[
                (&["zadd", "z", "xx", "1", &long], true),
                (&["GEOADD", "g", "XX", "1", "1", &long], true),
                (&many, true),
                (&many[..9], false),
                (&["ZADD", "z", "1", &long], false),
                (&["ZADD", "z", "XX", "1", &long[1..]], false),
                (&["SET", "xx", &long], false),
            ],
        );
    }
}
