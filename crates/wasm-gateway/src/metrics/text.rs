//! The text format of Prometheus, in version 0.0.4.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;

use metrics::{Key, SharedString};

use crate::metrics::value::{Buckets, Value};

/// Lines by the name that they are of.
#[derive(Default)]
pub(crate) struct Text(BTreeMap<String, Lines>);

struct Lines {
    /// Of the first of them.
    kind: &'static str,
    text: String,
}

/// The lines of one value.
struct Row<'a> {
    lines: &'a mut String,
    name: &'a str,
    labels: &'a str,
}

impl Text {
    pub(crate) fn add(&mut self, key: &Key, value: &Value) {
        let name = metric_name(key.name());
        let labels = labels(key);
        let lines = self.0.entry(name.clone()).or_insert_with(|| Lines {
            kind: value.kind(),
            text: String::new(),
        });
        let mut row = Row {
            lines: &mut lines.text,
            name: &name,
            labels: &labels,
        };
        match value {
            Value::Counter(count) => row.line("", count.load(Ordering::Acquire)),
            Value::Gauge(bits) => row.line("", f64::from_bits(bits.load(Ordering::Acquire))),
            Value::Histogram(buckets) => row.histogram(buckets),
        }
    }

    /// All of it, with what is said about some of the names.
    pub(crate) fn finish(self, descriptions: &HashMap<String, SharedString>) -> String {
        let mut text = String::new();
        for (name, lines) in self.0 {
            if let Some(description) = descriptions.get(&name) {
                let description = escaped(description, false);
                let _ = writeln!(text, "# HELP {name} {description}");
            }
            let Lines { kind, text: lines } = lines;
            let _ = writeln!(text, "# TYPE {name} {kind}\n{lines}");
        }
        text
    }
}

impl Row<'_> {
    fn line(&mut self, suffix: &str, value: impl Display) {
        let (name, labels) = (self.name, self.labels);
        // Writing to a text does not fail.
        let _ = match labels.is_empty() {
            true => writeln!(self.lines, "{name}{suffix} {value}"),
            false => writeln!(self.lines, "{name}{suffix}{{{labels}}} {value}"),
        };
    }

    fn bucket(&mut self, bound: impl Display, count: u64) {
        let (name, labels) = (self.name, self.labels);
        let comma = if labels.is_empty() { "" } else { "," };
        let _ = writeln!(
            self.lines,
            "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"
        );
    }

    fn histogram(&mut self, buckets: &Buckets) {
        let (up_to, count) = buckets.up_to();
        for (bound, count) in up_to {
            self.bucket(bound, count);
        }
        self.bucket("+Inf", count);
        self.line("_sum", buckets.sum());
        self.line("_count", count);
    }
}

/// What a metric of this name is called there.
pub(crate) fn metric_name(name: &str) -> String {
    valid(name, |c| c == ':')
}

/// With an underscore in place of what is neither a letter nor, after the first, a digit, nor one
/// of those that may be there besides.
fn valid(name: &str, may_be_there: impl Fn(char) -> bool) -> String {
    let is_valid = |place: usize, c: char| {
        c.is_ascii_alphabetic() || (place > 0 && c.is_ascii_digit()) || may_be_there(c)
    };
    let chars = name.char_indices();
    chars
        .map(|(place, c)| if is_valid(place, c) { c } else { '_' })
        .collect()
}

fn labels(key: &Key) -> String {
    let mut text = String::new();
    for label in key.labels() {
        let comma = if text.is_empty() { "" } else { "," };
        let name = valid(label.key(), |_| false);
        let value = escaped(label.value(), true);
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text
}

fn escaped(text: &str, is_quoted: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if is_quoted => escaped.push_str("\\\""),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use metrics::{CounterFn, HistogramFn as _, Label};

    use super::*;

    #[test]
    fn what_prometheus_does_not_take_is_replaced_or_escaped() {
        let mut text = Text::default();
        let labels = vec![
            Label::new("9-fold", "a \"b\"\\\n"),
            Label::new("ü:x", "größer"),
        ];
        let counter = Value::counter("");
        let Value::Counter(count) = &counter else {
            panic!();
        };
        CounterFn::increment(&**count, 3);
        text.add(&Key::from_parts("1st.of:all", labels), &counter);
        text.add(&Key::from_name("alone"), &Value::gauge(""));
        let name = metric_name("1st.of:all");
        let about = [(name, "of \\ \"all\"\n".into())].into();
        assert_eq!(
            text.finish(&about),
            "# HELP _st_of:all of \\\\ \"all\"\\n\n\
             # TYPE _st_of:all counter\n\
             _st_of:all{__fold=\"a \\\"b\\\"\\\\\\n\",__x=\"größer\"} 3\n\n\
             # TYPE alone gauge\n\
             alone 0\n\n"
        );
    }

    #[test]
    fn a_value_is_counted_up_to_every_bound_that_is_not_below_it() {
        let mut text = Text::default();
        for name in ["x_seconds", "x_bytes"] {
            let histogram = Value::histogram(name);
            let Value::Histogram(buckets) = &histogram else {
                panic!();
            };
            buckets.record_many(0.3, 2);
            buckets.record(0.5);
            buckets.record(11.0);
            text.add(&Key::from_name(name), &histogram);
        }
        assert_eq!(
            text.finish(&HashMap::new()),
            "# TYPE x_bytes histogram\n\
             x_bytes_bucket{le=\"+Inf\"} 4\n\
             x_bytes_sum 12.1\n\
             x_bytes_count 4\n\n\
             # TYPE x_seconds histogram\n\
             x_seconds_bucket{le=\"0.00001\"} 0\n\
             x_seconds_bucket{le=\"0.00003\"} 0\n\
             x_seconds_bucket{le=\"0.0001\"} 0\n\
             x_seconds_bucket{le=\"0.0003\"} 0\n\
             x_seconds_bucket{le=\"0.001\"} 0\n\
             x_seconds_bucket{le=\"0.003\"} 0\n\
             x_seconds_bucket{le=\"0.01\"} 0\n\
             x_seconds_bucket{le=\"0.03\"} 0\n\
             x_seconds_bucket{le=\"0.1\"} 0\n\
             x_seconds_bucket{le=\"0.3\"} 2\n\
             x_seconds_bucket{le=\"1\"} 3\n\
             x_seconds_bucket{le=\"3\"} 3\n\
             x_seconds_bucket{le=\"10\"} 3\n\
             x_seconds_bucket{le=\"+Inf\"} 4\n\
             x_seconds_sum 12.1\n\
             x_seconds_count 4\n\n"
        );
    }
}
