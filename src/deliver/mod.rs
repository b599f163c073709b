//! Delivery: what leaves farspan. Spans go to the collector, finished events go to their receivers.

pub mod export;
pub mod export_log;
pub mod metrics;
pub mod notify;
pub mod otlp;
pub mod refused;

use ureq::http::StatusCode;

/// Whether a collector or a receiver that answers so will never accept what was sent. Every other answer but a success
/// says nothing about the data: what was sent goes again. This retries more than the four statuses of the OTLP
/// specification: see `docs/design/delivery.md`.
fn is_final(status: StatusCode) -> bool {
    match status.as_u16() {
        401 | 403 | 404 | 405 | 407 | 408 | 429 => false,
        501 | 505 => true,
        _ => status.is_client_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_about_the_data_is_final() {
        let is_final = |code: &u16| is_final(StatusCode::from_u16(*code).unwrap());
        let about_the_data = [
            400, 402, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 422, 431,
        ];
        assert!(about_the_data.iter().chain(&[501, 505]).all(is_final));
        let retried = [
            401, 403, 404, 405, 407, 408, 429, 500, 502, 503, 504, 506, 507, 508, 511, 520, 599,
        ];
        assert!(!retried.iter().chain(&[301, 302, 304, 307]).any(is_final));
    }
}
