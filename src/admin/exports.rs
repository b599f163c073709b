//! The last requests to the collector.

use super::endpoint::Route;
use super::run_json::{text_of, time};
use crate::core::outbox::ExportOutcome;
use crate::core::view::ExportReport;
use crate::http::server::Response;
use crate::os::clock;
use serde::Serialize;

#[derive(Serialize)]
struct ExportsJson<'a> {
    now: String,
    exports: Vec<ExportJson<'a>>,
}

#[derive(Serialize)]
struct ExportJson<'a> {
    at: String,
    spans: usize,
    bytes: usize,
    /// In seconds.
    duration: f64,
    status: Option<u16>,
    result: &'static str,
    rejected: u64,
    message: Option<&'a str>,
    url: &'a str,
}

/// The route. `reports` has the latest request first.
pub fn route(reports: impl Fn() -> Vec<ExportReport> + Send + Sync + 'static) -> Route {
    Route {
        method: "GET",
        path: "/api/exports",
        is_open: false,
        handler: Box::new(move |_| {
            Response::json(
                200,
                text_of(&ExportsJson {
                    now: time(clock::now().wall),
                    exports: reports().iter().map(export).collect(),
                }),
            )
        }),
    }
}

fn export(report: &ExportReport) -> ExportJson<'_> {
    let (result, rejected, message) = match &report.outcome {
        ExportOutcome::Delivered {
            rejected: 0,
            message,
        } => ("delivered", 0, message),
        ExportOutcome::Delivered { rejected, message } => ("rejected", *rejected, message),
        ExportOutcome::TooLarge { message } if report.spans > 1 => (AGAIN, 0, message),
        ExportOutcome::Retry { reason, .. } => (AGAIN, 0, reason),
        ExportOutcome::TooLarge { message } | ExportOutcome::Rejected { message } => {
            ("refused for good", report.spans as u64, message)
        }
    };
    ExportJson {
        at: time(report.at),
        spans: report.spans,
        bytes: report.bytes,
        duration: report.took.as_secs_f64(),
        status: report.status,
        result,
        rejected,
        message: Some(&**message).filter(|message| !message.is_empty()),
        url: &report.url,
    }
}

const AGAIN: &str = "will be sent again";
