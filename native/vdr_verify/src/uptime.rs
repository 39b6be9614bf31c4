//! When a link streams, and what each interruption cost.

use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::time::{Duration, Instant};
use vdr_link::LinkState;

/// A link's thread says that the link has ended shortly before it ends itself.
const BETWEEN_LINKS: Duration = Duration::from_millis(1);

/// The times of one mirror's links, one after the other.
#[derive(Default)]
pub struct Uptime {
    times: Mutex<Times>,
    ended: Condvar,
}

#[derive(Default)]
struct Times {
    /// The current state of the current link, and since when; none between two links.
    state: Option<(LinkState, Instant)>,
    streamed: Duration,
    links_ended: u64,
    outages: Vec<Outage>,
}

/// From the end of a link that streamed to the next stream.
#[derive(Clone)]
pub struct Outage {
    pub began: Instant,
    /// None: it goes on.
    pub lasted: Option<Duration>,
    /// Why links ended: the one that streamed, and those that did not come so far.
    pub ends: Vec<String>,
    /// The states of the links that did not stream yet, and how long each took.
    pub states: Vec<(LinkState, Duration)>,
}

impl Uptime {
    pub fn enter(&self, state: LinkState) {
        let mut times = self.times.lock();
        times.leave_state();
        times.state = Some((state, Instant::now()));
        if state == LinkState::Streaming
            && let Some(outage) = times.outages.last_mut()
        {
            outage.lasted.get_or_insert(outage.began.elapsed());
        }
    }

    pub fn end(&self, why: String) {
        let mut times = self.times.lock();
        times.leave_state();
        times.state = None;
        times.links_ended += 1;
        match times.outages.last_mut().filter(|outage| outage.lasted.is_none()) {
            Some(outage) => outage.ends.push(why),
            None => {
                times.outages.push(Outage { began: Instant::now(), lasted: None, ends: vec![why], states: Vec::new() })
            }
        }
        drop(times);
        self.ended.notify_all();
    }

    pub fn is_streaming(&self) -> bool {
        matches!(self.times.lock().state, Some((LinkState::Streaming, _)))
    }

    /// How long links have streamed.
    pub fn streamed(&self) -> Duration {
        let times = self.times.lock();
        match times.state {
            Some((LinkState::Streaming, since)) => times.streamed + since.elapsed(),
            _ => times.streamed,
        }
    }

    /// Waits for the end of a link, but not longer than this; briefly, if there is no link.
    pub fn wait_for_an_end(&self, at_most: Duration) {
        let mut times = self.times.lock();
        let (before, at_most) = match times.state {
            Some(_) => (times.links_ended, at_most),
            None => (times.links_ended, BETWEEN_LINKS),
        };
        self.ended.wait_while_for(&mut times, |times| times.links_ended == before, at_most);
    }

    /// The interruptions that have begun since then.
    pub fn outages_since(&self, since: Instant) -> Vec<Outage> {
        self.times.lock().outages.iter().filter(|outage| outage.began >= since).cloned().collect()
    }
}

impl Times {
    fn leave_state(&mut self) {
        match (self.state, self.outages.last_mut()) {
            (Some((LinkState::Streaming, since)), _) => self.streamed += since.elapsed(),
            (Some((state, since)), Some(outage)) => outage.states.push((state, since.elapsed())),
            (Some(_), None) | (None, _) => {}
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lasted {
            Some(lasted) => write!(f, "{} ms", lasted.as_millis())?,
            None => write!(f, "until the end")?,
        }
        for (state, took) in &self.states {
            write!(f, ", {state} {} ms", took.as_millis())?;
        }
        self.ends.iter().try_for_each(|end| write!(f, "; {end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    const STEP: Duration = Duration::from_millis(20);

    #[test]
    fn an_interruption_lasts_until_the_next_stream_whatever_fails_between() {
        let (uptime, begun) = (Uptime::default(), Instant::now());
        let run = |states: &[LinkState], end: &str| {
            for state in states {
                uptime.enter(*state);
                sleep(STEP);
            }
            uptime.end(end.to_owned());
            sleep(STEP);
        };
        run(&[LinkState::Init, LinkState::Streaming], "killed");
        assert!(!uptime.is_streaming());
        let streamed = uptime.streamed();
        assert!((STEP..begun.elapsed()).contains(&streamed));
        run(&[LinkState::Init, LinkState::Ping], "killed again");
        assert_eq!(uptime.streamed(), streamed);
        uptime.enter(LinkState::Streaming);
        assert!(uptime.is_streaming());
        sleep(STEP);
        assert!(uptime.streamed() >= streamed + STEP);
        let outages = uptime.outages_since(begun);
        assert_eq!(outages.len(), 1);
        assert_eq!(outages[0].ends, ["killed", "killed again"]);
        assert!(outages[0].lasted.is_some_and(|lasted| lasted >= STEP * 4));
        let states: Vec<_> = outages[0].states.iter().map(|(state, _)| *state).collect();
        assert_eq!(states, [LinkState::Init, LinkState::Ping]);
        assert!(uptime.outages_since(Instant::now()).is_empty());
    }
}
