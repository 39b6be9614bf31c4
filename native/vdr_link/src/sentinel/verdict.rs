//! The decision about a failover, from votes and config epochs. No I/O.
//!
//! A config epoch is a number that the Sentinels agree upon at each failover, and it only grows. So
//! of two answers the one with the higher epoch is the newer one, whoever gives it. Where epochs
//! are unknown, or were reset by an operator, a majority of all known Sentinels decides.

use crate::address::Address;

/// What one Sentinel takes for the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    pub primary: Address,
    /// None: the Sentinel did not say.
    pub epoch: Option<u64>,
}

/// What a poll says about the current server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollVerdict {
    Stay,
    /// A failover took place: a majority names another primary, by a newer config.
    Leave(Vote),
    /// A majority names another primary, but no newer config shows that there was a failover. The
    /// current server decides: a link is left only if the server's role has changed.
    AskServer(Vote),
}

/// The primary that a majority of `known` Sentinels names, by the newest config of theirs.
pub fn majority(votes: &[Vote], known: usize) -> Option<&Vote> {
    let most = votes.iter().find(|vote| count(votes, &vote.primary).saturating_mul(2) > known)?;
    let newest = votes.iter().max_by_key(|vote| vote.epoch)?;
    // A newer config, seen by few so far, is about to reach the others.
    let is_overtaken = newest.epoch > most.epoch && newest.primary != most.primary;
    if is_overtaken { None } else { newest_of(votes, &most.primary) }
}

/// The primary to attach to. `accepted` is the one that was attached to before.
pub fn choose(votes: &[Vote], known: usize, accepted: Option<&Vote>) -> Option<Vote> {
    if let Some(vote) = majority(votes, known) {
        return Some(vote.clone());
    }
    // The newest config; of equal ones the one that most name, and of these the first.
    let best = votes.iter().rev().max_by_key(|vote| (vote.epoch, count(votes, &vote.primary)))?;
    match accepted {
        // What is left of the Sentinels is behind what was known already.
        Some(accepted) if is_older(best, accepted) => Some(accepted.clone()),
        _ => Some(best.clone()),
    }
}

/// Whether a look-up needs no more votes: a majority agrees, by no older config than the accepted
/// one.
pub fn is_decided(votes: &[Vote], known: usize, accepted: Option<&Vote>) -> bool {
    let is_outdated = |vote: &Vote| accepted.is_some_and(|accepted| is_older(vote, accepted));
    majority(votes, known).is_some_and(|vote| !is_outdated(vote))
}

/// Judges a poll, whose votes `leaves` would leave the current server.
pub fn judge_poll(
    votes: &[Vote],
    known: usize,
    accepted: Option<&Vote>,
    leaves: impl Fn(&Address) -> bool,
) -> PollVerdict {
    match majority(votes, known) {
        Some(vote) if !leaves(&vote.primary) => PollVerdict::Stay,
        Some(vote) if accepted.is_some_and(|accepted| is_older(accepted, vote)) => PollVerdict::Leave(vote.clone()),
        Some(vote) => PollVerdict::AskServer(vote.clone()),
        None => PollVerdict::Stay,
    }
}

/// Whether `one` certainly is of an older config than `other`.
pub fn is_older(one: &Vote, other: &Vote) -> bool {
    one.epoch.zip(other.epoch).is_some_and(|(one, other)| one < other)
}

fn count(votes: &[Vote], primary: &Address) -> usize {
    votes.iter().filter(|vote| vote.primary == *primary).count()
}

