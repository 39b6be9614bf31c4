//! The tags of a process's watches: the terms by which it recognises their events.
//!
//! A term needs an environment, which takes some hundred bytes and which two threads must not use
//! at once. So 64 tags share one, and it goes with the last of them. Watches that are set one after
//! the other with the same tag share the tag.

use parking_lot::Mutex;
use rustler::env::SavedTerm;
use rustler::{Env, OwnedEnv, Term};
use std::collections::BTreeMap;
use vdr_replica::watch::Tag;

const TAGS_OF_PAGE: u64 = 64;

/// See the module.
#[derive(Default)]
pub struct Tags(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    next: Tag,
    by_number: BTreeMap<u64, Page>,
}

/// The tags of one environment.
#[derive(Default)]
struct Page {
    env: OwnedEnv,
    /// With the number of watches that have the tag.
    tags: Vec<(SavedTerm, u32)>,
    used: usize,
}

impl Page {
    fn load<'a>(&self, place: usize, env: Env<'a>) -> Option<Term<'a>> {
        let (saved, count) = self.tags.get(place)?;
        (*count > 0).then(|| self.env.run(|of_page| saved.load(of_page).in_env(env)))
    }
}

/// The page of a tag, and its place there.
fn place(tag: Tag) -> (u64, usize) {
    (tag / TAGS_OF_PAGE, (tag % TAGS_OF_PAGE) as usize)
}

impl Tags {
    /// Keeps a term, until it is released as often as it was kept.
    pub fn keep(&self, term: Term<'_>) -> Tag {
        let mut pages = self.0.lock();
        let last = pages.next.checked_sub(1);
        if let Some(last) = last {
            let (number, place) = place(last);
            let page = pages.by_number.get_mut(&number);
            if let Some(page) = page.filter(|page| page.load(place, term.get_env()) == Some(term))
                && let Some((_, count)) = page.tags.get_mut(place)
            {
                *count += 1;
                return last;
            }
        }
        let tag = pages.next;
        pages.next += 1;
        let page = pages.by_number.entry(place(tag).0).or_default();
        let saved = page.env.run(|of_page| page.env.save(term.in_env(of_page)));
        page.tags.push((saved, 1));
        page.used += 1;
        tag
    }

    pub fn release(&self, tag: Tag) {
        let mut pages = self.0.lock();
        let (number, place) = place(tag);
        let Some(page) = pages.by_number.get_mut(&number) else { return };
        let Some((_, count)) = page.tags.get_mut(place).filter(|(_, count)| *count > 0) else { return };
        *count -= 1;
        if *count == 0 {
            page.used -= 1;
            if page.used == 0 {
                pages.by_number.remove(&number);
                // A number is given to one tag only: the next tag begins another page.
                pages.next = pages.next.max((number + 1) * TAGS_OF_PAGE);
            }
        }
    }

    /// The term, unless it was released.
    pub fn load<'a>(&self, tag: Tag, env: Env<'a>) -> Option<Term<'a>> {
        let pages = self.0.lock();
        let (number, place) = place(tag);
        pages.by_number.get(&number)?.load(place, env)
    }
}
