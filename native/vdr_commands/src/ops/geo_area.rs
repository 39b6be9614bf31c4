//! The geometry of the geo commands: points, the grid behind the scores (a geohash), shapes, and
//! the cells that a search visits.
//!
//! A score of 52 bits is a cell of a grid of 2^26 by 2^26 over the map. The bits of its column
//! (longitude) stand at odd positions, those of its row (latitude) at even ones. Without its lowest
//! pairs of bits it is the larger cell around it, so every larger cell is one interval of scores. A
//! search chooses the cell size that fits its shape, and visits the cell around the centre and its
//! eight neighbours:
//!
//! ```text
//!   NW | N | NE        visited in this order: centre, N, S, E, W, NE, NW, SE, SW;
//!   W  | c | E         those that the shape's bounding box does not reach are left out
//!   SW | S | SE
//! ```
//!
//! The visited cells decide the result of a search whose shape spans half the globe, and their
//! order decides the result of COUNT ANY. Both follow the server. So does the order of the float
//! operations, because distances are stored as scores.

use std::ops::Range;

/// The radius of the server's sphere.
const EARTH_RADIUS_M: f64 = 6372797.560856;
/// Half of the equator of the Mercator map: the width of one cell of step 1.
const MERCATOR_MAX_M: f64 = 20037726.37;
const LON_MAX: f64 = 180.0;
const LAT_MAX: f64 = 85.05112878;
/// Bits per axis of a score.
const STEP_MAX: u32 = 26;
/// Poleward of these latitudes cells are narrow, and a search uses larger ones.
const HIGH_LATITUDES: [f64; 2] = [66.0, 80.0];

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub lon: f64,
    pub lat: f64,
}

impl Point {
    /// `None` outside of the map.
    pub fn new(lon: f64, lat: f64) -> Option<Self> {
        ((-LON_MAX..=LON_MAX).contains(&lon) && (-LAT_MAX..=LAT_MAX).contains(&lat)).then_some(Point { lon, lat })
    }

    /// The centre of the cell that a score names.
    pub fn from_score(score: f64) -> Self {
        let cell = Cell::from_bits(score as u64);
        let (lon, lat) = (cell.lon_span(), cell.lat_span());
        Point {
            lon: ((lon.start + lon.end) / 2.0).clamp(-LON_MAX, LON_MAX),
            lat: ((lat.start + lat.end) / 2.0).clamp(-LAT_MAX, LAT_MAX),
        }
    }

    pub fn score(self) -> f64 {
        Cell::around(self, STEP_MAX).bits() as f64
    }

    /// Metres along the great circle.
    pub fn distance_m(self, other: Point) -> f64 {
        let (lat, other_lat) = (self.lat.to_rad(), other.lat.to_rad());
        let v = ((other.lon.to_rad() - self.lon.to_rad()) / 2.0).sin();
        if v == 0.0 {
            return self.lat_distance_m(other);
        }
        let u = ((other_lat - lat) / 2.0).sin();
        let a = u * u + lat.cos() * other_lat.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    fn lat_distance_m(self, other: Point) -> f64 {
        EARTH_RADIUS_M * (other.lat.to_rad() - self.lat.to_rad()).abs()
    }
}

/// Converts degrees and radians by the server's arithmetic, which rounds differently from the
/// standard library's.
trait Angle {
    fn to_rad(self) -> f64;
    fn to_deg(self) -> f64;
}

const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

impl Angle for f64 {
    fn to_rad(self) -> f64 {
        self * RADIANS_PER_DEGREE
    }
    fn to_deg(self) -> f64 {
        self / RADIANS_PER_DEGREE
    }
}

/// A cell of the grid of `2^step` columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    column: u32,
    row: u32,
    step: u32,
}

impl Cell {
    fn around(point: Point, step: u32) -> Self {
        let index = |value: f64, max: f64| ((value + max) / (max + max) * (1u64 << step) as f64) as u32;
        Cell { column: index(point.lon, LON_MAX), row: index(point.lat, LAT_MAX), step }
    }

    fn from_bits(bits: u64) -> Self {
        Cell { column: even_bits(bits >> 1), row: even_bits(bits), step: STEP_MAX }
    }

    fn bits(self) -> u64 {
        spread(self.column) << 1 | spread(self.row)
    }

