//! Value types: the layout of each type byte, by dialect.

use crate::cursor::Cursor;
use crate::error::{Fault, Halt};
use crate::packed::Pieces;
use crate::stream::Version;
use vdr_data::value::Kind;

/// Redis and Valkey diverged after version 11, and use some type bytes for different layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Redis,
    Valkey,
}

/// Versions below this one are Redis', the others Valkey's.
const VALKEY_VERSION_MIN: u32 = 80;

impl Dialect {
    /// The dialect by the version alone, as in a DUMP payload.
    pub fn of_version(version: u32) -> Result<Self, Fault> {
        match version {
            0 => Err(Fault::UnsupportedVersion(version)),
            1..VALKEY_VERSION_MIN => Ok(Dialect::Redis),
            VALKEY_VERSION_MIN.. => Ok(Dialect::Valkey),
        }
    }

    /// Reads the nine bytes at the start of a file: dialect and version.
    pub(super) fn of_magic(magic: &[u8; 9]) -> Result<(Self, u32), Fault> {
        let (dialect, digits) = if let Some(digits) = magic.strip_prefix(b"REDIS") {
            (Dialect::Redis, digits)
        } else if let Some(digits) = magic.strip_prefix(b"VALKEY") {
            (Dialect::Valkey, digits)
        } else {
            return Err(Fault::BadMagic);
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Fault::BadMagic);
        }
        let version = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        if Dialect::of_version(version)? == dialect {
            Ok((dialect, version))
        } else {
            Err(Fault::UnsupportedVersion(version))
        }
    }
}

/// How a value is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    Text,
    Elements(Shape),
    Packed(Packing),
    Stream(Version),
    Module,
    /// A hash by a template; `brings_names` as in a DUMP payload, otherwise its template stands in
    /// the file.
    Template {
        values: TemplateValues,
        brings_names: bool,
    },
    /// Redis 8.8's sparse array.
    Array,
    /// Redis 8.8's rate limiter: one number.
    Number,
}

/// The elements that follow a count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Items,
    /// Scores as text.
    OldScores,
    Scores,
    Fields,
    /// Fields with an absolute expiry behind each, -1 for none (Valkey 9).
    FieldsUntil,
    /// Fields with an absolute expiry before each, 0 for none (Redis 7.4 release candidates).
    FieldsSince,
    /// Fields, each after an expiry relative to `min_ms`: the distance plus one, 0 for none (Redis
    /// 7.4).
    FieldsFrom {
        min_ms: i64,
    },
    Ziplists,
    Nodes,
}

/// How the values of a hash with a template are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TemplateValues {
    Listpack,
    OneByOne,
}

/// A small aggregate in one string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    pub form: PackedForm,
    pub of: PackedOf,
    /// An int64 precedes the string: the earliest expiry, which is not needed.
    pub led: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum PackedForm {
    Listpack,
    Ziplist,
    Zipmap,
    Intset,
}

