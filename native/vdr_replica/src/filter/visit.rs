//! The filter as an adapter around any visitor of a snapshot file.

use super::criteria::Filter;
use std::sync::Arc;
use vdr_rdb::{Element, Fault, KeyHeader, Visit, Want, stream};

/// A visitor that passes on only the keys that a filter keeps.
pub struct Filtered<V> {
    pub visit: V,
    filter: Option<Arc<Filter>>,
    skipped: bool,
}

impl<V> Filtered<V> {
    /// Without a filter everything is passed on.
    pub fn new(filter: Option<Arc<Filter>>, visit: V) -> Self {
        Filtered { visit, filter, skipped: false }
    }
}

impl<V: Visit> Visit for Filtered<V> {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.visit.aux(name, value);
    }

    fn resize_db(&mut self, db: u32, keys: u64, expires: u64) {
        self.visit.resize_db(db, keys, expires);
    }

    fn slot_import(&mut self, job: &[u8], first: u64, last: u64) {
        self.visit.slot_import(job, first, last);
    }

    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        self.skipped = self.filter.as_ref().is_some_and(|filter| !filter.keeps(header.db, header.key, header.kind));
        if self.skipped { Want::Skip } else { self.visit.key(header) }
    }

    fn element(&mut self, element: Element<'_>) {
        self.visit.element(element);
    }

    fn stream_part(&mut self, part: stream::Part<'_>) -> Result<(), Fault> {
        self.visit.stream_part(part)
    }

    fn end_key(&mut self) -> Result<(), Fault> {
        if self.skipped { Ok(()) } else { self.visit.end_key() }
    }

    fn item_read(&mut self, bytes: usize) {
        self.visit.item_read(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdr_data::expiry::Expiry;
    use vdr_data::value::Kind;

    #[derive(Default)]
    struct Visited(Vec<String>);

    impl Visit for Visited {
        fn key(&mut self, header: &KeyHeader<'_>) -> Want {
            self.0.push(String::from_utf8_lossy(header.key).into_owned());
            Want::Elements
        }

        fn element(&mut self, _: Element<'_>) {
            self.0.push("element".into());
        }

        fn end_key(&mut self) -> Result<(), Fault> {
            self.0.push("end".into());
            Ok(())
        }
    }

    fn header(key: &'static [u8], kind: Kind) -> KeyHeader<'static> {
        KeyHeader { db: 2, key, kind, expiry: Expiry::NEVER, packed: false }
    }

    #[test]
    fn nothing_of_a_key_that_is_left_out_is_passed_on() {
        let filter = Filter::new(None, Some(vec![b"user:".to_vec()]), Some(vec![Kind::Hash]));
        let mut filtered = Filtered::new(Some(Arc::new(filter)), Visited::default());
        for left_out in [header(b"user:1", Kind::List), header(b"other", Kind::Hash)] {
            assert_eq!(filtered.key(&left_out), Want::Skip);
            filtered.end_key().unwrap();
        }
        assert_eq!(filtered.key(&header(b"user:1", Kind::Hash)), Want::Elements);
        filtered.element(Element::Item(b"x"));
        filtered.end_key().unwrap();
        assert_eq!(filtered.visit.0, ["user:1", "element", "end"]);
    }

    #[test]
    fn without_a_filter_everything_is_passed_on() {
        let mut filtered = Filtered::new(None, Visited::default());
        filtered.key(&header(b"a", Kind::Other));
        filtered.end_key().unwrap();
        assert_eq!(filtered.visit.0, ["a", "end"]);
    }
}
