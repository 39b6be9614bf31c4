use crate::{Collector, Entry, Instance, Instances, LINE_BYTES_MAX, LINES_MAX, Level, LevelFilter};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};
use tracing::field::Empty;
use tracing::subscriber::with_default;

/// A collector of this test's own.
fn hearing<T>(test: impl FnOnce(&Arc<Instances>) -> T) -> T {
    let instances = Arc::<Instances>::default();
    with_default(Collector::new(instances.clone()), || test(&instances))
}

fn open(instances: &Arc<Instances>, level: LevelFilter) -> Arc<Instance> {
    let instance = instances.open();
    instance.set_level(level);
    instance
}

fn take(instance: &Instance) -> Vec<Entry> {
    let mut all = Vec::new();
    loop {
        let taken = instance.take(100);
        if taken.is_empty() {
            return all;
        }
        all.extend(taken);
    }
}

fn lines(instance: &Instance) -> Vec<(Level, String)> {
    let line = |entry| match entry {
        Entry::Line(line) => (line.level, line.text),
        Entry::Dropped(count) => panic!("{count} lines were dropped"),
    };
    take(instance).into_iter().map(line).collect()
}

fn texts(instance: &Instance) -> Vec<String> {
    lines(instance).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn an_event_becomes_a_line_of_the_instance_that_it_names() {
    hearing(|instances| {
        let (first, second) = (open(instances, LevelFilter::DEBUG), open(instances, LevelFilter::WARN));
        let before = SystemTime::now();
        tracing::warn!(vdr = second.number(), code = "closed", count = 2, "lost {}", "it");
        tracing::debug!(vdr = first.number(), "first");
        tracing::debug!(vdr = second.number(), "less than the second instance wants");
        tracing::trace!(vdr = first.number(), "less than anybody wants");
        tracing::error!(vdr = u64::MAX, "nobody's");
        tracing::error!("without a name");
        let entries = take(&second);
        let [Entry::Line(line)] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((line.level, &line.text[..]), (Level::WARN, "lost it code=closed count=2"));
        assert!(before <= line.time && line.time <= SystemTime::now());
        assert_eq!(lines(&first), [(Level::DEBUG, "first".to_owned())]);
    });
}

#[test]
fn a_level_is_changed_for_one_instance_while_events_come() {
    hearing(|instances| {
        let (raised, other) = (open(instances, LevelFilter::INFO), open(instances, LevelFilter::INFO));
        let event = |text| {
            tracing::trace!(vdr = raised.number(), "{text}");
            tracing::trace!(vdr = other.number(), "{text}");
        };
        event("before");
        raised.set_level(LevelFilter::TRACE);
        assert_eq!(raised.level(), LevelFilter::TRACE);
        event("raised");
        raised.set_level(LevelFilter::INFO);
        event("after");
        assert_eq!((texts(&raised), texts(&other)), (vec!["raised".to_owned()], vec![]));
        raised.set_level(LevelFilter::OFF);
        tracing::error!(vdr = raised.number(), "off");
        assert_eq!(texts(&raised), [""; 0]);
    });
}

#[test]
fn the_fields_of_an_event_that_nobody_wants_are_not_evaluated() {
    hearing(|instances| {
        let instance = open(instances, LevelFilter::DEBUG);
        let evaluated = AtomicUsize::new(0);
        let event = || {
            tracing::trace!(vdr = instance.number(), count = evaluated.fetch_add(1, Ordering::Relaxed) + 1, "costs");
            evaluated.load(Ordering::Relaxed)
        };
        assert_eq!(event(), 0);
        instance.set_level(LevelFilter::TRACE);
        assert_eq!(event(), 1);
        instance.set_level(LevelFilter::DEBUG);
        assert_eq!(event(), 1);
        // An instance that is gone wants nothing.
        let other = open(instances, LevelFilter::TRACE);
        drop(other);
        assert_eq!(event(), 1);
        assert_eq!(texts(&instance), ["costs count=1"]);
    });
}

#[test]
fn a_span_becomes_a_line_when_its_last_handle_is_dropped() {
    hearing(|instances| {
        let instance = open(instances, LevelFilter::DEBUG);
        let span = tracing::debug_span!("sync", vdr = instance.number(), server = "a:1", keys = Empty, never = Empty);
        let handle = span.clone();
        span.in_scope(|| tracing::debug!(vdr = instance.number(), "within"));
        handle.record("keys", 7);
        drop(span);
        assert_eq!(texts(&instance), ["within"]);
        thread::sleep(Duration::from_millis(2));
        drop(handle);
        let texts = texts(&instance);
        let (took, fields) = texts[0].split_once(" ms: ").unwrap();
        let took_ms: f64 = took.strip_prefix("sync took ").unwrap().parse().unwrap();
        assert!(texts.len() == 1 && (2.0..60_000.0).contains(&took_ms), "{texts:?}");
        assert_eq!(fields, "server=a:1 keys=7");
    });
}

#[test]
fn a_span_that_the_instance_does_not_want_becomes_no_line() {
    hearing(|instances| {
        let (instance, curious) = (open(instances, LevelFilter::INFO), open(instances, LevelFilter::TRACE));
        let unwanted = tracing::debug_span!("unwanted", vdr = instance.number(), keys = Empty);
        unwanted.record("keys", 7);
        instance.set_level(LevelFilter::DEBUG);
        drop(unwanted.clone());
        drop(unwanted);
        let until = tracing::debug_span!("until the level is lowered", vdr = instance.number());
        instance.set_level(LevelFilter::INFO);
        drop(until);
        assert_eq!(texts(&instance), [""; 0]);
        drop(tracing::trace_span!("wanted", vdr = curious.number()));
        assert!(texts(&curious)[0].starts_with("wanted took 0."));
    });
}

#[test]
fn a_full_queue_drops_lines_until_it_is_half_empty_and_says_how_many() {
    hearing(|instances| {
        let instance = open(instances, LevelFilter::INFO);
        let event = |n: usize| tracing::info!(vdr = instance.number(), "{n}");
        let line = |entry: &Entry| match entry {
            Entry::Line(line) => line.text.parse::<usize>().unwrap(),
            Entry::Dropped(count) => panic!("{count} were dropped"),
        };
        (0..LINES_MAX + 3).for_each(event);
        let first = instance.take(LINES_MAX / 2 - 1);
        assert_eq!(first.iter().map(line).collect::<Vec<_>>(), (0..LINES_MAX / 2 - 1).collect::<Vec<_>>());
        // There is room, and still this one is dropped: the count is told first.
        event(LINES_MAX + 3);
        let second = instance.take(1);
        assert_eq!(second.iter().map(line).collect::<Vec<_>>(), [LINES_MAX / 2 - 1]);
        event(5000);
        let rest = take(&instance);
        let (last, rest) = rest.split_last().unwrap();
        let (dropped, rest) = rest.split_last().unwrap();
        assert_eq!(rest.iter().map(line).collect::<Vec<_>>(), (LINES_MAX / 2..LINES_MAX).collect::<Vec<_>>());
        assert_eq!((dropped, line(last)), (&Entry::Dropped(4), 5000));
        assert_eq!(instance.take(1), []);
    });
}

#[test]
fn a_line_is_bounded_and_begins_no_other_line() {
    hearing(|instances| {
        let instance = open(instances, LevelFilter::INFO);
        let text = "ä".repeat(LINE_BYTES_MAX);
        tracing::info!(vdr = instance.number(), text = &text[..], "long");
        tracing::info!(vdr = instance.number(), text = "a\r\nb\u{1b}[31m\0", "hostile\nwords");
        drop(tracing::info_span!("span", vdr = instance.number(), text = &text[..], more = "no"));
        let texts = texts(&instance);
        for long in [&texts[0], &texts[2]] {
            assert!(long.len() <= LINE_BYTES_MAX + '…'.len_utf8() && long.ends_with("ä…"), "{long}");
        }
        assert_eq!(texts[1], r"hostile\nwords text=a\r\nb\u{1b}[31m\u{0}");
    });
}

#[test]
fn the_process_is_woken_once_until_it_has_found_the_queue_empty() {
    hearing(|instances| {
        let instance = open(instances, LevelFilter::INFO);
        let wakes = Arc::new(AtomicUsize::new(0));
        let event = || tracing::info!(vdr = instance.number(), "line");
        // Before anybody listens.
        event();
        let counted = wakes.clone();
        instance.wake_by(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        let woken = || wakes.load(Ordering::SeqCst);
        assert_eq!((instance.take(10).len(), woken()), (1, 0));
        event();
        event();
        assert_eq!((instance.take(10).len(), woken()), (2, 1));
        event();
        assert_eq!((instance.take(10).len(), woken()), (1, 1), "it was not empty yet");
        assert_eq!(instance.take(10), []);
        event();
        assert_eq!(woken(), 2);
    });
}

#[test]
fn each_line_of_many_threads_is_taken_or_counted() {
    const THREADS: usize = 4;
    const EACH: usize = 20_000;
    hearing(|instances| {
        let instance = open(instances, LevelFilter::INFO);
        let instance = &*instance;
        let (mut lines, mut dropped) = (0, 0);
        let told = &AtomicUsize::new(0);
        thread::scope(|scope| {
            let threads = [(); THREADS].map(|()| {
                let collector = Collector::new(instances.clone());
                scope.spawn(move || {
                    with_default(collector, || {
                        (0..EACH).for_each(|n| {
                            tracing::info!(vdr = instance.number(), "{n}");
                            told.fetch_add(1, Ordering::SeqCst);
                        });
                    });
                })
            });
            // However slow the threads are, there are more lines than the queue takes.
            while told.load(Ordering::SeqCst) <= LINES_MAX {
                thread::sleep(Duration::from_millis(1));
            }
            loop {
                let is_over = threads.iter().all(|thread| thread.is_finished());
                for entry in take(instance) {
                    match entry {
                        Entry::Line(_) => lines += 1,
                        Entry::Dropped(count) => dropped += count,
                    }
                }
                if is_over {
                    return;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(lines + dropped, (THREADS * EACH) as u64);
        assert!(lines >= LINES_MAX as u64 && dropped > 0, "{lines} lines, {dropped} dropped");
    });
}
