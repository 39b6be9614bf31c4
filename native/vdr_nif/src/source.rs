//! The resource behind an instance, a `Vdr.Snapshot`, and a handler: reads take it as their source.

use crate::dropper;
use crate::handler::Handler;
use crate::holdings::{HeldSnapshot, Holdings};
use crate::link_slot::LinkSlot;
use crate::store::Store;
use rustler::{Atom, Env, Error, LocalPid, Monitor, NifResult, Resource, ResourceArc};
use std::sync::Arc;
use vdr_replica::live::{Live, Snapshot};

mod atoms {
    rustler::atoms! { no_instance, not_ready, stale }
}

pub enum Source {
    /// An instance: reads see the snapshot that is published at the time.
    Live(Store),
    /// One snapshot, which never changes.
    Fixed(HeldSnapshot),
    /// Nothing to read: the link's commands go to a process.
    Handler(Handler),
}

pub type SourceRef = ResourceArc<Source>;

#[rustler::resource_impl]
impl Resource for Source {
    /// A process that watched, or that kept the link running, is gone.
    fn down<'a>(&'a self, env: Env<'a>, pid: LocalPid, monitor: Monitor) {
        match self {
            Source::Live(store) => store.down(env, pid, monitor),
            Source::Handler(handler) => drop(handler.inner().slot.down(&monitor)),
            Source::Fixed(_) => {}
        }
    }
}

impl Source {
    /// Reads the current snapshot. `None` when nothing may be read: see [`Source::unreadable`].
    #[inline]
    pub fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        match self {
            Source::Live(store) if store.is_stale() => None,
            Source::Live(store) => store.live().load().get().map(read),
            Source::Fixed(held) => held.snapshot().map(|snapshot| read(snapshot)),
            Source::Handler(_) => None,
        }
    }

    /// As [`Source::read`], for long reads. The snapshot may be replaced meanwhile; then the
    /// dropper frees it.
    pub fn read_long<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        let snapshot = self.keep()?;
        let answer = self.sharing_key_index(&snapshot, || read(&snapshot));
        dropper::release(snapshot);
        Some(answer)
    }

    /// Reads a snapshot of this source. If the read builds the key index, the instance maintains it
    /// from then on.
    pub fn sharing_key_index<T>(&self, snapshot: &Arc<Snapshot>, read: impl FnOnce() -> T) -> T {
        let ordered = snapshot.keyspace.indexed_dbs();
        let answer = read();
        if snapshot.keyspace.indexed_dbs() > ordered {
            match self {
                Source::Live(store) => store.live().offer_key_index(snapshot.clone()),
                Source::Fixed(held) => held.live().offer_key_index(snapshot.clone()),
                Source::Handler(_) => {}
            }
        }
        answer
    }

    /// The reason why a read had no answer.
    pub fn unreadable(&self) -> Atom {
        match self {
            // The reader looked the store up a moment before the instance ended.
            Source::Live(store) if store.is_closed() => atoms::no_instance(),
            Source::Live(store) if store.inner().slot.status.freshness().may_refuse() && store.has_data() => {
                atoms::stale()
            }
            _ => atoms::not_ready(),
        }
    }

    /// The current snapshot, to keep for a while. On a scheduler, drop it at once or with
    /// [`dropper::release`].
    pub fn keep(&self) -> Option<Arc<Snapshot>> {
        match self {
            Source::Live(store) if store.is_stale() => None,
            Source::Live(store) => store.live().snapshot(),
            Source::Fixed(held) => held.snapshot().cloned(),
            Source::Handler(_) => None,
        }
    }

    /// A source of one snapshot that is in no instance's list.
    pub fn fixed(snapshot: Snapshot) -> SourceRef {
        SourceRef::new(Source::Fixed(HeldSnapshot::new(
            Arc::new(snapshot),
            0,
            Arc::<Holdings>::default(),
            Arc::<Live>::default(),
        )))
    }

    pub fn store(&self) -> Option<&Store> {
        match self {
            Source::Live(store) => Some(store),
            Source::Fixed(_) | Source::Handler(_) => None,
        }
    }

    pub fn handler(&self) -> NifResult<&Handler> {
        match self {
            Source::Handler(handler) => Ok(handler),
            Source::Live(_) | Source::Fixed(_) => Err(Error::BadArg),
        }
    }

    /// The slot of the link that feeds it. Only instances and handlers have one.
    pub fn slot(&self) -> NifResult<&Arc<LinkSlot>> {
        match self {
            Source::Live(store) => Ok(&store.inner().slot),
            Source::Handler(handler) => Ok(&handler.inner().slot),
            Source::Fixed(_) => Err(Error::BadArg),
        }
    }
}
