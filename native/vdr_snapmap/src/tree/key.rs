//! How entries are found: first by tags and heads, which a node keeps together in few cache lines,
//! then by comparing keys, each of which may be a cache miss.

use std::cmp::Ordering;

/// The keys of a tree.
pub trait Key: Ord + Clone {
    /// Eight bits of a hash: equal keys have equal tags. A leaf compares tags, and reads only keys
    /// whose tags are equal.
    fn tag(&self) -> u8;

    /// The length of the prefix that two keys share, for keys that are bytes.
    fn shared(&self, _other: &Self) -> usize {
        0
    }

    /// A normalized prefix: a number that orders keys which share their first `skip` bytes. The key
    /// with the greater number is greater. Keys with equal numbers must be compared.
    fn head(&self, skip: usize) -> u64;
}

/// What a search looks for among the keys.
pub trait Probe<K> {
    /// How a key of the tree compares with the probe.
    fn order(&self, key: &K) -> Ordering;

    /// [`Key::tag`] of the probe, if it is an exact key.
    fn tag(&self) -> Option<u8>;

    /// The position of the probe relative to keys that share their first `skip` bytes with `like`.
    fn head(&self, like: &K, skip: usize) -> Head;
}

/// See [`Probe::head`].
pub enum Head {
    /// Unknown: the keys must be compared.
    Unknown,
    /// All of these keys compare like this with the probe.
    Beside(Ordering),
    /// The probe has the same prefix, and this [`Key::head`].
    At(u64),
}

/// An exact key.
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

/// An exact key, as bytes, for keys that are bytes.
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

/// A probe by closure: it says how a key of the tree compares with what is sought.
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
#[inline]
pub fn tag(bytes: &[u8]) -> u8 {
    let last = bytes.last_chunk().map_or_else(|| short(bytes), |last| u64::from_le_bytes(*last));
    let first = bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
    let mixed = (last ^ first.rotate_left(23) ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// [`Key::head`] of bytes: the eight bytes behind the first `skip`, zero-padded.
#[inline]
pub fn head(bytes: &[u8], skip: usize) -> u64 {
    let rest = bytes.get(skip..).unwrap_or_default();
    rest.first_chunk().map_or_else(|| short(rest), |head| u64::from_be_bytes(*head))
}

/// Fewer than eight bytes, as the upper bytes of a number.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).enumerate().fold(0, |number, (at, byte)| number | u64::from(*byte) << (56 - 8 * at))
}

/// [`Key::shared`] of bytes.
#[inline]
pub fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// [`Key`] for numbers, which are the keys of the tests.
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
        /// Keys of few different bytes, so that many share a prefix. One of the bytes is zero, like
        /// the padding.
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
