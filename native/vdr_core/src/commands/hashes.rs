//! hashes

use super::{Read, Write};

pub const READS: &[Read] = &[];

pub const WRITES: &[Write] = &[];
