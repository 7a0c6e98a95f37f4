//! What is measured, as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use metrics::{Label, counter, describe_counter, gauge, histogram, set_default_local_recorder};

use wasm_gateway::{DURATION_BUCKETS, GatewayBuilder, Metrics};
use wasm_testkit::wasm_fixtures::{ECHO, TRAP};

use crate::support::{ask, component, host};

type Labels = Vec<(String, String)>;

/// A text that Prometheus takes in whole.
#[derive(Debug, Default)]
struct Scraped {
    kinds: BTreeMap<String, String>,
    help: BTreeMap<String, String>,
    values: BTreeMap<(String, Labels), f64>,
}

impl Scraped {
    /// Fails over whatever is not as the format has it.
    fn read(text: &str) -> Self {
        let mut scraped = Self::default();
        let mut families: Vec<String> = Vec::new();
        assert!(text.ends_with('\n'));
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                let words: Vec<_> = comment.splitn(3, ' ').collect();
                let [what, name, said] = words[..] else {
                    panic!("{line}");
                };
                assert!(is_name(name, ":"), "{line}");
                let before = match what {
                    "HELP" => scraped.help.insert(name.to_owned(), said.to_owned()),
                    "TYPE" => {
                        families.push(name.to_owned());
                        assert!(["counter", "gauge", "histogram"].contains(&said), "{line}");
                        scraped.kinds.insert(name.to_owned(), said.to_owned())
                    }
                    _ => panic!("{line}"),
                };
                assert_eq!(before, None, "{line}");
                continue;
            }
            let (name, labels, value) = sample(line);
            let family = families.last().unwrap();
            let suffix = name.strip_prefix(family).expect(line);
            let suffixes: &[_] = match scraped.kinds[family].as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            let before = scraped.values.insert((name, labels), value);
            assert_eq!(before, None, "{line}");
        }
        scraped
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let key = (name.to_owned(), labels.iter().map(owned).collect());
        let value = self.values.get(&key);
        *value.unwrap_or_else(|| panic!("no {key:?} in {self:#?}"))
    }

    /// How many values there are up to each bound of a histogram.
    fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let of = self.values.iter().filter_map(|((of, its), count)| {
            let (bound, its) = its.split_last()?;
            let is_same = its
                .iter()
                .map(|(a, b)| (&**a, &**b))
                .eq(labels.iter().copied());
            assert!(of != &name || bound.0 == "le");
            (of == &name && is_same).then(|| (bound.1.parse().unwrap(), *count))
        });
        let mut of: Vec<(f64, f64)> = of.collect();
        of.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        of
    }
}

fn is_name(text: &str, also: &str) -> bool {
    let may_be_there = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(c);
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(may_be_there)
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, ":"), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, quoted) = rest.split_once("=\"").expect(line);
            assert!(is_name(label, ""), "{line}");
            let (value, after) = quoted_value(quoted);
            labels.push((label.to_owned(), value));
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => {
                    rest = after.strip_prefix('}').expect(line);
                    break;
                }
            }
        }
    }
    let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), labels.len(), "{line}");
    let value = rest.strip_prefix(' ').expect(line).parse();
    (name.to_owned(), labels, value.expect(line))
}

/// Up to the quote that ends it, and what comes after that.
fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next().unwrap() {
            '"' => return (value, chars.as_str()),
            '\\' => value.push(match chars.next().unwrap() {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                c => panic!("\\{c} in {text}"),
            }),
            c => value.push(c),
        }
    }
}

