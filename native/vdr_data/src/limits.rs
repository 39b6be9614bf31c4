//! The limit for strings, which files, streams and commands have in common.

/// The longest string that is accepted unless another limit is given: the servers' default of
/// `proto-max-bulk-len`.
pub const STRING_BYTES_MAX: u64 = 512 << 20;

/// The highest limit that can be given. A longer string is no string, but damage.
pub const STRING_BYTES_LIMIT_MAX: u64 = 0xFF_FFFF_FFFF;
