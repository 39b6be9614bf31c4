//! The layout of a pack: a head, a table of lengths, and the entries behind it.
//!
//! ```text
//! count * 2 + wide: u16 | end of each eighth entry: u16 | each length: u8 or, if wide, u16 | entries ... | spare bytes
//! ```
//!
//! A pack is wide if and only if one of its entries does not fit the narrow table. Ends count from
//! the first byte of the first entry. Between two stored ends lie at most seven lengths. In a
//! narrow pack these seven fit one machine word, so the sum takes a few instructions. Random access
//! is therefore O(1), for ten bits an entry instead of sixteen.

use vdr_snapmap::COUNTS;

/// The longest pack, its table included. Measured: copying this much costs less than copying two
/// nodes of a tree.
pub const PACK_BYTES_MAX: usize = 4096 - COUNTS;

/// The size of a stored end, and of a length in the table of a wide pack.
pub(super) const WORD: usize = size_of::<u16>();
/// The number of entries for which one end is stored.
pub(super) const BLOCK: usize = 8;
/// The longest entry of a narrow pack.
pub(super) const NARROW_MAX: usize = u8::MAX as usize;

/// The shape of a pack: everything but its contents.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) count: usize,
    pub(super) wide: bool,
    /// The bytes of all entries.
    pub(super) bytes: usize,
}

impl Form {
    /// The shape with one more entry.
    pub(super) fn with(self, len: usize) -> Self {
        Form { count: self.count + 1, wide: self.wide || len > NARROW_MAX, bytes: self.bytes.saturating_add(len) }
    }

    /// The place of an entry's length. Behind the last length, this is where the entries begin.
    pub(super) fn length_at(self, at: usize) -> usize {
        WORD * (1 + self.count / BLOCK) + if self.wide { WORD * at } else { at }
    }

    /// Where the entries begin.
    pub(super) fn base(self) -> usize {
        self.length_at(self.count)
    }

    /// The bytes of an allocation that the pack uses.
    pub(super) fn size(self) -> usize {
        self.base().saturating_add(self.bytes)
    }

    pub(super) fn put_length(self, buffer: &mut [u8], at: usize, len: usize) {
        let (narrow, wide) = ([len as u8], (len as u16).to_ne_bytes());
        put(buffer, self.length_at(at), if self.wide { &wide } else { &narrow });
    }

    /// Writes what stands in front of the lengths. The lengths are written already, and so are the
    /// ends of the blocks before the block of `at`.
    pub(super) fn put_head(self, buffer: &mut [u8], at: usize) {
        put_word(buffer, 0, self.count << 1 | usize::from(self.wide));
        let Some((ends, behind)) = buffer.split_at_mut_checked(self.length_at(0)) else { return };
        let (first, width) = (at / BLOCK, if self.wide { WORD } else { 1 });
        let mut end = if first > 0 { word(ends, first) } else { 0 };
        let (places, _) = ends.get_mut(WORD * (first + 1)..).unwrap_or_default().as_chunks_mut();
        let blocks = behind.get(width * BLOCK * first..).unwrap_or_default().chunks_exact(width * BLOCK);
        for (place, bytes) in places.iter_mut().zip(blocks) {
            end += Table { wide: self.wide, bytes }.sum_of_block();
            *place = (end as u16).to_ne_bytes();
        }
    }
}

/// The lengths of adjacent entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'p> {
    wide: bool,
    pub(super) bytes: &'p [u8],
}

