//! Asks all known Sentinels at the same time, and those that they name.

use super::config::SentinelConfig;
use super::failure::Failure;
use super::owner::Owner;
use super::query::{Answer, ask};
use super::roster::Roster;
use super::verdict::Vote;
use crate::address::Address;
use crate::runtime::boxed;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The answers of one round, one per Sentinel.
#[derive(Debug)]
pub struct Round {
    pub answers: Vec<Answer>,
    pub failures: Vec<(Address, Failure)>,
    /// The known Sentinels, with those that the answers name.
    pub roster: Roster,
}

/// Whether the votes are enough. Its other argument is how many Sentinels are known.
pub type IsEnough = Box<dyn Fn(&[Vote], usize) -> bool + Send + Sync>;

/// Every Sentinel has the same time, so a round takes no longer the more of them are out of reach.
///
/// The round is over when all Sentinels have answered or failed; or when `is_enough` says so. A
/// look-up does not wait for Sentinels that are out of reach for good.
pub async fn run(
    config: Arc<SentinelConfig>,
    owner: Arc<dyn Owner>,
    roster: Roster,
    is_enough: Option<IsEnough>,
) -> Round {
    let mut round = Round { answers: Vec::new(), failures: Vec::new(), roster };
    let mut asked = JoinSet::new();
    let start = |asked: &mut JoinSet<_>, sentinel: Address| {
        let (config, owner) = (config.clone(), owner.clone());
        asked.spawn(boxed(async move {
            let answer = ask(&config, &*owner, &sentinel).await;
            (sentinel, answer)
        }));
    };
    let mut pending = round.roster.addresses();
    pending.iter().for_each(|sentinel| start(&mut asked, sentinel.clone()));
    while let Some(done) = asked.join_next().await {
        // A panic was logged, and its Sentinel counts as one without an answer.
        let Ok((sentinel, answer)) = done else { continue };
        pending.retain(|other| *other != sentinel);
        match answer {
            Ok(answer) => {
                for new in round.roster.learn(&answer) {
                    start(&mut asked, new.clone());
                    pending.push(new);
                }
                round.add(answer);
            }
            Err(failure) => {
                round.roster.mark_out_of_reach(&sentinel);
                round.failures.push((sentinel, failure));
            }
        }
        if let Some(is_enough) = &is_enough
            && (is_enough(&round.votes(), round.roster.len()) || !round.awaits_any(&pending))
        {
            break;
        }
    }
    round
}

impl Round {
    pub fn votes(&self) -> Vec<Vote> {
        self.answers.iter().map(|answer| Vote { primary: answer.primary.clone(), epoch: answer.epoch }).collect()
    }

    /// A Sentinel that was asked by two addresses has one vote.
    fn add(&mut self, answer: Answer) {
        let is_same = |other: &Answer| other.id.is_some() && other.id == answer.id;
        if !self.answers.iter().any(is_same) {
            self.answers.push(answer);
        }
    }

    fn awaits_any(&self, pending: &[Address]) -> bool {
        pending.iter().any(|sentinel| self.roster.is_awaited(sentinel))
    }
}
