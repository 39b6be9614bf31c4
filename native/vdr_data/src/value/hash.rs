//! Hashes: fields in byte order, each with a value and an optional expiry.
//!
//! A small hash is a [`Pack`], with an entry for each field:
//!
//! ```text
//! length of the name * 2 + 1 if it expires: 1 or 2 bytes | expiry: i64, if any | name | value
//! ```

use super::either::{self, Either};
use super::element_builder::ElementBuilder;
use super::pack::{FieldOrderCache, PACK_BYTES_MAX, Pack};
use super::string::StringRef;
use crate::blob::Blob;
use crate::expiry::Expiry;
use crate::size::{self, Footprint};
use std::sync::Arc;
use vdr_snapmap::tree::{Bytes, Tree};

/// The value and the expiry of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'s> {
    pub value: StringRef<'s>,
    pub expiry: Expiry,
}

#[derive(Clone, Debug, Default)]
pub struct Hash(Repr);

type Repr = either::Repr<Large>;

#[derive(Clone, Debug, Default)]
struct Large {
    fields: Tree<Blob, Kept>,
    /// How many fields have an expiry. In most hashes none has one, and reads need not check.
    expiring: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    value: Blob,
    expiry: Expiry,
}

impl Kept {
    #[inline]
    fn field(&self) -> Field<'_> {
        Field { value: StringRef::Shared(&self.value), expiry: self.expiry }
    }
}

/// A parsed entry of a pack.
struct Packed<'p> {
    name: &'p [u8],
    value: &'p [u8],
    expiry: Expiry,
}

/// The bytes before the name.
struct Head {
    bytes: [u8; 10],
    len: usize,
}

impl Head {
    fn new(name: &[u8], expiry: Expiry) -> Self {
        let code = name.len() << 1 | usize::from(expiry.is_set());
        let mut head = Head { bytes: [0; 10], len: 0 };
        // A pack accepts no name that needs more than two bytes.
        if code < 0x80 {
            head.push(&[code as u8]);
        } else {
            head.push(&[code as u8 | 0x80, (code >> 7) as u8]);
        }
        if let Some(at_ms) = expiry.get() {
            head.push(&at_ms.to_ne_bytes());
        }
        head
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl<'p> Packed<'p> {
    #[inline]
    fn read(entry: &'p [u8]) -> Self {
        Packed::parse(entry).unwrap_or(Packed { name: &[], value: &[], expiry: Expiry::NEVER })
    }

    #[inline]
    fn parse(entry: &'p [u8]) -> Option<Self> {
        let (&first, mut rest) = entry.split_first()?;
        let mut code = usize::from(first);
        if first >= 0x80 {
            let (&second, behind) = rest.split_first()?;
            (code, rest) = (code & 0x7f | usize::from(second) << 7, behind);
        }
        let mut expiry = Expiry::NEVER;
        if code & 1 != 0 {
            let (at_ms, behind) = rest.split_first_chunk()?;
            (expiry, rest) = (Expiry::at(i64::from_ne_bytes(*at_ms)), behind);
        }
        let (name, value) = rest.split_at_checked(code >> 1)?;
        Some(Packed { name, value, expiry })
    }

    #[inline]
    fn name(entry: &'p [u8]) -> &'p [u8] {
        Packed::read(entry).name
    }

    #[inline]
    fn field(&self) -> Field<'p> {
        Field { value: StringRef::Packed(self.value), expiry: self.expiry }
    }

    fn keep(&self) -> (Blob, Kept) {
        (Blob::new(self.name), Kept { value: Blob::new(self.value), expiry: self.expiry })
    }

    #[inline]
    fn pair(entry: &'p [u8]) -> (StringRef<'p>, Field<'p>) {
        let packed = Packed::read(entry);
        (StringRef::Packed(packed.name), packed.field())
    }
}

fn find(pack: &Pack, name: &[u8]) -> Result<usize, usize> {
    pack.search(|entry| Packed::name(entry).cmp(name))
}

impl Large {
    fn from_pack(pack: &Pack) -> Self {
        let entries = pack.iter().map(Packed::read);
        Large {
            expiring: entries.clone().filter(|packed| packed.expiry.is_set()).count(),
            fields: Tree::from_sorted(entries.map(|packed| packed.keep())),
        }
    }

    fn insert(&mut self, name: &[u8], value: &[u8], expiry: Expiry) {
        self.expiring += usize::from(expiry.is_set());
        let old = self.fields.insert(Blob::new(name), Kept { value: Blob::new(value), expiry });
        self.forget(&old);
    }

    fn forget(&mut self, old: &Option<Kept>) {
        let expired = old.as_ref().is_some_and(|field| field.expiry.is_set());
        self.expiring = self.expiring.saturating_sub(usize::from(expired));
    }
}

impl Hash {
    /// The number of stored fields, expired ones included, as the server counts them.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Small(pack) => pack.len(),
            Repr::Large(large) => large.fields.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn has_expiring_fields(&self) -> bool {
        match &self.0 {
            Repr::Small(pack) => pack.iter().any(|entry| entry.first().is_some_and(|head| head & 1 != 0)),
            Repr::Large(large) => large.expiring > 0,
        }
    }

    /// The field as stored, even if it is expired.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        match &self.0 {
            Repr::Small(pack) => Some(Packed::read(pack.get(find(pack, name).ok()?)?).field()),
            Repr::Large(large) => large.fields.get(Bytes(name)).map(|(_, kept)| kept.field()),
        }
    }

