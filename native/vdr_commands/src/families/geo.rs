//! Geo commands: sorted sets whose scores are positions. There are only writes; a search stores its
//! result.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_float;
use crate::ops::geo_area::{Area, Point, Shape};
use crate::ops::partial_sort::partial_sort;
use crate::ops::zsets::AddFlags;
use crate::ops::zsets::store;
use crate::row::AffectedKeys::{InShape, Special};
use crate::row::Effect::{Each, StoresFrom};
use crate::row::Part::{Bin, Bins, Float, Key, Options, Source};
use crate::row::{Affected, Leaves, Write, row};
use std::cmp::Ordering;
use vdr_data::value::Kind;
use vdr_data::value::{Score, StringRef, ZSet};

const ZSET: Leaves = Leaves::Kind(Kind::ZSet);

pub const WRITES: &[Write] = &[
    row("geoadd", &[Key, Bins], InShape, ZSET, Each, geoadd),
    row(
        "georadius",
        &[Source, Float, Float, Float, Bin, Options],
        Special(georadius_affected),
        ZSET,
        StoresFrom(&[Kind::ZSet]),
        georadius,
    ),
    row(
        "georadiusbymember",
        &[Source, Bin, Float, Bin, Options],
        Special(georadiusbymember_affected),
        ZSET,
        StoresFrom(&[Kind::ZSet]),
        georadiusbymember,
    ),
    row("geosearchstore", &[Key, Source, Options], InShape, ZSET, StoresFrom(&[Kind::ZSet]), geosearchstore),
];

/// A primary sends GEOADD as ZADD. Modules may not.
fn geoadd(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let flags = AddFlags::take(args)?;
    let (places, rest) = args.rest().as_chunks::<3>();
    if places.is_empty() || !rest.is_empty() {
        return Err(ApplyError::BadArguments);
    }
    apply.zset(key, |zset| {
        for [lon, lat, member] in places {
            let point = parse_float(lon).zip(parse_float(lat)).and_then(|(lon, lat)| Point::new(lon, lat));
            flags.add(zset, member, point.ok_or(ApplyError::BadArguments)?.score())?;
        }
        Ok(())
    })
}

fn georadius(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let source = source(apply, args.bytes()?)?;
    let center = point(args)?;
    let shape = Shape::Circle { radius: length(args)? };
    let area = Area { center, shape, unit_m: unit_m(args)? };
    let options = GeoOptions::take(args)?;
    options.store_found(apply, &source, Some(area))
}

fn georadiusbymember(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (source, member) = (source(apply, args.bytes()?)?, args.bytes()?);
    if source.is_none() {
        // The server then ignores radius and unit, and sends them on whatever they are.
        let (_radius, _unit) = (args.bytes()?, args.bytes()?);
        return GeoOptions::take(args)?.store_found(apply, &source, None);
    }
    let shape = Shape::Circle { radius: length(args)? };
    let unit_m = unit_m(args)?;
    let options = GeoOptions::take(args)?;
    let area = place(&source, member)?.map(|center| Area { center, shape, unit_m });
    options.store_found(apply, &source, area)
}

fn geosearchstore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let source = source(apply, args.bytes()?)?;
    let mut options = GeoOptions { key: Some(key), ..GeoOptions::default() };
    let (mut center, mut covered, mut polygon) = (None, None, None);
    while !args.is_empty() {
        if args.take_word("fromlonlat") {
            center = Some(Some(point(args)?));
        } else if args.take_word("frommember") {
            center = Some(place(&source, args.bytes()?)?);
        } else if args.take_word("byradius") {
            covered = Some((Shape::Circle { radius: length(args)? }, unit_m(args)?));
        } else if args.take_word("bybox") {
            covered = Some((Shape::Rectangle { width: length(args)?, height: length(args)? }, unit_m(args)?));
        } else if args.take_word("bypolygon") {
            polygon = Some(corners(args)?);
        } else if args.take_word("storedist") {
            options.distances = true;
        } else if !options.take_common(args)? {
            return Err(ApplyError::BadArguments);
        }
    }
    let area = match (center, covered, polygon) {
        (Some(center), Some((shape, unit_m)), None) => center.map(|center| Area { center, shape, unit_m }),
        // Around a pole the centre may lie outside of the map, and the result of the server is
        // undefined, except that an empty sorted set gives an empty result.
        (None, None, Some(corners)) => match Area::polygon(corners) {
            None if source.is_some() => {
                apply.doubt(key);
                return Ok(());
            }
            area => area,
        },
        _ => return Err(ApplyError::BadArguments),
    };
    options.store_found(apply, &source, area)
}