    fn lon_span(self) -> Range<f64> {
        self.span(self.column, LON_MAX)
    }

    fn lat_span(self) -> Range<f64> {
        self.span(self.row, LAT_MAX)
    }

    fn span(self, index: u32, max: f64) -> Range<f64> {
        let edge = |index: u64| -max + index as f64 / (1u64 << self.step) as f64 * (max + max);
        edge(u64::from(index))..edge(u64::from(index) + 1)
    }

    /// The cell some columns and rows away; the map has no border.
    fn moved(self, columns: i32, rows: i32) -> Self {
        let mask = (1u32 << self.step) - 1;
        let moved = |index: u32, by: i32| if by == 0 { index } else { index.wrapping_add_signed(by) & mask };
        Cell { column: moved(self.column, columns), row: moved(self.row, rows), ..self }
    }

    /// The scores inside.
    fn scores(self) -> Range<f64> {
        let shift = 2 * (STEP_MAX - self.step);
        (self.bits() << shift) as f64..((self.bits() + 1) << shift) as f64
    }
}

/// Spreads the bits of a number over every other position, the lowest first.
fn spread(value: u32) -> u64 {
    [(16, 0x0000_FFFF_0000_FFFF), (8, 0x00FF_00FF_00FF_00FF), (4, 0x0F0F_0F0F_0F0F_0F0F)]
        .into_iter()
        .chain([(2, 0x3333_3333_3333_3333), (1, 0x5555_5555_5555_5555)])
        .fold(u64::from(value), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

/// The inverse of [`spread`]. It ignores bits at odd positions.
fn even_bits(value: u64) -> u32 {
    [(1, 0x3333_3333_3333_3333), (2, 0x0F0F_0F0F_0F0F_0F0F), (4, 0x00FF_00FF_00FF_00FF)]
        .into_iter()
        .chain([(8, 0x0000_FFFF_0000_FFFF), (16, 0x0000_0000_FFFF_FFFF)])
        .fold(value & 0x5555_5555_5555_5555, |bits, (shift, mask)| (bits | bits >> shift) & mask) as u32
}

/// The shape of a search, in the caller's unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Circle {
        radius: f64,
    },
    Rectangle {
        width: f64,
        height: f64,
    },
    /// The corners in order; the last is connected with the first. Valkey 9.
    Polygon {
        corners: Vec<Point>,
    },
}

/// A search: a shape around a centre.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    pub center: Point,
    pub shape: Shape,
    /// The length of the shape's unit in metres.
    pub unit_m: f64,
}

impl Area {
    /// A polygon around its centre: the average direction of its corners, seen from inside the
    /// sphere. `None` if the centre is outside of the map.
    pub fn polygon(corners: Vec<Point>) -> Option<Self> {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for corner in &corners {
            let (lon, lat) = (corner.lon.to_rad(), corner.lat.to_rad());
            x += lat.cos() * lon.cos();
            y += lat.cos() * lon.sin();
            z += lat.sin();
        }
        let center = Point::new(y.atan2(x).to_deg(), z.atan2((x * x + y * y).sqrt()).to_deg())?;
        Some(Area { center, shape: Shape::Polygon { corners }, unit_m: 1.0 })
    }

    /// The distance in metres of a point inside from the centre; `None` if it is outside.
    pub fn distance_inside_m(&self, point: Point) -> Option<f64> {
        match &self.shape {
            Shape::Circle { radius } => {
                let distance = self.center.distance_m(point);
                // For an antipode asin gets more than 1 and returns NaN. As on the server, the
                // point counts as inside.
                let outside = distance > radius * self.unit_m;
                (!outside).then_some(distance)
            }
            Shape::Rectangle { width, height } => {
                let beside = Point { lon: self.center.lon, lat: point.lat };
                let inside = point.lat_distance_m(self.center) <= height * self.unit_m / 2.0
                    && point.distance_m(beside) <= width * self.unit_m / 2.0;
                inside.then(|| self.center.distance_m(point))
            }
            Shape::Polygon { corners } => encloses(corners, point).then(|| self.center.distance_m(point)),
        }
    }