    /// The field's value, unless it is expired.
    pub fn live(&self, name: &[u8], is_past: impl Fn(Expiry) -> bool) -> Option<StringRef<'_>> {
        self.get(name).filter(|field| !is_past(field.expiry)).map(|field| field.value)
    }

    /// Sets a field with its value and expiry.
    pub fn insert(&mut self, name: &[u8], value: &[u8], expiry: Expiry) {
        if let Repr::Small(pack) = &mut self.0 {
            let head = Head::new(name, expiry);
            let parts = [head.as_bytes(), name, value];
            let done = match find(pack, name) {
                Ok(at) => pack.replace(at, &parts, PACK_BYTES_MAX),
                Err(at) => pack.insert(at, &parts, PACK_BYTES_MAX),
            };
            if done {
                return;
            }
            let large = Large::from_pack(pack);
            self.0 = Repr::Large(Arc::new(large));
        }
        if let Repr::Large(large) = &mut self.0 {
            Arc::make_mut(large).insert(name, value, expiry);
        }
    }

    /// Removes a field. `true` if it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Small(pack) => find(pack, name).map(|at| pack.remove(at, at + 1)).is_ok(),
            Repr::Large(large) => {
                let large = Arc::make_mut(large);
                let old = large.fields.remove(Bytes(name)).map(|(_, kept)| kept);
                large.forget(&old);
                old.is_some()
            }
        }
    }

    /// Sets a field's expiry. `false` if there is no such field.
    pub fn set_expiry(&mut self, name: &[u8], expiry: Expiry) -> bool {
        let Some(field) = self.get(name) else { return false };
        let value = field.value.to_blob();
        self.insert(name, &value, expiry);
        true
    }

    /// The rank of a field in byte order, or where it would stand.
    pub fn rank(&self, name: &[u8]) -> Result<usize, usize> {
        match &self.0 {
            Repr::Small(pack) => find(pack, name),
            Repr::Large(large) => large.fields.find(Bytes(name)),
        }
    }

    #[inline]
    pub fn at(&self, rank: usize) -> Option<(StringRef<'_>, Field<'_>)> {
        self.range(rank, rank.saturating_add(1)).next()
    }

    /// The bytes of the hash apart from its elements, for [`estimate`](crate::estimate).
    pub fn overhead_bytes(&self) -> Footprint {
        self.0.overhead_bytes()
    }

    /// The bytes of one field and value with their share of the nodes on the path. `None` for a
    /// small hash, which is overhead only.
    pub fn amortized_bytes(&self, rank: usize) -> Option<Footprint> {
        let Repr::Large(large) = &self.0 else { return None };
        let (name, kept) = large.fields.at(rank)?;
        Some(size::amortized_entry(&large.fields, rank)? + Footprint::of(name) + Footprint::of(&kept.value))
    }

    /// The fields with ranks `from..to`, clipped, in byte order, expired ones included.
    #[inline]
    pub fn range(
        &self,
        from: usize,
        to: usize,
    ) -> impl DoubleEndedIterator<Item = (StringRef<'_>, Field<'_>)> + ExactSizeIterator + Clone {
        match &self.0 {
            Repr::Small(pack) => Either::Small(pack.range(from, to).map(Packed::pair)),
            Repr::Large(large) => {
                let pair = |(name, kept)| (StringRef::Shared(name), Kept::field(kept));
                Either::Large(large.fields.range(from, to).map(pair))
            }
        }
    }

    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (StringRef<'_>, Field<'_>)> + ExactSizeIterator + Clone {
        self.range(0, self.len())
    }

    /// Whether both have the same fields with the same values and expiries. O(difference).
    pub fn equals(&self, other: &Hash) -> bool {
        match (&self.0, &other.0) {
            (Repr::Small(a), Repr::Small(b)) => a.equals(b),
            (Repr::Large(a), Repr::Large(b)) => a.fields.equals(&b.fields),
            _ => self.iter().eq(other.iter()),
        }
    }

    pub fn same(&self, other: &Hash) -> bool {
        self.0.same(&other.0, |a, b| a.fields.same(&b.fields))
    }
}

