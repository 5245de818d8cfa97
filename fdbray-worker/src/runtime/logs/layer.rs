//! `tracing` events of remote code, each ascribed to the task in which it happened.

use super::{Functions, LONGEST, LogLine, Stream, cut, queue::Queue};
use crate::exec;
use std::{
    env,
    fmt::{self, Write},
    sync::Arc,
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_global_default,
};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::{Context, Layer, SubscriberExt},
    registry::{LookupSpan, Registry},
};

/// Which events are taken, as levels by target: `info,hyper=warn,my_app=debug`.
pub const ENV: &str = "FDBRAY_LOG";

/// A layer for `tracing-subscriber` that brings events to the driver. Workers have it unless the program set a
/// subscriber of its own, which can then include it.
#[derive(Clone)]
pub struct TaskLayer(Arc<Queue<LogLine>>);

impl TaskLayer {
    pub(super) fn new(queue: Arc<Queue<LogLine>>) -> Self {
        TaskLayer(queue)
    }

    pub(super) fn install(self) -> bool {
        let subscriber = Registry::default().with(self.with_filter(filter(env::var(ENV).ok().as_deref())));
        set_global_default(subscriber).is_ok()
    }
}

impl fmt::Debug for TaskLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLayer").finish_non_exhaustive()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TaskLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Text::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Text>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let about = event.metadata();
        // What sends the lines would speak of every line it sends.
        if *about.level() > Level::INFO && about.target().starts_with("fdbray_worker") {
            return;
        }
        let task = exec::current();
        if task.as_ref().is_some_and(|task| task.root.is_none()) {
            return;
        }
        let mut text = format!("{} ", about.level());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            text.push_str(span.name());
            if let Some(Text { fields, .. }) = span.extensions().get::<Text>()
                && !fields.is_empty()
            {
                text.extend(["{", fields.trim_start(), "}"]);
            }
            text.push(':');
        }
        let mut said = Text::default();
        event.record(&mut said);
        text.extend([about.target(), ": ", &said.message, &said.fields]);
        if text.len() > LONGEST {
            text.truncate(cut(&text, LONGEST).len());
            text.push('…');
        }
        let functions: Functions = task.map(|task| task.function).into_iter().collect();
        let bytes = text.len() + 128;
        self.0.push(LogLine { stream: Stream::Event, functions, text }, bytes);
    }
}

/// Fields as ` a=1 b="x"`, the message apart.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` fails only if the value's own `Debug` does, and then it says no more.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// What `FDBRAY_LOG` says; unreadable is as good as unset, since there is nobody to tell but the log.
fn filter(said: Option<&str>) -> Targets {
    let usual =
        || Targets::new().with_default(LevelFilter::INFO).with_target("fdbray_worker", LevelFilter::WARN);
    said.filter(|s| !s.trim().is_empty()).and_then(|s| s.parse().ok()).unwrap_or_else(usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::subscriber::with_default;

    fn lines(said: Option<&str>, say: impl FnOnce()) -> Vec<LogLine> {
        let layer = TaskLayer::new(Arc::new(Queue::new(1 << 20)));
        let subscriber = Registry::default().with(layer.clone().with_filter(filter(said)));
        with_default(subscriber, say);
        layer.0.close();
        layer.0.take().map_or_else(Vec::new, |(lines, _)| lines)
    }

    #[test]
    fn an_event_is_one_compact_line_with_its_spans() {
        let taken = lines(None, || {
            let span = tracing::info_span!(target: "app", "load", path = "a b", rows = tracing::field::Empty);
            span.record("rows", 3);
            let _in = span.enter();
            tracing::warn!(target: "app", left = 7, name = %"x", "half {}", "done");
            tracing::debug!(target: "app", "not this one");
        });
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].text, r#"WARN load{path="a b" rows=3}:app: half done left=7 name=x"#);
        assert_eq!((taken[0].stream, &taken[0].functions), (Stream::Event, &Functions::NONE));
    }

    #[test]
    fn the_filter_goes_by_level_and_target_and_a_bad_one_is_the_usual() {
        let say = || {
            tracing::debug!(target: "app", "1");
            tracing::info!(target: "app", "2");
            tracing::info!(target: "other", "3");
            tracing::trace!(target: "fdbray_worker::net", "4");
        };
        let texts = |said| lines(said, say).into_iter().map(|l| l.text).collect::<Vec<_>>();
        assert_eq!(texts(Some("warn,app=debug")), ["DEBUG app: 1", "INFO app: 2"]);
        assert_eq!(texts(Some("off")), Vec::<String>::new());
        assert_eq!(texts(Some("app=loud")), texts(None));
        assert_eq!(texts(None), ["INFO app: 2", "INFO other: 3"]);
        assert_eq!(texts(Some("trace")).len(), 3);
    }

    #[test]
    fn an_event_without_end_is_cut() {
        let taken = lines(None, || tracing::info!(target: "app", "{}", "ä".repeat(LONGEST)));
        assert!(taken[0].text.len() <= LONGEST + '…'.len_utf8() && taken[0].text.ends_with('…'));
    }
}
