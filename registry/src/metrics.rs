//! Counters in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// What the server counts. No label comes from a client: their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Labels, u64>>,
    latency: Mutex<BTreeMap<&'static str, Latency>>,
    /// Response bytes sent.
    pub(crate) sent: AtomicU64,
    /// Connections open now.
    pub(crate) connections: Gauge,
    /// Requests running now, until the last byte of their answer is taken.
    pub(crate) running: Gauge,
    /// Blobs fetched from the upstream.
    pub(crate) upstream_fetches: AtomicU64,
    /// Answers that came from the cache while the upstream was down.
    pub(crate) stale_answers: AtomicU64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    endpoint: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Default)]
struct Latency {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// One more, until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self.0.clone())
    }

    /// How many there are.
    pub(crate) fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One unit of a gauge.
#[derive(Debug)]
pub(crate) struct Entered(Arc<AtomicI64>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts an answered request; `took` is the time to its response head.
    pub(crate) fn request(
        &self,
        endpoint: &'static str,
        method: &http::Method,
        status: u16,
        took: Duration,
    ) {
        let labels = Labels { endpoint, method: method_label(method), status };
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(labels).or_default() +=
            1;
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = latency.entry(endpoint).or_default();
        let seconds = took.as_secs_f64();
        for (count, bound) in entry.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
        entry.count += 1;
        entry.seconds += seconds;
    }

    /// The page that `/metrics` serves.
    pub(crate) fn render(&self, open_uploads: usize, receiving_uploads: usize) -> String {
        let mut page = String::with_capacity(4096);
        self.render_requests(&mut page);
        self.render_latency(&mut page);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_string();
        let rows = [
            ("sent_bytes_total", "counter", "Response body bytes sent.", load(&self.sent)),
            ("connections", "gauge", "Connections open now.", self.connections.value().to_string()),
            (
                "requests_running",
                "gauge",
                "Requests running now.",
                self.running.value().to_string(),
            ),
            ("uploads_open", "gauge", "Unfinished upload sessions.", open_uploads.to_string()),
            (
                "uploads_receiving",
                "gauge",
                "Upload bodies being read now.",
                receiving_uploads.to_string(),
            ),
            (
                "upstream_fetches_total",
                "counter",
                "Objects fetched from the upstream registry.",
                load(&self.upstream_fetches),
            ),
            (
                "stale_answers_total",
                "counter",
                "Answers from the cache while the upstream was unavailable.",
                load(&self.stale_answers),
            ),
        ];
        for (name, kind, help, value) in rows {
            head(&mut page, name, kind, help);
            line(&mut page, format_args!("wherry_registry_{name} {value}"));
        }
        page
    }

    fn render_requests(&self, page: &mut String) {
        head(page, "requests_total", "counter", "Requests answered.");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (labels, count) in requests.iter() {
            let Labels { endpoint, method, status } = labels;
            line(
                page,
                format_args!(
                    "wherry_registry_requests_total{{endpoint=\"{endpoint}\",method=\"{method}\",status=\"{status}\"}} {count}"
                ),
            );
        }
    }

    fn render_latency(&self, page: &mut String) {
        head(page, "response_seconds", "histogram", "Time to the response head.");
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        for (endpoint, entry) in latency.iter() {
            for (count, bound) in entry.buckets.iter().zip(BUCKETS) {
                line(
                    page,
                    format_args!(
                        "wherry_registry_response_seconds_bucket{{endpoint=\"{endpoint}\",le=\"{bound}\"}} {count}"
                    ),
                );
            }
            let Latency { count, seconds, .. } = entry;
            line(
                page,
                format_args!(
                    "wherry_registry_response_seconds_bucket{{endpoint=\"{endpoint}\",le=\"+Inf\"}} {count}"
                ),
            );
            line(
                page,
                format_args!(
                    "wherry_registry_response_seconds_sum{{endpoint=\"{endpoint}\"}} {seconds}"
                ),
            );
            line(
                page,
                format_args!(
                    "wherry_registry_response_seconds_count{{endpoint=\"{endpoint}\"}} {count}"
                ),
            );
        }
    }
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    line(page, format_args!("# HELP wherry_registry_{name} {help}"));
    line(page, format_args!("# TYPE wherry_registry_{name} {kind}"));
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(text);
    page.push('\n');
}

// A client may invent methods: they share one label.
fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_endpoint_method_and_status() {
        let metrics = Metrics::default();
        let invented = http::Method::from_bytes(b"BREW").expect("a method");
        metrics.request("blob", &http::Method::GET, 200, Duration::from_millis(3));
        metrics.request("blob", &http::Method::GET, 200, Duration::from_secs(100));
        metrics.request("base", &invented, 405, Duration::ZERO);
        let running = metrics.running.enter();
        let page = metrics.render(7, 2);
        for row in [
            "wherry_registry_requests_total{endpoint=\"blob\",method=\"GET\",status=\"200\"} 2",
            "wherry_registry_requests_total{endpoint=\"base\",method=\"other\",status=\"405\"} 1",
            "wherry_registry_response_seconds_bucket{endpoint=\"blob\",le=\"0.001\"} 0",
            "wherry_registry_response_seconds_bucket{endpoint=\"blob\",le=\"0.005\"} 1",
            "wherry_registry_response_seconds_bucket{endpoint=\"blob\",le=\"+Inf\"} 2",
            "wherry_registry_requests_running 1",
            "wherry_registry_uploads_open 7",
        ] {
            assert!(page.lines().any(|line| line == row), "{row} in\n{page}");
        }
        drop(running);
        assert!(metrics.render(0, 0).contains("wherry_registry_requests_running 0\n"));
    }
}
