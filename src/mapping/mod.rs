//! The mapping: the answers of any status API in, a [`Snapshot`] out.
//!
//! ```text
//! Definition -> Mapping; each poll: Mapping -> Gather; each body -> Part -> Gather; Gather -> Reading
//! ```
//!
//! A body is read as a stream into only what the definition names; the rest is skipped, not built, so that a large body
//! costs its bytes and no memory. What is there but makes no sense (a time that is none, an unknown status) is
//! left out and told as an *oddity*; a body of another shape is refused.
//!
//! Pure: no I/O of its own.

mod assemble;
pub mod definition;
pub mod from_json;
mod oddity;
mod plan;
mod read;
pub mod refusals;
pub mod template;
pub mod time_format;

pub use assemble::{Gather, Missing};
pub use oddity::{Oddity, OddityKind};
pub use read::{Page, Part, ReadBuffers};

use definition::{Definition, Request};
use farspan_core::limits;
use farspan_core::limits::cut;
use farspan_core::snapshot::Snapshot;
use farspan_syntax::mend::{Mending, mended};
use farspan_syntax::mistake::{Mistake, Path};
use farspan_syntax::text::without_byte_order_mark;
use plan::Plan;
use std::io;
use template::{IdRule, WrongId};

/// What the answers of a poll said.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The workflow's state.
    pub snapshot: Snapshot,
    /// The first thing in the answers that was not understood and was left out: its pointer, what was found, and the key.
    pub oddity: Option<Box<str>>,
    /// For a probe: all that was odd when the answers were put together.
    pub together: Vec<Oddity>,
}

/// Why a body says nothing.
#[derive(Debug)]
pub enum UnreadableBody {
    /// It could not be read to its end.
    Io(io::Error),
    /// It is not JSON.
    Garbage(Box<str>),
    /// It is JSON, of another shape than the mapping's.
    Shape(Box<str>),
}

impl UnreadableBody {
    fn of(error: serde_json::Error) -> Self {
        // The text may quote the body.
        let text = error.to_string();
        let text = || cut(&text, limits::NAME_BYTES_MAX).into();
        match error.classify() {
            serde_json::error::Category::Io => UnreadableBody::Io(error.into()),
            serde_json::error::Category::Data => UnreadableBody::Shape(text()),
            serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
                UnreadableBody::Garbage(text())
            }
        }
    }

    fn shape(what: &str) -> Self {
        UnreadableBody::Shape(cut(what, limits::NAME_BYTES_MAX).into())
    }
}

/// How one monitor's API is asked and understood. Does not change, so that pollers share it.
#[derive(Debug)]
pub struct Mapping {
    plan: Plan,
    ids: IdRule,
}

impl Mapping {
    /// Makes a mapping of its definition.
    ///
    /// # Errors
    /// All mistakes in it, in the order of their places.
    pub fn compile(definition: Definition) -> Result<Self, Vec<Mistake>> {
        let plan = plan::plan(definition)?;
        let ids = IdRule::of(&plan.definition);
        Ok(Mapping { plan, ids })
    }

    /// That of the default shape, which is the original's API.
    pub fn original() -> Self {
        #[expect(clippy::expect_used, reason = "a test compiles it")]
        Mapping::compile(Definition::original()).expect("it has no mistakes")
    }

    /// What it was made of.
    pub fn definition(&self) -> &Definition {
        &self.plan.definition
    }

    /// The requests of a poll with their names, in the order in which they are to be made; the first is the main one, whose
    /// name is empty.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = (&str, &Request)> {
        let requests = self.plan.requests.iter();
        requests.map(|planned| (&*planned.name, &planned.request))
    }

    /// All its pointers. They are [`Missing`] only if they lead nowhere.
    pub fn pointers(&self) -> impl Iterator<Item = Missing> {
        let Plan {
            requests,
            lists,
            slots,
            ..
        } = &self.plan;
        let pointer = |place: Path, pointer: &str, list: Option<&plan::PlannedList>| Missing {
            place,
            pointer: pointer.into(),
            request: requests[list.map_or(0, |list| list.request)].name.clone(),
        };
        let of_lists = lists
            .iter()
            .map(move |list| pointer(list.place.then("list"), &list.pointer, Some(list)));
        let of_slots = slots.iter().map(move |slot| {
            let list = slot.list.map(|list| &lists[usize::from(list)]);
            pointer(slot.place.clone(), &slot.pointer, list)
        });
        of_lists.chain(of_slots)
    }

    /// Which ids its requests can be made for.
    pub fn ids(&self) -> &IdRule {
        &self.ids
    }

    /// A poll for this workflow.
    ///
    /// # Errors
    /// No request can be made for its id.
    pub fn gather<'m>(&'m self, workflow_id: &'m str) -> Result<Gather<'m>, WrongId> {
        let variables = self.ids.variables(workflow_id)?;
        Ok(Gather::new(self, variables))
    }

    /// Reads the whole body of an answer to the request of this number.
    ///
    /// # Errors
    /// As [`UnreadableBody`] says; never [`UnreadableBody::Io`].
    pub fn read_slice(&self, request: usize, body: &[u8]) -> Result<Part, UnreadableBody> {
        self.read_slice_with(request, body, &mut ReadBuffers::default())
    }

    /// As [`read_slice`](Self::read_slice), with buffers of an earlier body, which may be another mapping's.
    ///
    /// # Errors
    /// As for [`read_slice`](Self::read_slice).
    pub fn read_slice_with(
        &self,
        request: usize,
        body: &[u8],
        buffers: &mut ReadBuffers,
    ) -> Result<Part, UnreadableBody> {
        let body = without_byte_order_mark(body);
        let mut read = |body: &[u8]| {
            // The parser reads byte by byte.
            let json = serde_json::Deserializer::from_slice(body);
            read::read(&self.plan, request, json, buffers)
        };
        match read(body) {
            Err(UnreadableBody::Garbage(_)) => read(&mended(body)),
            read => read,
        }
    }

    /// Reads a body as it arrives.
    ///
    /// # Errors
    /// As [`UnreadableBody`] says.
    pub fn read_stream(&self, request: usize, body: impl io::Read) -> Result<Part, UnreadableBody> {
        let json = serde_json::Deserializer::from_reader(Mending::buffered(body));
        read::read(&self.plan, request, json, &mut ReadBuffers::default())
    }

    /// Everything in a body that is not understood: some values of each pointer. Of a body that is not read to its end,
    /// what stands before.
    pub fn oddities(&self, request: usize, body: &[u8]) -> Vec<Oddity> {
        let body = mended(without_byte_order_mark(body));
        // The parser reads byte by byte.
        let json = serde_json::Deserializer::from_slice(&body);
        read::oddities(&self.plan, request, json)
    }

    /// What one body says, where there is one request.
    ///
    /// # Errors
    /// The id does not look as the definition says.
    #[cfg(any(test, feature = "internals"))]
    pub fn reading(&self, workflow_id: &str, part: Part) -> Result<Reading, UnreadableBody> {
        let gather = self.gather(workflow_id);
        let mut gather =
            gather.map_err(|why| UnreadableBody::shape(&format!("the workflow's id {why}")))?;
        gather.put(0, part);
        gather.finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
