//! The known Sentinels: those that the user named, and those that they name.

use super::query::Answer;
use crate::address::Address;

/// How many are remembered beside those that the user named, whatever a Sentinel claims.
const LEARNT_MAX: usize = 32;

#[derive(Clone, Debug)]
pub struct Roster {
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    address: Address,
    /// Two addresses with one id are one Sentinel, which has one vote.
    id: Option<String>,
    configured: bool,
    /// It did not answer the last time.
    out_of_reach: bool,
}

impl Roster {
    pub fn new(configured: &[Address]) -> Self {
        let mut roster = Roster { members: Vec::new() };
        for address in configured {
            if !roster.has(address, None) {
                let (address, id) = (address.clone(), None);
                roster.members.push(Member { address, id, configured: true, out_of_reach: false });
            }
        }
        roster
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.members.iter().map(|member| member.address.clone()).collect()
    }

    /// How many Sentinels there are, reachable or not.
    pub fn len(&self) -> usize {
        let members = self.members.iter().enumerate();
        members.filter(|(at, member)| !self.is_alias(*at, member)).count()
    }

    /// Whether a look-up waits for the answer of this one. A Sentinel that the user did not name
    /// may be out of reach for good, behind an address translation say.
    pub fn is_awaited(&self, address: &Address) -> bool {
        let member = self.members.iter().find(|member| member.address == *address);
        member.is_some_and(|member| member.configured || !member.out_of_reach)
    }

    /// This one did not answer.
    pub fn mark_out_of_reach(&mut self, address: &Address) {
        if let Some(member) = self.members.iter_mut().find(|member| member.address == *address) {
            member.out_of_reach = true;
        }
    }

    /// Learns from an answer. The result are the addresses that are new.
    pub fn learn(&mut self, answer: &Answer) -> Vec<Address> {
        if let Some(member) = self.members.iter_mut().find(|member| member.address == answer.sentinel) {
            member.out_of_reach = false;
            member.id = answer.id.clone().or(member.id.take());
        }
        let mut new = Vec::new();
        for (address, id) in &answer.others {
            let learnt = self.members.iter().filter(|member| !member.configured).count();
            if learnt < LEARNT_MAX && !self.has(address, id.as_deref()) {
                let (address, id) = (address.clone(), id.clone());
                new.push(address.clone());
                self.members.push(Member { address, id, configured: false, out_of_reach: false });
            }
        }
        new
    }

    fn has(&self, address: &Address, id: Option<&str>) -> bool {
        let same_id = |member: &Member| id.is_some() && member.id.as_deref() == id;
        self.members.iter().any(|member| member.address == *address || same_id(member))
    }

    /// Whether an earlier member has the same id.
    fn is_alias(&self, at: usize, member: &Member) -> bool {
        member.id.is_some() && self.members.iter().take(at).any(|earlier| earlier.id == member.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> Address {
        Address::new(host, 26379)
    }

    fn answer(sentinel: &str, id: &str, others: &[(&str, &str)]) -> Answer {
        Answer {
            sentinel: address(sentinel),
            id: Some(id.to_owned()),
            primary: address("primary"),
            epoch: None,
            others: others.iter().map(|(host, id)| (address(host), Some((*id).to_owned()))).collect(),
            replicas: None,
        }
    }

    #[test]
    fn a_sentinel_counts_once_whatever_it_is_called() {
        let mut roster = Roster::new(&[address("one"), address("one"), address("two")]);
        assert_eq!(roster.len(), 2);
        // The second names the first by its address before the first has sent its id.
        assert_eq!(roster.learn(&answer("two", "b", &[("10.0.0.1", "a"), ("10.0.0.3", "c")])).len(), 2);
        assert_eq!(roster.len(), 4);
        assert_eq!(roster.learn(&answer("one", "a", &[("10.0.0.2", "b"), ("10.0.0.3", "c")])), []);
        assert_eq!(roster.len(), 3);
    }

    #[test]
    fn what_one_claims_is_bounded() {
        let mut roster = Roster::new(&[address("one")]);
        for turn in 0..100 {
            let host = format!("h{turn}");
            roster.learn(&answer("one", "a", &[(host.as_str(), host.as_str())]));
        }
        assert_eq!(roster.len(), 1 + LEARNT_MAX);
    }

    #[test]
    fn a_look_up_waits_for_those_that_the_user_named_or_that_answer() {
        let mut roster = Roster::new(&[address("one")]);
        roster.learn(&answer("one", "a", &[("two", "b")]));
        assert!(roster.is_awaited(&address("two")));
        for host in ["one", "two"] {
            roster.mark_out_of_reach(&address(host));
        }
        assert!(roster.is_awaited(&address("one")));
        assert!(!roster.is_awaited(&address("two")));
        roster.learn(&answer("two", "b", &[]));
        assert!(roster.is_awaited(&address("two")));
    }
}