    /// The intervals of scores to visit, in the order of the search.
    pub fn intervals(&self) -> Vec<Range<f64>> {
        let bounds = self.bounds();
        let mut center = Cell::around(self.center, self.step(&bounds));
        if center.step > 1 && !bounds.are_covered_around(center) {
            center = Cell::around(self.center, center.step - 1);
        }
        let mut cells: Vec<Cell> = Vec::with_capacity(9);
        for (column, row) in [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)] {
            let cell = center.moved(column, row);
            // On a grid of two by two, the neighbours on both sides are the same cell.
            if (center.step < 2 || bounds.reach_out_of(center, column, row)) && !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }

    /// The cell size at which nine cells should cover the shape.
    fn step(&self, bounds: &Bounds) -> u32 {
        let mut reach_m = match &self.shape {
            Shape::Circle { radius } => radius * self.unit_m,
            Shape::Rectangle { width, height } => {
                (width / 2.0 * (width / 2.0) + height / 2.0 * (height / 2.0)).sqrt() * self.unit_m
            }
            Shape::Polygon { .. } => bounds.furthest_m(self.center),
        };
        if reach_m <= 0.0 {
            return STEP_MAX;
        }
        let mut step = 1;
        while reach_m < MERCATOR_MAX_M && step < 2 * STEP_MAX {
            reach_m *= 2.0;
            step += 1;
        }
        // Two steps less: the centre may be near the border of its cell.
        let poleward = HIGH_LATITUDES.iter().filter(|latitude| self.center.lat.abs() > **latitude).count() as u32;
        step.saturating_sub(2 + poleward).clamp(1, STEP_MAX)
    }

    fn bounds(&self) -> Bounds {
        let (width_m, height_m) = match &self.shape {
            Shape::Circle { radius } => (self.unit_m * radius, self.unit_m * radius),
            Shape::Rectangle { width, height } => (self.unit_m * (width / 2.0), self.unit_m * (height / 2.0)),
            Shape::Polygon { corners } => return Bounds::of(corners),
        };
        let Point { lon, lat } = self.center;
        let lat_delta = (height_m / EARTH_RADIUS_M).to_deg();
        // The width on the side nearer to a pole.
        let widest = if lat < 0.0 { lat - lat_delta } else { lat + lat_delta };
        let lon_delta = (width_m / EARTH_RADIUS_M / widest.to_rad().cos()).to_deg();
        Bounds { lon: lon - lon_delta..lon + lon_delta, lat: lat - lat_delta..lat + lat_delta }
    }
}

/// Whether a ray to the east crosses the outline an odd number of times.
fn encloses(corners: &[Point], point: Point) -> bool {
    let others = corners.iter().cycle().skip(corners.len().saturating_sub(1));
    let crossings = corners.iter().zip(others).filter(|(a, b)| {
        let straddles = (a.lat > point.lat) != (b.lat > point.lat);
        straddles && point.lon < (b.lon - a.lon) * (point.lat - a.lat) / (b.lat - a.lat) + a.lon
    });
    crossings.count() % 2 == 1
}

/// The bounding box of a shape in degrees. It continues beyond the map's border.
struct Bounds {
    lon: Range<f64>,
    lat: Range<f64>,
}

impl Bounds {
    fn of(points: &[Point]) -> Self {
        let range = |values: &mut dyn Iterator<Item = f64>, max: f64| {
            values.fold(max..-max, |range, value| range.start.min(value)..range.end.max(value))
        };
        Bounds {
            lon: range(&mut points.iter().map(|point| point.lon), LON_MAX),
            lat: range(&mut points.iter().map(|point| point.lat), LAT_MAX),
        }
    }

    /// The distance to the furthest corner.
    fn furthest_m(&self, from: Point) -> f64 {
        let (lon, lat) = (&self.lon, &self.lat);
        [(lon.start, lat.end), (lon.end, lat.end), (lon.start, lat.start), (lon.end, lat.start)]
            .into_iter()
            .map(|(lon, lat)| from.distance_m(Point { lon, lat }))
            .fold(0.0, f64::max)
    }

    /// Whether the cell and its neighbours cover the whole box.
    fn are_covered_around(&self, cell: Cell) -> bool {
        cell.moved(0, 1).lat_span().end >= self.lat.end
            && cell.moved(0, -1).lat_span().start <= self.lat.start
            && cell.moved(1, 0).lon_span().end >= self.lon.end
            && cell.moved(-1, 0).lon_span().start <= self.lon.start
    }