fn corners(args: &mut ArgCursor<'_>) -> Result<Vec<Point>, ApplyError> {
    let count = usize::try_from(args.int()?).map_err(|_| ApplyError::BadArguments)?;
    if count < 3 || count > args.len() / 2 {
        return Err(ApplyError::BadArguments);
    }
    (0..count).map(|_| point(args)).collect()
}

/// The sorted set to search; `None` if the key is missing. It is a clone, because the search may
/// store into the same key.
fn source(apply: &Apply<'_>, key: &[u8]) -> Result<Option<ZSet>, ApplyError> {
    Ok(apply.stored::<ZSet>(key)?.cloned())
}

/// The position of a member. It is an error if the source exists and the member does not.
fn place(source: &Option<ZSet>, member: &[u8]) -> Result<Option<Point>, ApplyError> {
    let Some(zset) = source else { return Ok(None) };
    let score = zset.score(member).ok_or(ApplyError::Missing)?;
    Ok(Some(Point::from_score(score.get())))
}

fn point(args: &mut ArgCursor<'_>) -> Result<Point, ApplyError> {
    let (lon, lat) = (args.float()?, args.float()?);
    Point::new(lon, lat).ok_or(ApplyError::BadArguments)
}

fn length(args: &mut ArgCursor<'_>) -> Result<f64, ApplyError> {
    let length = args.float()?;
    if length >= 0.0 { Ok(length) } else { Err(ApplyError::BadArguments) }
}

fn unit_m(args: &mut ArgCursor<'_>) -> Result<f64, ApplyError> {
    for (name, metres) in [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)] {
        if args.take_word(name) {
            return Ok(metres);
        }
    }
    Err(ApplyError::BadArguments)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Ascending,
    Descending,
}

/// The options of a search.
#[derive(Default)]
struct GeoOptions<'a> {
    /// The destination.
    key: Option<&'a [u8]>,
    /// Whether to store distances instead of positions.
    distances: bool,
    count: Option<usize>,
    /// Whether to take the first found instead of the nearest.
    any: bool,
    sort: Option<Sort>,
}

impl<'a> GeoOptions<'a> {
    /// The options of GEORADIUS and GEORADIUSBYMEMBER. Without a destination these commands only
    /// read, and a primary does not send them.
    fn take(args: &mut ArgCursor<'a>) -> Result<Self, ApplyError> {
        let mut options = GeoOptions::default();
        while !args.is_empty() {
            let distances = args.take_word("storedist");
            if distances || args.take_word("store") {
                options.key = Some(args.bytes()?);
                options.distances = distances;
            } else if !options.take_common(args)? {
                return Err(ApplyError::BadArguments);
            }
        }
        Ok(options)
    }

    fn take_common(&mut self, args: &mut ArgCursor<'a>) -> Result<bool, ApplyError> {
        if args.take_word("asc") {
            self.sort = Some(Sort::Ascending);
        } else if args.take_word("desc") {
            self.sort = Some(Sort::Descending);
        } else if args.take_word("any") {
            self.any = true;
        } else if args.take_word("count") {
            let count = usize::try_from(args.int()?).ok().filter(|count| *count > 0);
            self.count = Some(count.ok_or(ApplyError::BadArguments)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn store_found(&self, apply: &mut Apply<'_>, source: &Option<ZSet>, area: Option<Area>) -> ApplyResult {
        let key = self.key.ok_or(ApplyError::BadArguments)?;
        let (Some(zset), Some(area)) = (source, area) else { return store(apply, key, ZSet::default()) };
        let limit = if self.any { self.count.ok_or(ApplyError::BadArguments)? } else { usize::MAX };
        let mut found = search(zset, &area, limit);
        let count = self.count.unwrap_or(usize::MAX);
        if count < found.len() {
            // The nearest, if the command does not say otherwise.
            let descending = self.sort == Some(Sort::Descending);
            partial_sort(&mut found, count, |a, b| {
                let order = a.distance_m.partial_cmp(&b.distance_m).unwrap_or(Ordering::Less);
                if descending { order.reverse() } else { order }
            });
            found.truncate(count);
        }
        let score = |found: &Found| if self.distances { found.distance_m / area.unit_m } else { found.score };
        let members = found.into_iter().map(|found| Some((found.member, Score::new(score(&found))?)));
        let members = members.collect::<Option<Vec<_>>>().ok_or(ApplyError::NotANumber)?;
        store(apply, key, ZSet::from_stored(members))
    }
}

struct Found<'z> {
    member: StringRef<'z>,
    score: f64,
    distance_m: f64,
}

/// The first members inside an area, at most `limit`, in the server's order.
fn search<'z>(zset: &'z ZSet, area: &Area, limit: usize) -> Vec<Found<'z>> {
    let mut all = Vec::new();
    for scores in area.intervals() {
        let from = zset.partition(|score, _| score.get() < scores.start);
        let to = zset.partition(|score, _| score.get() < scores.end);
        let found = zset.range(from, to).filter_map(|(member, score)| {
            let score = score.get();
            let distance_m = area.distance_inside_m(Point::from_score(score))?;
            Some(Found { member, score, distance_m })
        });
        all.extend(found.take(limit - all.len()));
    }
    all
}

