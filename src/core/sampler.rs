//! tmp
use super::ids::TraceId;
/// tmp
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Sampler {
    /// x
    #[default]
    AlwaysOn,
}
impl Sampler {
    /// x
    pub fn sampled(&self, _t: TraceId, p: Option<bool>) -> bool {
        p.unwrap_or(true)
    }
}
/// tmp
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanLimits {
    /// x
    pub attributes: usize,
    /// x
    pub events: usize,
    /// x
    pub links: usize,
    /// x
    pub value_length: usize,
}
