//! How entries are found: by comparing keys, which reads a key for each step, and before that by what a node keeps beside its keys,
//! which reads but a few cache lines.

use std::cmp::Ordering;

/// What a tree is ordered by.
pub trait Key: Ord + Clone {
    /// Eight bits of a key: equal keys have the same. Well spread, they tell the entry of a leaf without a look at the others.
    fn tag(&self) -> u8;

    /// How many leading bytes, of keys that have bytes, two of them share.
    fn shared(&self, _other: &Self) -> usize {
        0
    }

    /// A number that orders keys which share their first `skip` bytes: the greater number is the greater key. Equal numbers tell
    /// nothing.
    fn head(&self, skip: usize) -> u64;
}

/// What is sought among keys.
pub trait Probe<K> {
    /// How a key of the tree compares with it.
    fn order(&self, key: &K) -> Ordering;

    /// Of the key that is sought, when it is an exact one.
    fn tag(&self) -> Option<u8>;

    /// Where it stands among keys that share their first `skip` bytes with `like`.
    fn head(&self, like: &K, skip: usize) -> Head;
}

/// See [`Probe::head`].
pub enum Head {
    /// Only comparing tells.
    Unknown,
    /// All of them compare like this with what is sought.
    Beside(Ordering),
    /// As [`Key::head`].
    At(u64),
}

/// The very key.
impl<K: Key> Probe<K> for &K {
    fn order(&self, key: &K) -> Ordering {
        key.cmp(self)
    }

    fn tag(&self) -> Option<u8> {
        Some(Key::tag(*self))
    }

    fn head(&self, like: &K, skip: usize) -> Head {
        if like.shared(self) >= skip { Head::At(Key::head(*self, skip)) } else { Head::Beside(like.cmp(self)) }
    }
}

/// The key with these bytes, of keys that are bytes.
pub struct Bytes<'b>(pub &'b [u8]);

impl<K: Key + AsRef<[u8]>> Probe<K> for Bytes<'_> {
    fn order(&self, key: &K) -> Ordering {
        key.as_ref().cmp(self.0)
    }

    fn tag(&self) -> Option<u8> {
        Some(tag(self.0))
    }

    fn head(&self, like: &K, skip: usize) -> Head {
        let (prefix, sought) = (like.as_ref().get(..skip), self.0.get(..skip));
        if prefix == sought { Head::At(head(self.0, skip)) } else { Head::Beside(like.as_ref().cmp(self.0)) }
    }
}

/// Whatever a closure says, which compares keys of the tree with what is sought.
pub struct By<F>(F);

/// See [`By`]: `by(|key: &u32| key.cmp(&sought))`.
pub fn by<K, F: Fn(&K) -> Ordering>(order: F) -> By<F> {
    By(order)
}

impl<K, F: Fn(&K) -> Ordering> Probe<K> for By<F> {
    fn order(&self, key: &K) -> Ordering {
        (self.0)(key)
    }

    fn tag(&self) -> Option<u8> {
        None
    }

    fn head(&self, _like: &K, _skip: usize) -> Head {
        Head::Unknown
    }
}

/// [`Key::tag`] of bytes.
pub fn tag(bytes: &[u8]) -> u8 {
    let last = bytes.last_chunk().map_or_else(|| short(bytes), |last| u64::from_le_bytes(*last));
    let first = bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
    let mixed = (last ^ first.rotate_left(23) ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// [`Key::head`] of bytes: the eight behind the first `skip`, with zeros where there are none.
pub fn head(bytes: &[u8], skip: usize) -> u64 {
    let rest = bytes.get(skip..).unwrap_or_default();
    rest.first_chunk().map_or_else(|| short(rest), |head| u64::from_be_bytes(*head))
}

/// Fewer than eight bytes as the upper ones of a number.
fn short(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).enumerate().fold(0, |number, (at, byte)| number | u64::from(*byte) << (56 - 8 * at))
}

/// [`Key::shared`] of bytes.
pub fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Of a number: the tests' keys.
#[cfg(test)]
macro_rules! number {
    ($($number:ty)*) => {
        $(impl Key for $number {
            fn tag(&self) -> u8 {
                tag(&self.to_le_bytes())
            }

            fn shared(&self, other: &Self) -> usize {
                shared(&self.to_be_bytes(), &other.to_be_bytes())
            }

            fn head(&self, skip: usize) -> u64 {
                head(&self.to_be_bytes(), skip)
            }
        })*
    };
}

#[cfg(test)]
number!(u32 usize);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Of few different bytes, so that many begin alike, one with zeros that look like an end.
        #[test]
        fn heads_never_order_against_the_keys(keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..24), 2..8)) {
            let mut keys = keys;
            keys.sort();
            let skip = shared(&keys[0], keys.last().unwrap());
            prop_assert!(keys.windows(2).all(|pair| head(&pair[0], skip) <= head(&pair[1], skip)));
            prop_assert!(keys.iter().all(|key| tag(key) == tag(&key.clone())));
        }
    }
}
