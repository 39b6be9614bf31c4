//! Look-ups: which Sentinels are asked, whose answer counts, and how long a look-up may take.

use crate::fake::{Fake, View};
use crate::recorder::{Watched, cluster, config};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use vdr_link::{Address, HostMap, Question};

fn primary(port: u16) -> Address {
    Address::new("10.0.0.1", port)
}

fn mute() -> Fake {
    Fake::start(View { silent: true, ..View::default() })
}

#[test]
fn many_silent_sentinels_cost_no_more_time_than_one() {
    let sentinels = cluster(1, &primary(1), Some(1));
    let silent: Vec<Fake> = (0..20).map(|_| mute()).collect();
    let all: Vec<&Fake> = silent.iter().chain(&sentinels).collect();
    let watched = Watched::start(config(&all));
    let started = Instant::now();
    assert_eq!(watched.look_up(), Ok(primary(1)));
    // The timeout of two seconds for the replies, plus time for a busy machine. One after the
    // other, it would be forty.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[test]
fn a_majority_is_not_kept_waiting_by_the_rest() {
    let mut sentinels = cluster(2, &primary(1), Some(1));
    sentinels.push(mute());
    let mut config = config(&sentinels.iter().collect::<Vec<_>>());
    config.access.timeout = Duration::from_secs(15);
    let watched = Watched::start(config);
    let started = Instant::now();
    assert_eq!(watched.look_up(), Ok(primary(1)));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn the_newest_config_is_believed_and_never_replaced_by_an_older_one() {
    let sentinels = cluster(3, &primary(1), Some(1));
    // No two agree, otherwise a look-up would wait for no more than these.
    sentinels[1].view.lock().primary = Some(primary(3));
    sentinels[2].view.lock().primary = Some(primary(2));
    sentinels[2].view.lock().epoch = Some(2);
    // To ask one Sentinel is enough, because it names the others.
    let watched = Watched::start(config(&[&sentinels[0]]));
    assert_eq!(watched.look_up(), Ok(primary(2)));
    sentinels[1].stop();
    sentinels[2].stop();
    assert_eq!(watched.look_up(), Ok(primary(2)), "the last one left is behind");
}

#[test]
fn rubbish_is_passed_over() {
    let sentinels = cluster(1, &primary(7), None);
    let rubbish: [&'static [u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        b"*999999999\r\n",
        b"$9999999999\r\n",
        b"*2\r\n$1\r\nh\r\n$5\r\n70000\r\n*-1\r\n*-1\r\n*-1\r\n",
    ];
    let fakes: Vec<Fake> =
        rubbish.into_iter().map(|garbage| Fake::start(View { garbage: Some(garbage), ..View::default() })).collect();
    let watched = Watched::start(config(&fakes.iter().chain(&sentinels).collect::<Vec<_>>()));
    assert_eq!(watched.look_up(), Ok(primary(7)));
    let watched = Watched::start(config(&fakes.iter().collect::<Vec<_>>()));
    let (code, detail) = watched.look_up().unwrap_err();
    assert_eq!(code, "no_sentinel_reachable");
    for text in ["not RESP", "nests deeper", "more than", "longer than", "makes no sense"] {
        assert!(detail.contains(text), "{detail}");
    }
}

#[test]
fn an_unknown_group_is_no_dead_sentinel() {
    let (mut sentinels, dead) = (cluster(1, &primary(1), None), mute());
    sentinels[0].view.lock().primary = None;
    sentinels.push(dead);
    sentinels[1].stop();
    let watched = Watched::start(config(&sentinels.iter().collect::<Vec<_>>()));
    assert_eq!(watched.look_up().unwrap_err().0, "unknown_group");
    sentinels[0].stop();
    assert_eq!(watched.look_up().unwrap_err().0, "no_sentinel_reachable");
}

#[test]
fn the_password_is_asked_for_and_shown_nowhere() {
    let sentinels = cluster(1, &primary(1), None);
    sentinels[0].view.lock().password = Some("sesame");
    let mut config = config(&[&sentinels[0]]);
    config.access.password = true;
    let watched = Watched::start(config.clone());
    *watched.owner.answer.lock() = Some("sesame".to_owned());
    assert_eq!(watched.look_up(), Ok(primary(1)));
    assert!(watched.owner.questions.lock().contains(&Question::SentinelPassword));
    *watched.owner.answer.lock() = Some("wrong sesame".to_owned());
    let (code, detail) = watched.look_up().unwrap_err();
    assert_eq!(code, "sentinel_refused");
    assert!(!detail.contains("sesame"), "{detail}");
    *watched.owner.answer.lock() = None;
    assert_eq!(watched.look_up().unwrap_err().0, "sentinel_refused");
}

#[test]
fn hosts_are_mapped_by_a_table_or_by_the_owner() {
    let sentinels = cluster(1, &primary(1), None);
    let mut config = config(&[&sentinels[0]]);
    config.host_map = HostMap::Table(HashMap::from([("10.0.0.1".to_owned(), "mapped".to_owned())]));
    config.server_port = Some(99);
    assert_eq!(Watched::start(config.clone()).look_up(), Ok(Address::new("mapped", 99)));
    config.host_map = HostMap::Ask;
    let watched = Watched::start(config);
    *watched.owner.answer.lock() = Some("asked".to_owned());
    assert_eq!(watched.look_up(), Ok(Address::new("asked", 99)));
    *watched.owner.answer.lock() = Some(String::new());
    assert_eq!(watched.look_up().unwrap_err().0, "bad_host_map");
}

#[test]
fn a_function_that_hangs_times_out() {
    let sentinels = cluster(1, &primary(1), None);
    let mut config = config(&[&sentinels[0]]);
    config.host_map = HostMap::Ask;
    let watched = Watched::start(config);
    *watched.owner.answers_after.lock() = Duration::from_secs(600);
    assert_eq!(watched.look_up().unwrap_err().0, "bad_host_map");
}
