//! Two values, and the point from which they differ: for a person who compares two long lists.

use crate::command::show;
use vdr_data::value::ValueRef;
use vdr_testkit::Reply;

/// How many rows a report shows, starting with the first that differs.
const SHOWN: usize = 6;

/// A value as rows of words. A row is an element, a member with its score, a field with its value,
/// or an entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Rows {
    kind: String,
    rows: Vec<Vec<Vec<u8>>>,
}

impl Rows {
    pub fn nothing() -> Self {
        Rows { kind: "nothing".to_owned(), rows: Vec::new() }
    }

    pub fn of_mirror(value: ValueRef<'_>) -> Self {
        let rows = match value {
            ValueRef::String(text) => vec![vec![text.to_vec()]],
            ValueRef::List(list) => list.iter().map(|item| vec![item.to_vec()]).collect(),
            ValueRef::Set(set) => set.iter().map(|member| vec![member.to_vec()]).collect(),
            ValueRef::ZSet(zset) => {
                zset.iter().map(|(member, score)| vec![member.to_vec(), number(score.get())]).collect()
            }
            ValueRef::Hash(hash) => {
                hash.iter().map(|(name, field)| vec![name.to_vec(), field.value.to_vec()]).collect()
            }
            ValueRef::Stream(stream) => stream
                .iter()
                .map(|(id, fields)| {
                    let pairs = fields.iter().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]);
                    std::iter::once(id.to_string().into_bytes()).chain(pairs).collect()
                })
                .collect(),
            ValueRef::Other | ValueRef::Unknown => Vec::new(),
        };
        Rows { kind: value.kind().name().to_owned(), rows }.sorted()
    }

    /// The server's answer to a read of the whole value.
    pub fn of_server(kind: &str, reply: Option<Reply>) -> Self {
        let items = match reply {
            Some(Reply::Array(Some(items))) => items,
            other => other.into_iter().collect(),
        };
        let words: Vec<Vec<Vec<u8>>> = items.into_iter().map(words).collect();
        let rows = match kind {
            "hash" | "zset" => words.chunks(2).map(<[_]>::concat).collect(),
            _ => words,
        };
        let mut rows = Rows { kind: kind.to_owned(), rows };
        if kind == "zset" {
            rows.rows.iter_mut().filter_map(|row| row.get_mut(1)).for_each(|score| {
                let parsed = std::str::from_utf8(score).ok().and_then(|text| text.parse().ok());
                *score = parsed.map_or_else(|| score.clone(), number);
            });
        }
        rows.sorted()
    }

    fn sorted(mut self) -> Self {
        if matches!(self.kind.as_str(), "set" | "hash" | "zset") {
            self.rows.sort();
        }
        self
    }

    fn from(&self, first: usize) -> String {
        let rows: Vec<String> =
            self.rows.iter().skip(first).take(SHOWN).map(|row| format!("[{}]", show(row))).collect();
        let more = self.rows.len().saturating_sub(first + rows.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{} of {}: {}{more}", self.kind, self.rows.len(), rows.join(" "))
    }
}

/// Both values, from the point where they differ.
pub fn contrast(ours: &Rows, theirs: &Rows) -> String {
    if ours == theirs {
        return format!("the same {} of {}", ours.kind, ours.rows.len());
    }
    let first = ours.rows.iter().zip(&theirs.rows).take_while(|(a, b)| a == b).count();
    let place = if first > 0 { format!(" (from the {first}th on, counted from 0)") } else { String::new() };
    let bytes = first_byte(ours, theirs).map(|at| format!(" (from byte {at} on)")).unwrap_or_default();
    format!("value{place}{bytes}:\n      ours   {}\n      theirs {}", ours.from(first), theirs.from(first))
}

/// The first byte that differs between two long strings.
fn first_byte(ours: &Rows, theirs: &Rows) -> Option<usize> {
    let text = |rows: &Rows| (rows.kind == "string").then(|| rows.rows.concat().concat());
    let (ours, theirs) = (text(ours)?, text(theirs)?);
    Some(ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count())
}

fn words(reply: Reply) -> Vec<Vec<u8>> {
    match reply {
        Reply::Bulk(Some(bytes)) => vec![bytes],
        Reply::Array(Some(items)) => items.into_iter().flat_map(words).collect(),
        other => vec![other.text().into_bytes()],
    }
}

fn number(score: f64) -> Vec<u8> {
    score.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdr_data::value::{List, Score, Value, ZSet};

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(Some(text.as_bytes().to_vec()))
    }

    #[test]
    fn long_lists_are_shown_from_where_they_differ() {
        let items: Vec<String> = (0..500).map(|n| n.to_string()).collect();
        let mut list = List::default();
        items.iter().for_each(|item| list.push_back(item.as_bytes()));
        list.set(400, b"x");
        let theirs = Rows::of_server("list", Some(Reply::Array(Some(items.iter().map(|item| bulk(item)).collect()))));
        let text = contrast(&Rows::of_mirror(Value::from(list).as_ref()), &theirs);
        assert!(text.contains("from the 400th on"), "{text}");
        assert!(text.contains("ours   list of 500: [x] [401]"), "{text}");
        assert!(text.contains("theirs list of 500: [400] [401]"), "{text}");
    }

    #[test]
    fn scores_are_compared_as_numbers_whatever_their_text() {
        let zset = ZSet::from_members([("m", Score::new(1e9).unwrap())], true);
        let theirs = |score| Rows::of_server("zset", Some(Reply::Array(Some(vec![bulk("m"), bulk(score)]))));
        let ours = Rows::of_mirror(Value::from(zset).as_ref());
        assert_eq!(contrast(&ours, &theirs("1e+9")), "the same zset of 1");
        assert!(contrast(&ours, &theirs("1000000001")).contains("[m 1000000001]"));
    }

    #[test]
    fn strings_are_shown_with_the_first_byte_that_differs() {
        let ours = Rows::of_mirror(Value::String(b"hello".as_slice().into()).as_ref());
        let theirs = Rows::of_server("string", Some(bulk("help")));
        assert!(contrast(&ours, &theirs).starts_with("value (from byte 3 on):"));
        assert!(contrast(&Rows::nothing(), &theirs).contains("ours   nothing of 0"));
    }
}
