//! Failovers: which events move a link, and which do not.

use crate::fake::{Fake, View};
use crate::recorder::{Note, Watched, cluster, config, eventually};
use std::time::Duration;
use vdr_link::{Address, Role};

fn server(role: &'static str) -> Fake {
    Fake::start(View { role, ..View::default() })
}

fn watched(sentinels: &[Fake]) -> Watched {
    let watched = Watched::start(config(&sentinels.iter().collect::<Vec<_>>()));
    eventually("a subscription", || sentinels.iter().any(Fake::has_subscriber));
    watched
}

fn name(sentinels: &[Fake], primary: &Address, epoch: Option<u64>) {
    for sentinel in sentinels {
        let mut view = sentinel.view.lock();
        (view.primary, view.epoch) = (Some(primary.clone()), epoch);
    }
}

/// Stops the Sentinel with the subscription, so that the next one is subscribed to and all are
/// polled.
fn poll(sentinels: &[Fake]) {
    let subscribed = sentinels.iter().find(|sentinel| sentinel.has_subscriber()).unwrap();
    subscribed.stop();
    let others = sentinels.iter().filter(|sentinel| sentinel.address != subscribed.address);
    let others: Vec<&Fake> = others.collect();
    eventually("another subscription", || others.iter().any(|sentinel| sentinel.has_subscriber()));
}

const A_POLL: Duration = Duration::from_millis(1500);

#[test]
fn two_of_three_down_and_the_third_behind_moves_nobody() {
    let (old, new) = (server("master"), server("master"));
    for epochs in [(Some(1), Some(2)), (None, None)] {
        let sentinels = cluster(3, &new.address, epochs.1);
        let watched = watched(&sentinels);
        assert_eq!(watched.look_up(), Ok(new.address.clone()));
        let subscribed = sentinels.iter().position(Fake::has_subscriber).unwrap();
        let [isolated, other] = [1, 2].map(|step| (subscribed + step) % 3);
        name(&sentinels[isolated..=isolated], &old.address, epochs.0);
        sentinels[other].stop();
        poll(&sentinels);
        watched.assert_quiet_for(A_POLL);
    }
}

#[test]
fn a_poll_moves_a_streaming_link_by_a_newer_config() {
    let (old, new) = (server("master"), server("master"));
    let sentinels = cluster(5, &old.address, Some(1));
    let watched = watched(&sentinels);
    assert_eq!(watched.look_up(), Ok(old.address.clone()));
    name(&sentinels, &new.address, Some(2));
    poll(&sentinels);
    assert_eq!(watched.next(), Note::Switched(new.address.clone()));
}

#[test]
fn without_a_newer_config_the_server_itself_decides() {
    let (old, new) = (server("master"), server("master"));
    for epoch in [None, Some(1)] {
        let sentinels = cluster(5, &old.address, epoch);
        let watched = watched(&sentinels);
        assert_eq!(watched.look_up(), Ok(old.address.clone()));
        name(&sentinels, &new.address, epoch);
        poll(&sentinels);
        watched.assert_quiet_for(A_POLL);
        old.view.lock().role = "slave";
        poll(&sentinels);
        assert_eq!(watched.next(), Note::Switched(new.address.clone()));
        old.view.lock().role = "master";
    }
}

#[test]
fn a_link_that_does_not_stream_follows_a_majority() {
    let (old, new) = (server("master"), server("master"));
    let sentinels = cluster(5, &old.address, None);
    let watched = watched(&sentinels);
    assert_eq!(watched.look_up(), Ok(old.address.clone()));
    *watched.owner.is_streaming.lock() = false;
    name(&sentinels, &new.address, None);
    poll(&sentinels);
    assert_eq!(watched.next(), Note::Switched(new.address.clone()));
}

#[test]
fn a_message_moves_at_once_unless_it_is_late() {
    let (old, new) = (server("master"), server("master"));
    let sentinels = cluster(3, &old.address, Some(5));
    let watched = watched(&sentinels);
    assert_eq!(watched.look_up(), Ok(old.address.clone()));
    let subscribed = sentinels.iter().position(Fake::has_subscriber).unwrap();
    let speaker = &sentinels[subscribed..=subscribed];
    name(speaker, &new.address, Some(4));
    speaker[0].publish("g", &new.address);
    watched.assert_quiet_for(Duration::from_millis(500));
    name(speaker, &new.address, Some(6));
    speaker[0].publish("another group", &new.address);
    watched.assert_quiet_for(Duration::from_millis(500));
    speaker[0].publish("g", &new.address);
    assert_eq!(watched.next(), Note::Switched(new.address.clone()));
    // The same message again changes nothing.
    speaker[0].publish("g", &new.address);
    watched.assert_quiet_for(Duration::from_millis(500));
    // The message of a Sentinel without an epoch is accepted.
    name(speaker, &old.address, None);
    speaker[0].publish("g", &old.address);
    assert_eq!(watched.next(), Note::Switched(old.address.clone()));
}

#[test]
fn a_replica_is_left_when_it_becomes_the_primary() {
    let (primary, replica) = (server("master"), server("slave"));
    let sentinels = cluster(3, &primary.address, Some(1));
    for sentinel in &sentinels {
        sentinel.view.lock().replicas = vec![replica.address.clone()];
    }
    let mut config = config(&sentinels.iter().collect::<Vec<_>>());
    config.role = Role::Replica;
    let watched = Watched::start(config);
    eventually("a subscription", || sentinels.iter().any(Fake::has_subscriber));
    assert_eq!(watched.look_up(), Ok(replica.address.clone()));
    let subscribed = sentinels.iter().position(Fake::has_subscriber).unwrap();
    let other = Address::new("10.0.0.9", 1);
    name(&sentinels, &other, Some(2));
    sentinels[subscribed].publish("g", &other);
    watched.assert_quiet_for(Duration::from_millis(500));
    name(&sentinels, &replica.address, Some(3));
    sentinels[subscribed].publish("g", &replica.address);
    assert_eq!(watched.next(), Note::Switched(replica.address.clone()));
}