impl PackedForm {
    pub fn pieces(self, blob: &[u8]) -> Result<Pieces<'_>, Fault> {
        match self {
            PackedForm::Listpack => Pieces::listpack(blob),
            PackedForm::Ziplist => Pieces::ziplist(blob),
            PackedForm::Zipmap => Pieces::zipmap(blob),
            PackedForm::Intset => Pieces::intset(blob),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackedOf {
    List,
    Set,
    /// A set in ascending order, so it cannot have a duplicate member.
    Integers,
    Hash,
    /// Field, value, expiry.
    HashExpiring,
    ZSet,
}

const fn packed(form: PackedForm, of: PackedOf) -> Layout {
    Layout::Packed(Packing { form, of, led: false })
}

/// The kind and layout of a type byte. Inlined: it is called for each key, and returning this enum
/// through memory costs a store-forwarding stall.
#[inline(always)]
pub(super) fn of_type(byte: u8, dialect: Dialect) -> Result<(Kind, Layout), Fault> {
    let redis = dialect == Dialect::Redis;
    Ok(match byte {
        0 => (Kind::String, Layout::Text),
        1 => (Kind::List, Layout::Elements(Shape::Items)),
        2 => (Kind::Set, Layout::Elements(Shape::Items)),
        3 => (Kind::ZSet, Layout::Elements(Shape::OldScores)),
        4 => (Kind::Hash, Layout::Elements(Shape::Fields)),
        5 => (Kind::ZSet, Layout::Elements(Shape::Scores)),
        7 => (Kind::Other, Layout::Module),
        9 => (Kind::Hash, packed(PackedForm::Zipmap, PackedOf::Hash)),
        10 => (Kind::List, packed(PackedForm::Ziplist, PackedOf::List)),
        11 => (Kind::Set, packed(PackedForm::Intset, PackedOf::Integers)),
        12 => (Kind::ZSet, packed(PackedForm::Ziplist, PackedOf::ZSet)),
        13 => (Kind::Hash, packed(PackedForm::Ziplist, PackedOf::Hash)),
        14 => (Kind::List, Layout::Elements(Shape::Ziplists)),
        15 => (Kind::Stream, Layout::Stream(Version::V1)),
        16 => (Kind::Hash, packed(PackedForm::Listpack, PackedOf::Hash)),
        17 => (Kind::ZSet, packed(PackedForm::Listpack, PackedOf::ZSet)),
        18 => (Kind::List, Layout::Elements(Shape::Nodes)),
        19 => (Kind::Stream, Layout::Stream(Version::V2)),
        20 => (Kind::Set, packed(PackedForm::Listpack, PackedOf::Set)),
        21 => (Kind::Stream, Layout::Stream(Version::V3)),
        22 if redis => (Kind::Hash, Layout::Elements(Shape::FieldsSince)),
        22 => (Kind::Hash, Layout::Elements(Shape::FieldsUntil)),
        23 if redis => (Kind::Hash, packed(PackedForm::Listpack, PackedOf::HashExpiring)),
        24 if redis => (Kind::Hash, Layout::Elements(Shape::FieldsFrom { min_ms: 0 })),
        25 if redis => {
            let packing = Packing { form: PackedForm::Listpack, of: PackedOf::HashExpiring, led: true };
            (Kind::Hash, Layout::Packed(packing))
        }
        26 if redis => (Kind::Stream, Layout::Stream(Version::V4)),
        27 if redis => (Kind::Stream, Layout::Stream(Version::V5)),
        28 if redis => (Kind::Other, Layout::Array),
        29 if redis => (Kind::Hash, Layout::Template { values: TemplateValues::Listpack, brings_names: true }),
        30 if redis => (Kind::Hash, Layout::Template { values: TemplateValues::Listpack, brings_names: false }),
        31 if redis => (Kind::Hash, Layout::Template { values: TemplateValues::OneByOne, brings_names: true }),
        32 if redis => (Kind::Hash, Layout::Template { values: TemplateValues::OneByOne, brings_names: false }),
        33 if redis => (Kind::Other, Layout::Number),
        _ => return Err(Fault::UnknownType(byte)),
    })
}

impl Shape {
    /// Reads what precedes the elements: their count, and for one layout the base of their
    /// expiries.
    pub fn open(self, cursor: &mut Cursor<'_>) -> Result<(Shape, u64), Halt> {
        let shape = match self {
            Shape::FieldsFrom { .. } => Shape::FieldsFrom { min_ms: cursor.i64_le()? },
            other => other,
        };
        Ok((shape, cursor.len()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_tells_dialect_and_version() {
        assert_eq!(Dialect::of_magic(b"REDIS0001"), Ok((Dialect::Redis, 1)));
        assert_eq!(Dialect::of_magic(b"REDIS0079"), Ok((Dialect::Redis, 79)));
        assert_eq!(Dialect::of_magic(b"VALKEY080"), Ok((Dialect::Valkey, 80)));
        assert_eq!(Dialect::of_magic(b"REDIS0080"), Err(Fault::UnsupportedVersion(80)));
        assert_eq!(Dialect::of_magic(b"REDIS0000"), Err(Fault::UnsupportedVersion(0)));
        assert_eq!(Dialect::of_magic(b"VALKEY079"), Err(Fault::UnsupportedVersion(79)));
        assert_eq!(Dialect::of_magic(b"REDIS00x1"), Err(Fault::BadMagic));
        assert_eq!(Dialect::of_magic(b"redis0001"), Err(Fault::BadMagic));
    }

    #[test]
    fn a_number_may_mean_something_else_in_the_other_dialect() {
        assert!(matches!(of_type(22, Dialect::Valkey), Ok((Kind::Hash, Layout::Elements(Shape::FieldsUntil)))));
        assert!(matches!(of_type(22, Dialect::Redis), Ok((Kind::Hash, Layout::Elements(Shape::FieldsSince)))));
        for byte in 23..=33 {
            assert!(of_type(byte, Dialect::Redis).is_ok());
            assert_eq!(of_type(byte, Dialect::Valkey).unwrap_err(), Fault::UnknownType(byte));
        }
    }

    #[test]
    fn a_type_without_a_rule_is_unknown() {
        for byte in [6, 8].into_iter().chain(34..=241) {
            assert_eq!(of_type(byte, Dialect::Redis).unwrap_err(), Fault::UnknownType(byte));
        }
    }
}
