//! Publication of shared values: an atomic pointer that many threads read and one replaces
//! (read-copy-update).
//!
//! A read pins the thread, see [`readers`], and takes no reference count. So a replaced value may
//! still be in use by pinned readers, although no count says so. [`Replaced`] owns such a value. It
//! gives the value back when a *grace period* has passed: every thread that was pinned after the
//! replacement has unpinned. The writer pays for a grace period one load per thread, and nothing at
//! the replacement itself. Readers never wait, and the writer never waits for a reader.
//!
//! Why nobody reads freed memory: a pinned reader got its pointer after the pin. Either it got the
//! new value, or the grace period waits for it ([`readers`] has the proof). A reader that keeps the
//! value takes a reference count while pinned.

mod readers;

use crate::sync::{AtomicPtr, Ordering};
use readers::{GracePeriod, Pin};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;

/// A pointer to the current value, if there is one.
pub struct Published<T> {
    /// What `Arc::into_raw` gave, or null. It holds one reference count.
    current: AtomicPtr<T>,
    owns: PhantomData<Arc<T>>,
}

impl<T> Default for Published<T> {
    fn default() -> Self {
        Published { current: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }
}

fn into_raw<T>(value: Option<Arc<T>>) -> *mut T {
    value.map_or(ptr::null_mut(), |value| Arc::into_raw(value).cast_mut())
}

impl<T> Published<T> {
    /// The current value, for a short read. The thread is pinned until the result is dropped, which
    /// delays the reuse of everything that is replaced meanwhile.
    pub fn load(&self) -> Loaded<'_, T> {
        let pin = Pin::new();
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: null, or a value that this pointer held when the thread was pinned already. Its
        // reference count is given back after a grace period, which waits for the pin.
        Loaded { value: unsafe { current.as_ref() }, _pin: pin }
    }

    /// The current value, to keep.
    pub fn load_full(&self) -> Option<Arc<T>> {
        let _pin = Pin::new();
        let current = self.current.load(Ordering::Acquire);
        if current.is_null() {
            return None;
        }
        // SAFETY: as in `load`: during the pin there is a reference count, so that it may be
        // counted up.
        unsafe {
            Arc::increment_strong_count(current);
            Some(Arc::from_raw(current))
        }
    }

    /// Replaces the current value. Answers the previous one.
    pub fn swap(&self, value: Option<Arc<T>>) -> Option<Replaced<T>> {
        let old = self.current.swap(into_raw(value), Ordering::AcqRel);
        if old.is_null() {
            return None;
        }
        // SAFETY: `into_raw` gave it, and with the swap its reference count passes to us.
        Some(Replaced { value: ManuallyDrop::new(unsafe { Arc::from_raw(old) }), grace: None })
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let current = self.current.load(Ordering::Acquire);
        if !current.is_null() {
            // SAFETY: as in `swap`. Nobody reads: loaded values borrow this.
            drop(unsafe { Arc::from_raw(current) });
        }
    }
}

/// See [`Published::load`].
pub struct Loaded<'p, T> {
    value: Option<&'p T>,
    _pin: Pin,
}

impl<T> Loaded<'_, T> {
    pub fn get(&self) -> Option<&T> {
        self.value
    }
}

/// A value that was replaced and that pinned readers may still use. Dropped before the grace period
/// has passed, it waits for it: drop it where that does no harm.
pub struct Replaced<T> {
    value: ManuallyDrop<Arc<T>>,
    grace: Option<GracePeriod<'static>>,
}

impl<T> Replaced<T> {
    /// A value that no pinned reader uses.
    pub fn unread(value: Arc<T>) -> Self {
        Replaced { value: ManuallyDrop::new(value), grace: Some(GracePeriod::passed()) }
    }

    /// The value, if no pinned reader uses it any more. Those who took a reference count may.
    pub fn try_into_arc(mut self) -> Result<Arc<T>, Self> {
        if !self.has_passed() {
            return Err(self);
        }
        // It has memory of its own, which nothing below drops.
        self.grace = None;
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, nor dropped, so the value is taken once.
        Ok(unsafe { ManuallyDrop::take(&mut this.value) })
    }

    /// Drops the value on this thread, unless a pinned reader or a reference count holds it.
    pub fn drop_unheld(self) -> Result<(), Self> {
        Arc::try_unwrap(self.try_into_arc()?).map(drop).map_err(Replaced::unread)
    }

    fn has_passed(&mut self) -> bool {
        self.grace.get_or_insert_with(GracePeriod::begin).has_passed()
    }
}

impl<T> Deref for Replaced<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> fmt::Debug for Replaced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replaced")
    }
}

impl<T> Drop for Replaced<T> {
    fn drop(&mut self) {
        while !self.has_passed() {
            if readers::is_pinned() {
                // This thread would wait for itself. It leaks the value instead.
                return;
            }
            std::thread::yield_now();
        }
        // SAFETY: no pinned reader uses the value. It is dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
