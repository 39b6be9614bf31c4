//! The subscriber of the process: finds the instance of an event or a span, and makes a line of it.

use crate::instances::{Instance, Instances};
use crate::queue::Line;
use crate::text::{Number, Text};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// The id of spans that nobody wants.
const UNWANTED: u64 = u64::MAX;

/// See the module.
pub struct Collector {
    instances: Arc<Instances>,
    /// A link has two of them at most.
    spans: Mutex<HashMap<u64, OpenSpan>>,
    last: AtomicU64,
}

struct OpenSpan {
    instance: Arc<Instance>,
    metadata: &'static Metadata<'static>,
    began: Instant,
    fields: Text,
    handles: usize,
}

impl Collector {
    pub fn new(instances: Arc<Instances>) -> Self {
        Collector { instances, spans: Mutex::default(), last: AtomicU64::new(0) }
    }

    /// The instance that `record` names, if it wants this level.
    fn instance(&self, level: &Level, record: impl FnOnce(&mut Number)) -> Option<Arc<Instance>> {
        let mut number = Number::default();
        record(&mut number);
        self.instances.find(number.0?).filter(|instance| instance.wants(level))
    }
}

impl Subscriber for Collector {
    /// Is asked again whenever the highest level changes.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.instances.highest().wants(metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.instances.highest().filter())
    }

    fn event(&self, event: &Event<'_>) {
        let level = *event.metadata().level();
        let Some(instance) = self.instance(&level, |number| event.record(number)) else { return };
        let mut text = Text::default();
        event.record(&mut text);
        instance.push(Line { level, time: SystemTime::now(), text: text.into_string() });
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let metadata = span.metadata();
        let Some(instance) = self.instance(metadata.level(), |number| span.record(number)) else {
            return Id::from_u64(UNWANTED);
        };
        let mut fields = Text::default();
        span.record(&mut fields);
        // Nobody makes so many spans that an id comes twice.
        let id = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1).clamp(1, UNWANTED - 1);
        let span = OpenSpan { instance, metadata, began: Instant::now(), fields, handles: 1 };
        self.spans.lock().insert(id, span);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if span.into_u64() == UNWANTED {
            return;
        }
        if let Some(span) = self.spans.lock().get_mut(&span.into_u64()) {
            values.record(&mut span.fields);
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(span) = self.spans.lock().get_mut(&id.into_u64()) {
            span.handles = span.handles.saturating_add(1);
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        if id.into_u64() == UNWANTED {
            return true;
        }
        let mut spans = self.spans.lock();
        let Some(span) = spans.get_mut(&id.into_u64()) else { return true };
        span.handles = span.handles.saturating_sub(1);
        if span.handles > 0 {
            return false;
        }
        let closed = spans.remove(&id.into_u64());
        drop(spans);
        closed.into_iter().for_each(OpenSpan::end);
        true
    }

    // What a span encloses says itself which instance it belongs to.
    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
}

impl OpenSpan {
    /// `handshake took 1.250 ms: server=localhost:6379`
    fn end(self) {
        let OpenSpan { instance, metadata, began, fields, .. } = self;
        if !instance.wants(metadata.level()) {
            return;
        }
        let (mut text, took_ms) = (Text::default(), began.elapsed().as_secs_f64() * 1e3);
        let _cut = write!(text, "{} took {took_ms:.3} ms", metadata.name());
        let fields = fields.into_string();
        if !fields.is_empty() {
            let _cut = write!(text, ": {fields}");
        }
        instance.push(Line { level: *metadata.level(), time: SystemTime::now(), text: text.into_string() });
    }
}
