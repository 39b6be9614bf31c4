//! Rules that differ between server versions: the same command of the stream has different effects.
//! The mirror follows the primary.

use vdr_data::limits::STRING_BYTES_MAX;
use vdr_rdb::Server;

/// The rules of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// XGROUP caps ENTRIESREAD at the number of entries ever added to the stream: Redis from 8.2.2
    /// on.
    pub entries_read_capped: bool,
    pub zadd_encoding: ZaddEncoding,
    pub negative_offset: NegativeOffset,
    /// The longest string that a command may make. No version determines it: it is the server's
    /// setting `proto-max-bulk-len`.
    pub string_bytes_max: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            entries_read_capped: false,
            zadd_encoding: ZaddEncoding::default(),
            negative_offset: NegativeOffset::default(),
            string_bytes_max: STRING_BYTES_MAX,
        }
    }
}

/// When ZADD turns a listpack into a skiplist. It matters for the sign of zero, which a skiplist
/// keeps and a listpack does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZaddEncoding {
    /// With the member that does not fit: before 7.2.
    AtMember,
    /// Before the first member, by the number of members in the command: Redis from 7.2 on, and
    /// Valkey 7.2.
    #[default]
    ByCount,
    /// As `ByCount`, and by the longest member of the command: Valkey from 8.0 on.
    ByCountAndLength,
}

impl ZaddEncoding {
    fn of(redis: bool, version: [u32; 3]) -> Self {
        if version < COUNTED_SINCE {
            ZaddEncoding::AtMember
        } else if !redis && version >= VALKEY_MEASURED_SINCE {
            ZaddEncoding::ByCountAndLength
        } else {
            ZaddEncoding::ByCount
        }
    }
}

/// What a negative offset of LIMIT selects in a range of a skiplist. In a listpack it selects
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NegativeOffset {
    #[default]
    Unknown,
    /// Nothing: Redis before 7.4 and from 8.2 on, Valkey before 8.0.
    Nothing,
    /// From that many before the end of the range on: Redis 7.4 and 8.0, Valkey from 8.0 on.
    FromTheEnd,
}

impl NegativeOffset {
    fn of(redis: bool, [major, minor, patch]: [u32; 3]) -> Self {
        match (redis, major, minor, patch) {
            (true, ..7, ..) | (true, 7, ..4, _) | (true, 8, 2.., _) | (true, 9.., ..) => NegativeOffset::Nothing,
            // The fix of 8.2 may be in any later release of the older lines.
            (true, 7, 4, ..=3) | (true, 8, 0, ..=2) => NegativeOffset::FromTheEnd,
            (false, ..8, ..) => NegativeOffset::Nothing,
            // A later version has another structure for large sorted sets.
            (false, 8, ..) | (false, 9, ..2, _) => NegativeOffset::FromTheEnd,
            _ => NegativeOffset::Unknown,
        }
    }
}

const COUNTED_SINCE: [u32; 3] = [7, 2, 0];
const VALKEY_MEASURED_SINCE: [u32; 3] = [8, 0, 0];
const ENTRIES_READ_CAPPED_SINCE: [u32; 3] = [8, 2, 2];

impl Rules {
    /// The rules of a server, by its name (`redis`, `valkey`) and its own version.
    pub fn of(server_name: &str, version: &str) -> Self {
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version: [u32; 3] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
        let redis = server_name.eq_ignore_ascii_case("redis");
        if version == [0; 3] {
            // A version that is no number says nothing.
            return Rules::default();
        }
        Rules {
            entries_read_capped: redis && version >= ENTRIES_READ_CAPPED_SINCE,
            zadd_encoding: ZaddEncoding::of(redis, version),
            negative_offset: NegativeOffset::of(redis, version),
            ..Rules::default()
        }
    }

    /// The rules of the server that wrote a file or sends a stream, as far as it is known.
    pub fn of_server(server: Option<&Server>) -> Self {
        server.map(|server| Rules::of(server.name, &server.version)).unwrap_or_default()
    }

    /// The same rules, with another limit for strings.
    pub fn with_string_bytes_max(self, string_bytes_max: u64) -> Self {
        Rules { string_bytes_max, ..self }
    }

    /// The number of bits of the longest string.
    pub fn bits_max(self) -> i64 {
        i64::try_from(self.string_bytes_max.saturating_mul(8)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_redis_caps_what_a_group_has_read_and_valkey_does_not() {
        for (name, version, capped) in [
            ("redis", "8.6.3", true),
            ("redis", "8.2.2", true),
            ("redis", "10.0.0", true),
            ("redis", "8.2.1", false),
            ("redis", "8.0.6", false),
            ("redis", "7.0.15", false),
            ("valkey", "9.1.2", false),
            ("redis", "unstable", false),
        ] {
            assert_eq!(Rules::of(name, version).entries_read_capped, capped, "{name} {version}");
        }
    }

    #[test]
    fn a_negative_offset_is_known_where_it_was_seen_or_read() {
        use NegativeOffset::{FromTheEnd, Nothing, Unknown};
        for (name, version, offset) in [
            ("redis", "7.2.11", Nothing),
            ("redis", "7.4.0", FromTheEnd),
            ("redis", "7.4.6", Unknown),
            ("redis", "8.0.2", FromTheEnd),
            ("redis", "8.0.5", Unknown),
            ("redis", "8.2.0", Nothing),
            ("redis", "8.6.3", Nothing),
            ("redis", "10.0.0", Nothing),
            ("redis", "unstable", Unknown),
            ("valkey", "7.2.5", Nothing),
            ("valkey", "8.0.0", FromTheEnd),
            ("valkey", "9.1.2", FromTheEnd),
            ("valkey", "9.2.0", Unknown),
        ] {
            assert_eq!(Rules::of(name, version).negative_offset, offset, "{name} {version}");
        }
    }

    #[test]
    fn each_server_has_its_own_time_to_make_a_skiplist() {
        for (name, version, encoding) in [
            ("redis", "6.2.14", ZaddEncoding::AtMember),
            ("redis", "7.0.15", ZaddEncoding::AtMember),
            ("redis", "7.2.0", ZaddEncoding::ByCount),
            ("redis", "8.6.3", ZaddEncoding::ByCount),
            ("redis", "unstable", ZaddEncoding::ByCount),
            ("valkey", "7.2.5", ZaddEncoding::ByCount),
            ("valkey", "8.1.1", ZaddEncoding::ByCountAndLength),
            ("valkey", "9.1.2", ZaddEncoding::ByCountAndLength),
        ] {
            assert_eq!(Rules::of(name, version).zadd_encoding, encoding, "{name} {version}");
        }
    }
}