fn newest_of<'a>(votes: &'a [Vote], primary: &Address) -> Option<&'a Vote> {
    votes.iter().filter(|vote| vote.primary == *primary).max_by_key(|vote| vote.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(host: &str, epoch: impl Into<Option<u64>>) -> Vote {
        Vote { primary: Address::new(host, 6379), epoch: epoch.into() }
    }

    fn judged(votes: &[Vote], known: usize, accepted: &Vote) -> PollVerdict {
        judge_poll(votes, known, Some(accepted), |primary| *primary != accepted.primary)
    }

    #[test]
    fn a_majority_is_one_of_all_known_sentinels() {
        assert_eq!(majority(&[vote("a", 1)], 3), None);
        assert_eq!(majority(&[vote("a", 1), vote("a", 1)], 3), Some(&vote("a", 1)));
        assert_eq!(majority(&[vote("a", 1), vote("a", 1)], 4), None);
        assert_eq!(majority(&[vote("a", 1), vote("b", 1)], 2), None);
        assert_eq!(majority(&[], 0), None);
        assert_eq!(majority(&[vote("a", None), vote("a", 7), vote("b", 3)], 3), Some(&vote("a", 7)));
    }

    #[test]
    fn a_newer_config_outvotes_a_majority_of_older_ones() {
        let votes = [vote("a", 4), vote("a", 4), vote("b", 5)];
        assert_eq!(majority(&votes, 3), None);
        assert_eq!(choose(&votes, 3, None), Some(vote("b", 5)));
        assert_eq!(judged(&votes, 3, &vote("b", 5)), PollVerdict::Stay);
    }

    #[test]
    fn a_look_up_waits_for_the_rest_while_a_majority_is_behind_what_is_known() {
        let late = [vote("a", 4), vote("a", 4)];
        assert!(is_decided(&late, 3, None));
        assert!(!is_decided(&late, 3, Some(&vote("b", 5))));
        assert!(is_decided(&late, 3, Some(&vote("b", 4))));
        assert!(!is_decided(&late, 5, None));
    }

    #[test]
    fn one_isolated_sentinel_moves_nobody() {
        // Two of three are down, and the third still names the old primary.
        assert_eq!(judged(&[vote("old", 1)], 3, &vote("new", 2)), PollVerdict::Stay);
        assert_eq!(judged(&[vote("old", None)], 3, &vote("new", None)), PollVerdict::Stay);
        // Nor does a look-up go back to it, once the newer config was known.
        assert_eq!(choose(&[vote("old", 1)], 3, Some(&vote("new", 2))), Some(vote("new", 2)));
        // A mirror that knows nothing else takes what there is.
        assert_eq!(choose(&[vote("old", 1)], 3, None), Some(vote("old", 1)));
    }

    #[test]
    fn a_poll_moves_a_link_by_a_newer_config_and_asks_the_server_otherwise() {
        let moved = [vote("b", 5), vote("b", 5)];
        assert_eq!(judged(&moved, 3, &vote("a", 4)), PollVerdict::Leave(vote("b", 5)));
        assert_eq!(judged(&moved, 3, &vote("a", 5)), PollVerdict::AskServer(vote("b", 5)));
        assert_eq!(judged(&moved, 3, &vote("a", None)), PollVerdict::AskServer(vote("b", 5)));
        let unknown = [vote("b", None), vote("b", None)];
        assert_eq!(judged(&unknown, 3, &vote("a", 4)), PollVerdict::AskServer(vote("b", None)));
    }

    #[test]
    fn an_operator_who_resets_the_epochs_is_followed_by_majority() {
        let reset = [vote("b", 0), vote("b", 0), vote("a", 0)];
        assert_eq!(choose(&reset, 3, Some(&vote("a", 9))), Some(vote("b", 0)));
        assert_eq!(judged(&reset, 3, &vote("a", 9)), PollVerdict::AskServer(vote("b", 0)));
    }

    #[test]
    fn without_epochs_the_first_answer_of_the_most_counts() {
        assert_eq!(choose(&[vote("a", None), vote("b", None)], 4, None), Some(vote("a", None)));
        assert_eq!(choose(&[vote("a", None), vote("b", None), vote("b", None)], 9, None), Some(vote("b", None)));
        assert_eq!(choose(&[], 3, Some(&vote("a", 1))), None);
    }
}