fn georadius_affected(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    radius_affected(db, args, 5, report);
}

fn georadiusbymember_affected(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    radius_affected(db, args, 4, report);
}

/// The destination stands among the options, after `fixed` arguments.
fn radius_affected(db: u32, args: &[&[u8]], fixed: usize, report: &mut dyn FnMut(Affected<'_>)) {
    let mut words = ArgCursor::new(args.get(fixed..).unwrap_or_default());
    if let Ok(GeoOptions { key: Some(key), .. }) = GeoOptions::take(&mut words) {
        report(Affected::Key { db, key });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Mirror, affected};

    /// The example in the server's documentation.
    const SICILY: &str =
        "geoadd sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 13.583333 37.316667 Agrigento";

    fn sicily() -> Mirror {
        Mirror::after(&[SICILY, "set str x"])
    }

    #[track_caller]
    fn stores(line: &str, expected: &str) {
        let mut mirror = sicily();
        assert_eq!(mirror.attempt(line), Ok(()), "{line}");
        let names: Vec<String> = mirror.members(b"d").into_iter().map(|(member, _)| member).collect();
        assert_eq!(names.join(" "), expected, "{line}");
    }

    #[test]
    fn geoadd_gives_members_their_cells_as_scores() {
        assert_eq!(
            sicily().show("sicily"),
            "Agrigento=3479030013248308.0 Palermo=3479099956230698.0 Catania=3479447370796909.0"
        );
        let mut mirror = sicily();
        assert_eq!(mirror.attempt("geoadd sicily nx ch 0 0 Palermo 0 0 Null"), Ok(()));
        assert_eq!(mirror.members(b"sicily")[2].0, "Palermo");
        assert_eq!(mirror.members(b"sicily")[0], ("Null".to_string(), 3377699720527872.0));
    }

    #[test]
    fn searches_store_what_is_inside_of_a_circle_a_box_or_a_polygon() {
        stores("geosearchstore d sicily fromlonlat 15 37 byradius 200 km", "Agrigento Palermo Catania");
        stores("geosearchstore d sicily FROMLONLAT 15 37 BYRADIUS 100 mi", "Agrigento Catania");
        stores("geosearchstore d sicily frommember Palermo bybox 100 200 km", "Agrigento Palermo");
        stores("geosearchstore d sicily bypolygon 4 13 37 14 37 14 39 13 39", "Agrigento Palermo");
        stores("georadius sicily 15 37 200 km store d", "Agrigento Palermo Catania");
        stores("georadiusbymember sicily Agrigento 100 km STORE d", "Agrigento Palermo");
    }

    #[test]
    fn a_count_keeps_the_nearest_or_the_furthest() {
        stores("geosearchstore d sicily fromlonlat 15 37 byradius 300 km count 1", "Catania");
        stores("geosearchstore d sicily fromlonlat 15 37 byradius 300 km desc count 1", "Palermo");
        stores("georadius sicily 15 37 300 km count 2 asc storedist d", "Catania Agrigento");
        stores("geosearchstore d sicily fromlonlat 15 37 byradius 300 km count 9 any", "Agrigento Palermo Catania");
    }

    /// The server's sort decides which of them stay. The names are the ones that redis-server 7.0
    /// and valkey-server 9.1 kept.
    #[test]
    fn of_members_at_one_place_a_count_keeps_those_that_the_server_keeps() {
        let near = (10..60).map(|n| format!(" 1 1 m{n}")).chain((60..65).map(|n| format!(" 1.001 1 m{n}")));
        let mut mirror = Mirror::after(&[&format!("geoadd g{}", near.collect::<String>())]);
        for (count, expected) in [("5", "m11 m12 m13 m14 m52"), ("7 desc", "m15 m16 m60 m61 m62 m63 m64")] {
            let line = format!("geosearchstore d g fromlonlat 1 1 byradius 1 km count {count}");
            assert_eq!(mirror.attempt(&line), Ok(()));
            let names: Vec<String> = mirror.members(b"d").into_iter().map(|(member, _)| member).collect();
            assert_eq!(names.join(" "), expected);
        }
    }

    #[test]
    fn distances_are_stored_in_the_unit_of_the_search() {
        let mut mirror = sicily();
        assert_eq!(mirror.attempt("geosearchstore d sicily fromlonlat 15 37 byradius 200 km storedist"), Ok(()));
        assert_eq!(
            mirror.show("d"),
            "Catania=56.4412578701582 Agrigento=130.42348706714702 Palermo=190.44242984775784"
        );
    }

    #[test]
    fn an_empty_result_deletes_and_is_not_sent_when_there_is_nothing_to_delete() {
        for line in [
            "geosearchstore str sicily fromlonlat 0 0 byradius 1 m",
            "geosearchstore str none frommember x byradius 1 m",
            "georadius sicily 0 0 1 m store str",
            "georadiusbymember none x 1 m store str",
            "georadiusbymember none x 1 parsec store str",
        ] {
            let mut mirror = sicily();
            assert_eq!(mirror.attempt(line), Ok(()), "{line}");
            assert!(mirror.keyspace.db(0).get(b"str").is_none(), "{line}");
            mirror.fails(line, ApplyError::Missing);
        }
    }

    #[test]
    fn a_radius_search_touches_its_destination_only() {
        assert_eq!(affected("georadius count 1 2 3 m count 5 any asc store to"), ["to"]);
        assert_eq!(affected("georadiusbymember k store 3 m store first storedist last"), ["last"]);
        assert!(affected("georadius k 1 2 3 m").is_empty());
    }

    #[test]
    fn around_a_pole_nothing_is_found_in_nothing() {
        let mut mirror = Mirror::after(&["geoadd d 15 37 m"]);
        assert_eq!(mirror.attempt("geosearchstore d none bypolygon 3 0 85 120 85 -120 85"), Ok(()));
        assert_eq!(mirror.ask("exists d"), "false");
    }

    #[test]
    fn around_a_pole_the_result_is_in_doubt() {
        let mut mirror = sicily();
        mirror.run(&["set d 1 ex 9", "geosearchstore d sicily bypolygon 3 0 85 120 85 -120 85"]);
        assert_eq!((mirror.ask("get d"), mirror.expires("d")), ("UnknownValue".into(), None));
    }

    #[test]
    fn what_no_primary_sends_is_an_error() {
        let mut mirror = sicily();
        mirror.fails("geosearchstore d sicily frommember no byradius 1 m", ApplyError::Missing);
        mirror.fails("geosearchstore d str fromlonlat 0 0 byradius 1 m", ApplyError::WrongType);
        for line in [
            "geoadd g 1 2",
            "geoadd g 200 2 m",
            "geosearchstore d sicily byradius 1 m",
            "geosearchstore d sicily fromlonlat 0 0",
            "geosearchstore d sicily fromlonlat 0 0 byradius -1 m",
            "geosearchstore d sicily fromlonlat 0 0 byradius 1 parsec",
            "geosearchstore d sicily fromlonlat 0 0 byradius 1 m count 0",
            "geosearchstore d sicily fromlonlat 0 0 byradius 1 m any",
            "geosearchstore d sicily fromlonlat 0 0 byradius 1 m withdist",
            "geosearchstore d sicily bypolygon 3 0 0 1 1 2 2 fromlonlat 0 0",
            "geosearchstore d sicily bypolygon 2 0 0 1 1",
            "geosearchstore d sicily bypolygon 9 0 0 1 1",
            "georadius sicily 0 0 1 m",
            "georadius sicily 0 0 1 m store",
        ] {
            mirror.fails(line, ApplyError::BadArguments);
        }
    }
}
