//! Rules that differ between server versions: the same command of the stream has different effects.
//! The mirror follows the primary.

/// The rules of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// XGROUP caps ENTRIESREAD at the number of entries ever added to the stream: Redis from 8.2.2
    /// on.
    pub entries_read_capped: bool,
}

const ENTRIES_READ_CAPPED_SINCE: [u32; 3] = [8, 2, 2];

impl Rules {
    /// The rules of a server, by its name (`redis`, `valkey`) and its own version.
    pub fn of(server_name: &str, version: &str) -> Self {
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version: [u32; 3] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
        let redis = server_name.eq_ignore_ascii_case("redis");
        Rules { entries_read_capped: redis && version >= ENTRIES_READ_CAPPED_SINCE }
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
}