/// Builds hashes from fields in any order, one hash after the other. Of fields with equal names the
/// last one counts. Hashes with the names of an earlier one are sorted by its permutation.
#[derive(Default)]
pub struct HashBuilder {
    fields: ElementBuilder<Kept>,
    orders: FieldOrderCache,
}

impl HashBuilder {
    /// How many fields were pushed, those that came twice counted twice.
    pub fn count(&self) -> usize {
        self.fields.count()
    }

    pub fn push(&mut self, name: &[u8], value: &[u8], expiry: Expiry) {
        if !self.fields.push_packed(&[Head::new(name, expiry).as_bytes(), name, value]) {
            let field = (Blob::new(name), Kept { value: Blob::new(value), expiry });
            self.fields.push_pair(field, |entry| Packed::read(entry).keep());
        }
    }

    /// Builds the hash and leaves the builder empty.
    pub fn build(&mut self) -> Hash {
        let Some(fields) = self.fields.take_large() else {
            self.fields.small.sort_names_alike(&mut self.orders, |entry| Packed::name(entry));
            return Hash(Repr::Small(self.fields.small.take()));
        };
        let expiring = fields.iter().filter(|(_, kept)| kept.expiry.is_set()).count();
        Hash(Repr::Large(Arc::new(Large { fields: Tree::from_sorted(fields), expiring })))
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V, Expiry)> for Hash {
    /// Of equal names the last one counts.
    fn from_iter<I: IntoIterator<Item = (N, V, Expiry)>>(fields: I) -> Self {
        let mut builder = HashBuilder::default();
        fields.into_iter().for_each(|(name, value, expiry)| builder.push(name.as_ref(), value.as_ref(), expiry));
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Expiry)>;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Vec<u8>, Vec<u8>, Option<i64>),
        Remove(Vec<u8>),
        Expire(Vec<u8>, Option<i64>),
        Share,
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = || {
            let long = proptest::collection::vec(b'a'..b'c', 60..70);
            prop_oneof![9 => proptest::collection::vec(b'a'..b'e', 0..4), 1 => long]
        };
        let value = prop_oneof![20 => 0usize..40, 1 => 1000usize..5000].prop_map(|len| vec![b'v'; len]);
        let time = || proptest::option::weighted(0.2, prop_oneof![any::<i64>(), 0i64..100]);
        prop_oneof![
            12 => (name(), value, time()).prop_map(|(name, value, at_ms)| Step::Insert(name, value, at_ms)),
            4 => name().prop_map(Step::Remove),
            2 => (name(), time()).prop_map(|(name, at_ms)| Step::Expire(name, at_ms)),
            2 => Just(Step::Share),
        ]
    }

    #[track_caller]
    fn assert_is(hash: &Hash, model: &Model) {
        assert_eq!(hash.len(), model.len());
        assert_eq!(hash.has_expiring_fields(), model.values().any(|(_, expiry)| expiry.is_set()));
        let all = hash.iter().map(|(name, field)| (name.to_vec(), (field.value.to_vec(), field.expiry)));
        assert!(all.eq(model.clone()), "{model:?}");
        for (rank, (name, (value, expiry))) in model.iter().enumerate() {
            let field = hash.get(name).unwrap();
            assert_eq!((field.value.as_bytes(), field.expiry), (value.as_slice(), *expiry));
            assert_eq!((hash.rank(name), hash.at(rank).unwrap().0.as_bytes()), (Ok(rank), name.as_slice()));
        }
        assert_eq!(hash.get(b"zzz"), None);
        assert_eq!(hash.rank(b"zzz"), Err(model.len()));
    }

    proptest! {
        /// Through both forms, with copies taken midway that must not change.
        #[test]
        fn a_hash_is_a_map_of_fields(steps in proptest::collection::vec(step(), 1..150)) {
            let (mut hash, mut model) = (Hash::default(), Model::new());
            let mut shared: Vec<(Hash, Model)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(name, value, at_ms) => {
                        hash.insert(&name, &value, Expiry::of(at_ms));
                        model.insert(name, (value, Expiry::of(at_ms)));
                    }
                    Step::Remove(name) => assert_eq!(hash.remove(&name), model.remove(&name).is_some()),
                    Step::Expire(name, at_ms) => {
                        let there = model.get_mut(&name).map(|field| field.1 = Expiry::of(at_ms)).is_some();
                        assert_eq!(hash.set_expiry(&name, Expiry::of(at_ms)), there);
                    }
                    Step::Share => shared.push((hash.clone(), model.clone())),
                }
                assert_is(&hash, &model);
            }
            shared.iter().for_each(|(hash, model)| assert_is(hash, model));
            let fields = || model.iter().map(|(name, (value, expiry))| (name, value, *expiry));
            // Pushed in another order, and each of them before with another value.
            let others = fields().map(|(name, _, expiry)| (name, &name[..], expiry));
            let again: Hash = others.chain(fields().rev().map(|(name, value, expiry)| (name, &value[..], expiry))).collect();
            assert_is(&again, &model);
            prop_assert!(again.equals(&hash) && hash.equals(&again));
        }

        /// Hashes as an application writes them, one after the other: with the same names in the
        /// same sequence, with some of them, in another sequence, or with one of them twice.
        #[test]
        fn hashes_built_one_behind_the_other_have_nothing_of_each_other(
            names in proptest::sample::subsequence((0u8..40).collect::<Vec<_>>(), 1..40).prop_shuffle(),
            hashes in proptest::collection::vec((0u8..8, any::<proptest::sample::Index>(), any::<proptest::sample::Index>()), 1..30),
        ) {
            let names: Vec<_> = names.iter().map(|name| format!("field:{name}").into_bytes()).collect();
            let mut builder = HashBuilder::default();
            for (number, (change, a, b)) in hashes.into_iter().enumerate() {
                let (mut names, mut long) = (names.clone(), 0);
                let (a, b) = (a.index(names.len()), b.index(names.len()));
                match change {
                    0 => names.swap(a, b),
                    1 => names.truncate(a),
                    2 => names[a] = names[b].clone(),
                    3 => names.push(names[a].clone()),
                    4 => names[a].push(b'0'),
                    5 => long = PACK_BYTES_MAX,
                    _ => {}
                }
                let mut model = Model::new();
                for (at, name) in names.iter().enumerate() {
                    let expiry = Expiry::of((at == b && change == 6).then_some(number as i64));
                    let value = format!("{number}:{at}:{}", "v".repeat(if at == a { long } else { 0 })).into_bytes();
                    builder.push(name, &value, expiry);
                    model.insert(name.clone(), (value, expiry));
                }
                prop_assert_eq!(builder.count(), names.len());
                assert_is(&builder.build(), &model);
            }
        }
    }

    /// Seventeen fields and one field share a cache slot. A permutation that has fewer fields than
    /// were pushed must not be used.
    #[test]
    fn what_put_a_name_that_came_twice_in_order_is_not_tried_again() {
        let mut builder = HashBuilder::default();
        for times in [17, 1] {
            (0..times).for_each(|_| builder.push(b"name", b"value", Expiry::NEVER));
            assert_is(&builder.build(), &Model::from([(b"name".to_vec(), (b"value".to_vec(), Expiry::NEVER))]));
        }
    }
}