    /// Whether the box crosses the borders of the cell towards this neighbour.
    fn reach_out_of(&self, cell: Cell, column: i32, row: i32) -> bool {
        let over = |bounds: &Range<f64>, span: Range<f64>, side: i32| match side {
            0 => true,
            1 => span.end <= bounds.end,
            _ => span.start >= bounds.start,
        };
        over(&self.lon, cell.lon_span(), column) && over(&self.lat, cell.lat_span(), row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PALERMO: Point = Point { lon: 13.361389, lat: 38.115556 };
    const CATANIA: Point = Point { lon: 15.087269, lat: 37.502669 };

    #[test]
    fn scores_are_those_of_a_server() {
        assert_eq!(PALERMO.score(), 3479099956230698.0);
        assert_eq!(CATANIA.score(), 3479447370796909.0);
        assert_eq!(Point { lon: -180.0, lat: -LAT_MAX }.score(), 0.0);
    }

    #[test]
    fn points_and_distances_are_those_of_a_server() {
        let (palermo, catania) = (Point::from_score(3479099956230698.0), Point::from_score(3479447370796909.0));
        assert_eq!((palermo.lon, palermo.lat), (13.361389338970184, 38.1155563954963));
        assert_eq!(format!("{:.4}", palermo.distance_m(catania)), "166274.1516");
        assert_eq!(palermo.distance_m(palermo), 0.0);
    }

    #[test]
    fn what_lies_outside_of_the_map_is_no_point() {
        assert_eq!(Point::new(180.1, 0.0), None);
        assert_eq!(Point::new(0.0, -85.06), None);
        assert_eq!(Point::new(f64::NAN, 0.0), None);
        assert!(Point::new(-180.0, 85.05112878).is_some());
    }

    #[test]
    fn a_polygon_encloses_what_is_between_its_corners() {
        let corners = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 2.0), (0.0, 10.0)];
        let corners: Vec<Point> = corners.into_iter().map(|(lon, lat)| Point { lon, lat }).collect();
        assert!(encloses(&corners, Point { lon: 1.0, lat: 5.0 }));
        assert!(encloses(&corners, Point { lon: 5.0, lat: 1.0 }));
        assert!(!encloses(&corners, Point { lon: 5.0, lat: 5.0 }), "in the notch");
        assert!(!encloses(&corners, Point { lon: 11.0, lat: 1.0 }));
    }

    proptest! {
        #[test]
        fn a_point_lies_in_the_cell_that_its_score_names(lon in -180.0..180.0f64, lat in -85.05..85.05f64) {
            let point = Point { lon, lat };
            let center = Point::from_score(point.score());
            prop_assert!((center.lon - lon).abs() <= 360.0 / f64::from(1u32 << 26));
            prop_assert!((center.lat - lat).abs() <= 171.0 / f64::from(1u32 << 26));
            prop_assert_eq!(center.score(), point.score());
        }

        #[test]
        fn the_cells_of_a_search_hold_every_point_of_its_circle(
            lon in -170.0..170.0f64, lat in -60.0..60.0f64, east in -1.0..1.0f64, north in -1.0..1.0f64,
            radius in 0.1..500_000.0f64,
        ) {
            let degrees = radius / 111_000.0;
            let point = Point { lon: lon + east * degrees, lat: lat + north * degrees };
            let area = Area { center: Point { lon, lat }, shape: Shape::Circle { radius }, unit_m: 1.0 };
            if area.distance_inside_m(point).is_some() {
                let score = point.score();
                prop_assert_eq!(area.intervals().iter().filter(|scores| scores.contains(&score)).count(), 1);
            }
        }

        #[test]
        fn no_number_is_too_odd_for_a_search(
            score in any::<f64>(), lon in -180.0..=180.0f64, lat in -85.05..=85.05f64, size in any::<f64>(),
        ) {
            for shape in [Shape::Circle { radius: size.abs() }, Shape::Rectangle { width: size.abs(), height: 1.0 }] {
                let area = Area { center: Point { lon, lat }, shape, unit_m: 1609.34 };
                prop_assert!(area.intervals().len() <= 9);
                area.distance_inside_m(Point::from_score(score));
            }
        }
    }
}
