//! Instances as NIFs: the store, the link.

use crate::dropper;
use crate::freshness::StaleReads;
use crate::link_observer::LinkObserver;
use crate::recipient::Recipient;
use crate::source::{Source, SourceRef};
use crate::store::Store;
use crate::terms;
use rustler::types::atom;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, Term};
use tikv_jemalloc_ctl::{epoch, stats};

mod atoms {
    rustler::atoms! { no_thread, process_gone }
}

/// `stale_ms`: how long data is still read after the primary's last message. 0: only while a link
/// streams; nil: forever. `guard_key` is a binary, or nil for none. `only` is the filter, if not
/// everything is mirrored.
#[rustler::nif]
fn store_new<'a>(
    env: Env<'a>,
    stale_ms: Option<i64>,
    guard_key: Option<Binary<'a>>,
    only: Term<'a>,
) -> NifResult<Term<'a>> {
    let stale_reads = match stale_ms {
        None => StaleReads::Allow,
        Some(0) => StaleReads::Deny,
        Some(bound) => StaleReads::MaxMs(bound),
    };
    let guard_key = guard_key.map(|key| key.as_slice().to_vec());
    Ok(SourceRef::new(Source::Live(Store::new(stale_reads, guard_key, terms::only(only)?))).encode(env))
}

#[rustler::nif]
fn store_close(source: SourceRef) -> NifResult<rustler::Atom> {
    store(&source)?.close();
    Ok(atom::ok())
}

/// Whether there is data to read.
#[rustler::nif]
fn ready(source: SourceRef) -> bool {
    source.store().is_none_or(Store::has_data)
}

/// An estimate of the memory that the data takes, with its share of the allocator's gaps. It
/// samples many keys.
#[rustler::nif(schedule = "DirtyCpu")]
fn memory_bytes(source: SourceRef) -> u64 {
    let data = source.store().and_then(|store| store.live().snapshot());
    let taken = data.as_ref().map(|snapshot| vdr_data::estimate::estimate(&snapshot.keyspace)).unwrap_or_default();
    data.into_iter().for_each(dropper::release);
    (taken.allocated * in_use_for_each() + taken.in_host) as u64
}

/// The overhead factor is damped by this many bytes: of little data, freshly opened pages would
/// look like gaps.
const ITS_OWN_BYTES: f64 = 16e6;

/// The bytes of the allocator's active pages per allocated byte. It includes the gaps between
/// allocations, but not freed pages that are about to be returned to the system. It covers all
/// mirrors of the VM. It takes locks, so it is not for frequent use.
fn in_use_for_each() -> f64 {
    let known = || -> Result<f64, tikv_jemalloc_ctl::Error> {
        epoch::advance()?;
        let in_pages = |bytes: usize| bytes as f64 + ITS_OWN_BYTES;
        Ok(in_pages(stats::active::read()?) / in_pages(stats::allocated::read()?))
    };
    known().unwrap_or(1.0).max(1.0)
}

/// Counters and states, as a map.
#[rustler::nif]
fn status<'a>(env: Env<'a>, source: SourceRef) -> NifResult<Term<'a>> {
    Ok(terms::status(env, store(&source)?.status()))
}

#[rustler::nif]
fn snapshot<'a>(env: Env<'a>, source: SourceRef) -> NifResult<Term<'a>> {
    Ok(match store(&source)?.hold() {
        Some(held) => (atom::ok(), SourceRef::new(Source::Fixed(held))).encode(env),
        None => env.error_tuple(source.unreadable()),
    })
}

/// Starts a link that feeds the store or the handler, and replaces the previous link. `pid`, the
/// caller's, receives `{tag, event}` with the events `{:state, state}`, `:ready`,
/// `:guard_given_up`, `{:unknown_command, name}`, and at last `{:ended, code, detail, retry}`; when
/// it dies, the link ends. Starting threads takes a while the first time.
#[rustler::nif(schedule = "DirtyIo")]
fn link_start<'a>(
    env: Env<'a>,
    source: SourceRef,
    config: Term<'a>,
    pid: LocalPid,
    tag: Term<'a>,
) -> NifResult<Term<'a>> {
    let feed_config = terms::feed_config(config)?;
    let (slot, config) = (source.slot()?, terms::link_config(config, source.slot()?.log.number())?);
    let Some(monitor) = source.monitor(Some(env), &pid) else { return Ok(env.error_tuple(atoms::process_gone())) };
    let watches = source.store().map(|store| store.inner().shared.watches.clone());
    let observer = LinkObserver::new(slot.clone(), Recipient::new(pid, tag), watches);
    let started = match &*source {
        Source::Live(store) => {
            let feed = observer.feed(store.inner().clone(), config.endpoint.clone(), feed_config);
            vdr_link::spawn(config, feed, observer)
        }
        Source::Handler(handler) => {
            vdr_link::spawn(config, handler.feed(observer.link(), feed_config.string_bytes_max), observer)
        }
        Source::Fixed(_) => return Err(rustler::Error::BadArg),
    };
    match started {
        Ok(handle) => {
            let before = slot.keep(handle, monitor);
            before.map(|monitor| source.demonitor(Some(env), &monitor));
            // If the process died before the link was kept, its monitor found no link to end.
            if !pid.is_alive(env) {
                slot.down(&monitor);
            }
            if source.store().is_some_and(Store::is_closed) {
                slot.unlink();
            }
            Ok(atom::ok().to_term(env))
        }
        Err(_) => {
            source.demonitor(Some(env), &monitor);
            slot.unlink();
            Ok(env.error_tuple(atoms::no_thread()))
        }
    }
}

/// The link's process `pid` receives `{tag, :notices}` when there is something to take by
/// [`notices_take`].
#[rustler::nif]
fn notices_to<'a>(source: SourceRef, pid: LocalPid, tag: Term<'a>) -> NifResult<rustler::Atom> {
    store(&source)?.inner().notices.tell(Recipient::new(pid, tag));
    Ok(atom::ok())
}

/// What has happened since the last call: `{{missed_events, watches}, {guard_windows, total_ns,
/// longest_ns}}`.
#[rustler::nif]
fn notices_take(env: Env<'_>, source: SourceRef) -> NifResult<Term<'_>> {
    let inner = store(&source)?.inner();
    let missed = inner.notices.take_missed();
    let windows = inner.shared.status.guard_windows_closed.take();
    let [total_ns, longest_ns] =
        [windows.total, windows.longest].map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    Ok(((missed.events, missed.watches), (windows.count, total_ns, longest_ns)).encode(env))
}

#[rustler::nif]
fn link_stop(env: Env<'_>, source: SourceRef) -> NifResult<rustler::Atom> {
    let monitor = source.slot()?.unlink();
    monitor.map(|monitor| source.demonitor(Some(env), &monitor));
    Ok(atom::ok())
}

pub fn store(source: &SourceRef) -> NifResult<&Store> {
    source.store().ok_or(rustler::Error::BadArg)
}
