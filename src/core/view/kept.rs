//! What is kept of runs that have ended, and of the finished spans of live runs. Within a bound in bytes: the run that
//! ended first makes room. The spans of live runs have a part of it, so that there is always room for runs that end.

use super::{RunSummary, StageDetail};
use crate::give_back::GiveBack;
use crate::ids::RunKey;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes_max: usize,
    runs: HashMap<RunKey, KeptRun>,
    /// The runs that have ended, in the order of their ends.
    ended: VecDeque<RunKey>,
    /// The same, by the version of their last change.
    by_version: BTreeMap<u64, RunKey>,
    /// Of all runs, and of those that have not ended.
    bytes: usize,
    live_bytes: usize,
}

#[derive(Debug, Default)]
struct KeptRun {
    spans: Vec<Arc<[u8]>>,
    /// Once it has ended. Apart, because most runs that are kept may be live ones.
    end: Option<Box<KeptEnd>>,
    bytes: usize,
}

/// What is kept of a run once it has ended, beside its finished spans.
#[derive(Debug)]
struct KeptEnd {
    summary: RunSummary,
    /// Whether none of its finished spans is missing.
    has_all_spans: bool,
    /// Its stages that have ended without a span.
    left_out: Box<[StageDetail]>,
    /// The sequence of the workflow's span in the outbox.
    root: Option<u64>,
}

/// What a run or a span takes beside its texts: its place in maps and lists.
const RUN_BYTES: usize = 256;
const SPAN_BYTES: usize = 48;

impl Kept {
    /// Keeps no more than so many bytes. 0: nothing at all.
    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// The most bytes that are kept.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What is kept, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a finished span of a live run. False: there is no room for it, because live runs have three quarters at most.
    pub(super) fn push_span(&mut self, run: RunKey, span: Arc<[u8]>) -> bool {
        let is_new = !self.runs.contains_key(&run);
        let bytes = span.len() + SPAN_BYTES + if is_new { RUN_BYTES } else { 0 };
        if self.live_bytes + bytes > self.bytes_max / 4 * 3 {
            return false;
        }
        let kept = self.runs.entry(run).or_default();
        if is_new {
            // Thousands of live runs may have one finished span each.
            kept.spans.reserve_exact(1);
        }
        kept.spans.push(span);
        kept.bytes += bytes;
        self.bytes += bytes;
        if kept.end.is_none() {
            self.live_bytes += bytes;
        }
        true
    }

    /// A run has ended. `left_out`: its stages without a span. `has_all_spans`: there was room for each span. `root`: the sequence of the workflow's span in the outbox.
    pub(super) fn end(
        &mut self,
        summary: RunSummary,
        left_out: Vec<StageDetail>,
        has_all_spans: bool,
        root: Option<u64>,
    ) {
        let run = summary.run;
        if self.get(run).is_some() {
            // It was traced before, and forgotten since.
            self.remove(run);
        }
        let kept = self.runs.entry(run).or_default();
        self.live_bytes -= kept.bytes;
        let is_new = kept.bytes == 0;
        let left_out_bytes: usize = left_out.iter().map(StageDetail::bytes).sum();
        let own_bytes = if is_new { RUN_BYTES } else { 0 };
        let bytes = summary.bytes() + left_out_bytes + own_bytes;
        kept.bytes += bytes;
        self.bytes += bytes;
        self.by_version.insert(summary.version, run);
        kept.end = Some(Box::new(KeptEnd {
            summary,
            has_all_spans,
            left_out: left_out.into(),
            root,
        }));
        self.ended.push_back(run);
    }

    /// The run that makes room, if there is too little. Call it until it returns `None`.
    pub(super) fn evict(&mut self) -> Option<RunKey> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        let run = self.ended.pop_front()?;
        self.take(run);
        Some(run)
    }

    /// Forgets a run.
    pub(super) fn remove(&mut self, run: RunKey) {
        if self.take(run).is_some_and(|kept| kept.end.is_some()) {
            self.ended.retain(|ended| *ended != run);
        }
    }

    /// The collector has acknowledged a span. If it was that of a workflow, the run has changed, in this version.
    pub(super) fn deliver(&mut self, run: RunKey, sequence: u64, version: u64) -> bool {
        let kept = self.runs.get_mut(&run);
        let Some(KeptEnd { summary, root, .. }) = kept.and_then(|kept| kept.end.as_deref_mut())
        else {
            return false;
        };
        if *root != Some(sequence) {
            return false;
        }
        self.by_version.remove(&summary.version);
        summary.exported = true;
        summary.version = version;
        self.by_version.insert(version, run);
        true
    }

    /// A run that has ended.
    pub(super) fn get(&self, run: RunKey) -> Option<&RunSummary> {
        Some(&self.end_of(run)?.summary)
    }

    /// The finished spans of a run.
    pub(super) fn spans(&self, run: RunKey) -> &[Arc<[u8]>] {
        self.runs.get(&run).map_or(&[], |kept| &kept.spans)
    }

    /// The stages without a span of a run that has ended.
    pub(super) fn left_out(&self, run: RunKey) -> &[StageDetail] {
        self.end_of(run).map_or(&[], |end| &end.left_out)
    }

    /// Whether no finished span is missing in [`spans`](Self::spans) of a run that has ended.
    pub(super) fn has_all_spans(&self, run: RunKey) -> bool {
        self.end_of(run).is_some_and(|end| end.has_all_spans)
    }

    /// How many runs have ended.
    pub(super) fn len(&self) -> usize {
        self.ended.len()
    }

    /// The runs that have ended, the latest end first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &RunSummary> {
        self.ended.iter().rev().filter_map(|run| self.get(*run))
    }

    /// The runs that have ended and changed after `version`, the oldest change first.
    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = (u64, RunKey)> {
        let later = self.by_version.range(version.saturating_add(1)..);
        later.map(|(version, run)| (*version, *run))
    }

    fn end_of(&self, run: RunKey) -> Option<&KeptEnd> {
        self.runs.get(&run)?.end.as_deref()
    }

    fn take(&mut self, run: RunKey) -> Option<KeptRun> {
        let kept = self.runs.remove(&run)?;
        self.runs.give_back();
        self.bytes -= kept.bytes;
        match &kept.end {
            Some(end) => drop(self.by_version.remove(&end.summary.version)),
            None => self.live_bytes -= kept.bytes,
        }
        Some(kept)
    }
}