#[tokio::test]
async fn what_components_do_is_scraped() {
    let (metrics, recorder) = Metrics::with_recorder();
    let _recorded = set_default_local_recorder(&recorder);
    let host = host(&[component("echo", ECHO), component("trap", TRAP)]).await;
    let gateway = GatewayBuilder::new().with_metrics(metrics).build(host);
    let router = gateway.router();
    for _ in 0..3 {
        ask(&router, "POST", "/components/demo/echo/main", "hello").await;
    }
    ask(&router, "POST", "/components/demo/trap/main", "").await;
    let scraped = ask(&router, "GET", "/metrics", "").await;
    let again = ask(&router, "GET", "/metrics", "").await;
    let measured = |text: &str| text[text.find("# TYPE wasm_call_seconds").unwrap()..].to_owned();
    assert_eq!(measured(scraped.text()), measured(again.text()));
    let scraped = Scraped::read(scraped.text());
    let echo = ("component", "demo/echo/main");
    for (kind, outcome, count) in [
        ("request", "answered", 3.0),
        ("request", "failed", 0.0),
        ("timer", "guest-error", 0.0),
    ] {
        let labels = [echo, ("kind", kind), ("outcome", outcome)];
        assert_eq!(scraped.value("wasm_messages_total", &labels), count);
    }
    let trap = ("component", "demo/trap/main");
    let dead = [trap, ("cause", "failed")];
    assert_eq!(scraped.value("wasm_dead_letters_total", &dead), 1.0);
    assert_eq!(scraped.kinds["wasm_dead_letters_total"], "counter");
    let mut undescribed = scraped
        .kinds
        .keys()
        .filter(|name| !scraped.help.contains_key(*name));
    assert_eq!(undescribed.next(), None);
    for name in ["wasm_call_seconds", "wasm_wait_seconds"] {
        assert_eq!(scraped.kinds[name], "histogram");
        let buckets = scraped.buckets(name, &[echo]);
        let bounds: Vec<_> = buckets.iter().map(|(bound, _)| *bound).collect();
        assert_eq!(bounds, [DURATION_BUCKETS, &[f64::INFINITY]].concat());
        assert!(buckets.is_sorted_by_key(|(_, count)| *count));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 3.0)));
        assert_eq!(scraped.value(&format!("{name}_count"), &[echo]), 3.0);
        assert!(scraped.value(&format!("{name}_sum"), &[echo]) >= 0.0);
    }
}

#[tokio::test]
async fn what_an_embedder_measures_is_scraped_whatever_its_labels_are() {
    let (metrics, recorder) = Metrics::with_recorder();
    let _recorded = set_default_local_recorder(&recorder);
    let gateway = GatewayBuilder::new().with_metrics(metrics);
    let router = gateway.build(host(&[]).await).router();
    describe_counter!("shop.orders", "Orders, \\ and\n\"so\" on.");
    let odd = "a \"quoted\\\" one,\nand=\"}{\" größer\r\t\u{1f600}\\";
    counter!("shop.orders", "what" => odd, "9 of-it" => "").increment(2);
    // The same, in another order.
    counter!("shop.orders", "9 of-it" => "", "what" => odd).increment(3);
    // Not the same kind: it counts nothing.
    gauge!("shop.orders", "what" => odd, "9 of-it" => "").set(9.0);
    gauge!("temperature").set(-0.5);
    gauge!("nothing").set(f64::NAN);
    histogram!("shop_bytes").record(1e300);
    histogram!("shop_seconds", vec![Label::new("le_", "1")]).record(f64::NAN);
    let scraped = ask(&router, "GET", "/metrics", "").await;
    let scraped = Scraped::read(scraped.text());
    let labels = [("what", odd), ("__of_it", "")];
    assert_eq!(scraped.value("shop_orders", &labels), 5.0);
    assert_eq!(scraped.help["shop_orders"], "Orders, \\\\ and\\n\"so\" on.");
    assert_eq!(scraped.value("temperature", &[]), -0.5);
    assert!(scraped.value("nothing", &[]).is_nan());
    assert_eq!(scraped.value("shop_bytes_sum", &[]), 1e300);
    assert_eq!(scraped.buckets("shop_bytes", &[]), [(f64::INFINITY, 1.0)]);
    let buckets = scraped.buckets("shop_seconds", &[("le_", "1")]);
    let above_all = buckets.iter().filter(|(_, count)| *count == 1.0);
    assert_eq!(above_all.collect::<Vec<_>>(), [&(f64::INFINITY, 1.0)]);
}
