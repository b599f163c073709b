//! The last requests to the collector, for viewers.

use crate::core::view::ExportReport;
use crate::os::threads::lock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// See the module. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ExportLog(Arc<Mutex<VecDeque<ExportReport>>>);

/// Requests that are remembered.
const REPORTS_MAX: usize = 20;

impl ExportLog {
    /// A request has ended.
    pub fn push(&self, report: ExportReport) {
        let mut reports = lock(&self.0);
        reports.push_front(report);
        reports.truncate(REPORTS_MAX);
    }

    /// The last requests, the latest one first.
    pub fn reports(&self) -> Vec<ExportReport> {
        lock(&self.0).iter().cloned().collect()
    }
}