impl Table<'_> {
    #[inline]
    pub(super) fn len(self) -> usize {
        if self.wide { self.bytes.len() / WORD } else { self.bytes.len() }
    }

    fn sum_of_block(self) -> usize {
        let narrow = self.bytes.first_chunk().filter(|_| !self.wide);
        narrow.map_or_else(|| self.sum(), |eight| sum(u64::from_le_bytes(*eight)))
    }

    /// Whether one of the lengths does not fit a narrow table.
    pub(super) fn needs_wide(self) -> bool {
        self.wide && self.bytes.as_chunks().0.iter().any(|word| number(word) > NARROW_MAX)
    }

    #[inline]
    pub(super) fn split_first(self) -> Option<(usize, Self)> {
        let (len, bytes) = if self.wide {
            self.bytes.split_first_chunk().map(|(word, rest)| (number(word), rest))?
        } else {
            self.bytes.split_first().map(|(byte, rest)| (usize::from(*byte), rest))?
        };
        Some((len, Table { bytes, ..self }))
    }

    #[inline]
    pub(super) fn split_last(self) -> Option<(usize, Self)> {
        let (len, bytes) = if self.wide {
            self.bytes.split_last_chunk().map(|(rest, word)| (number(word), rest))?
        } else {
            self.bytes.split_last().map(|(byte, rest)| (usize::from(*byte), rest))?
        };
        Some((len, Table { bytes, ..self }))
    }
}

impl Iterator for Table<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let (len, rest) = self.split_first()?;
        *self = rest;
        Some(len)
    }
}

#[inline]
fn number(word: &[u8; WORD]) -> usize {
    usize::from(u16::from_ne_bytes(*word))
}

#[inline]
pub(super) fn word(buffer: &[u8], at: usize) -> usize {
    buffer.get(WORD * at..).and_then(<[u8]>::first_chunk).map_or(0, number)
}

/// A decoded head, and the bytes behind it.
#[derive(Clone, Copy)]
pub(super) struct View<'p> {
    pub(super) count: usize,
    pub(super) wide: bool,
    pub(super) ends: &'p [u8],
    /// The lengths, the entries and the spare bytes.
    behind: &'p [u8],
}

impl<'p> View<'p> {
    #[inline]
    pub(super) fn of(buffer: &'p [u8]) -> Self {
        let head = word(buffer, 0);
        let count = head >> 1;
        let (ends, behind) = buffer.split_at_checked(WORD * (1 + count / BLOCK)).unwrap_or_default();
        View { count, wide: head & 1 != 0, ends, behind }
    }

    #[inline]
    pub(super) fn table(self, from: usize, to: usize) -> Table<'p> {
        let range = if self.wide { WORD * from..WORD * to } else { from..to };
        Table { wide: self.wide, bytes: self.behind.get(range).unwrap_or_default() }
    }

    #[inline]
    pub(super) fn entries(self) -> &'p [u8] {
        self.behind.get(if self.wide { WORD * self.count } else { self.count }..).unwrap_or_default()
    }

    /// The byte range of the entry at `at`, which is at most the number of entries.
    #[inline(always)]
    pub(super) fn span(self, at: usize) -> (usize, usize) {
        let (block, rest) = (at / BLOCK, at % BLOCK);
        let before = if block > 0 { word(self.ends, block) } else { 0 };
        let narrow = if self.wide { None } else { self.behind.get(BLOCK * block..).and_then(<[u8]>::first_chunk) };
        let Some(eight) = narrow.map(|eight| u64::from_le_bytes(*eight)) else {
            let start = before + self.table(BLOCK * block, at).sum::<usize>();
            return (start, start + self.table(at, at + 1).sum::<usize>());
        };
        // The lengths from `at` on are shifted out.
        let start = before + sum(eight << (8 * (BLOCK - 1 - rest)) << 8);
        (start, start + usize::from((eight >> (8 * rest)) as u8))
    }

    /// Where the entry at `at` begins. For the number of entries, this is where the last entry
    /// ends.
    #[inline]
    pub(super) fn start(self, at: usize) -> usize {
        self.span(at).0
    }
}

/// The sum of the bytes of a number.
#[inline]
fn sum(bytes: u64) -> usize {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    // Four sums of two, and their sum in the topmost sixteen bits.
    (((bytes & EVEN) + (bytes >> 8 & EVEN)).wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize
}

pub(super) fn put_word(buffer: &mut [u8], at: usize, number: usize) {
    put(buffer, WORD * at, &(number as u16).to_ne_bytes());
}

pub(super) fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buffer.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

pub(super) fn put_all(buffer: &mut [u8], mut at: usize, parts: &[&[u8]]) {
    for part in parts {
        put(buffer, at, part);
        at += part.len();
    }
}
