//! Finds circles in a graph of imports.

use crate::modules::Import;
use std::collections::{HashSet, VecDeque};

/// Finds the shortest circle of each strongly connected group of files.
pub fn circles(files: usize, imports: &[Import]) -> Vec<Vec<Import>> {
    let mut reported: Vec<Vec<Import>> = Vec::new();
    let mut seen = HashSet::new();
    let mut shortest: Vec<Vec<Import>> = (0..files).filter_map(|file| through(file, files, imports)).collect();
    shortest.sort_by_key(Vec::len);
    for circle in shortest {
        // A file in a reported circle is not reported again, because untying that circle may untie
        // this one.
        if circle.iter().all(|import| !seen.contains(&import.from)) {
            seen.extend(circle.iter().map(|import| import.from));
            reported.push(circle);
        }
    }
    reported
}

/// The shortest circle through a file, by breadth-first search.
fn through(start: usize, files: usize, imports: &[Import]) -> Option<Vec<Import>> {
    let mut reached_by: Vec<Option<&Import>> = vec![None; files];
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for import in imports.iter().filter(|import| import.from == file && import.to != file) {
            let Some(slot) = reached_by.get_mut(import.to) else { continue };
            if slot.is_none() {
                *slot = Some(import);
                queue.push_back(import.to);
            }
        }
    }
    let mut circle = Vec::new();
    let mut at = start;
    loop {
        let import = (*reached_by.get(at)?)?;
        circle.push(import.clone());
        at = import.from;
        if at == start {
            circle.reverse();
            return Some(circle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(usize, usize)]) -> Vec<Import> {
        edges.iter().map(|(from, to)| Import { from: *from, to: *to, path: String::new(), line: 1 }).collect()
    }

    fn files_of_circles(files: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let circles = circles(files, &graph(edges));
        circles.iter().map(|circle| circle.iter().map(|import| import.from).collect()).collect()
    }

    #[test]
    fn arrows_that_only_go_down_make_no_circle() {
        assert!(files_of_circles(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]).is_empty());
        assert!(files_of_circles(1, &[(0, 0)]).is_empty());
    }

    #[test]
    fn of_each_knot_the_shortest_circle_is_reported() {
        assert_eq!(files_of_circles(4, &[(0, 1), (1, 2), (2, 0), (1, 0), (3, 0)]), [[0, 1]]);
        assert_eq!(files_of_circles(4, &[(0, 1), (1, 0), (2, 3), (3, 2)]), [[0, 1], [2, 3]]);
        assert_eq!(files_of_circles(3, &[(0, 1), (1, 2), (2, 0)]), [[0, 1, 2]]);
    }
}
