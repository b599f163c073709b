//! The stages of an answer, kept so that ten thousand of them take less room than the body that they were read from.
//!
//! ```text
//! rows    one for each stage, all of one size: its times and its state, and where its texts are
//! texts   the texts, one after the other
//! words   where the words for a status are, each once: there are few
//! rests   what few stages have
//! ```

use super::{Progress, StageSnapshot, StageView, State};
use crate::event::Attributes;
use crate::limits;
use crate::pieces::{Index, Pieces};
use crate::time::Wall;
use std::fmt;
use std::num::NonZeroU16;

/// The stages of an answer, in its order. They are added as [`StageSnapshot`]s and read as [`StageView`]s.
#[derive(Clone, Default)]
pub struct Stages {
    rows: Pieces<StageRow>,
    texts: String,
    words: Vec<Text>,
    rests: Pieces<Rest>,
}

#[derive(Clone, Copy)]
struct StageRow {
    path: Text,
    /// The same text as the path's, if they are equal.
    kind: Text,
    id: Option<Text>,
    start: Option<Wall>,
    end: Option<Wall>,
    attempt: u32,
    /// The index of its rest.
    rest: Option<Index>,
    /// The number of its status in `words`, from 1.
    status: Option<NonZeroU16>,
    state: State,
}

const _: () = assert!(size_of::<StageRow>() <= 56);

impl StageRow {
    /// A [`StageSnapshot::default`].
    const BLANK: StageRow = StageRow {
        path: Text::EMPTY,
        kind: Text::EMPTY,
        id: None,
        start: None,
        end: None,
        attempt: 1,
        rest: None,
        status: None,
        state: State::Pending,
    };
}

/// The parts of a stage that few have.
#[derive(Clone, Default)]
struct Rest {
    /// The text is that of the parent's path, where the parent is among the stages.
    parent: Option<Text>,
    url: Option<Text>,
    error: Option<Text>,
    queued: Option<Wall>,
    attributes: Attributes,
}

/// Room for the texts of a few stages.
const FEW_TEXTS_BYTES: usize = 256;
/// How many statuses are searched before one more is added. An API has few; one with more costs room, not time.
const WORDS_SOUGHT: usize = 64;
const _: () = assert!(limits::STAGES_MAX + WORDS_SOUGHT < u16::MAX as usize);

/// A part of `texts`.
#[derive(Clone, Copy)]
struct Text {
    at: Index,
    bytes: u32,
}

impl Text {
    const EMPTY: Text = Text {
        at: Index::FIRST,
        bytes: 0,
    };
}

/// A length of a [`Stages`], for [`Stages::truncate`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    rows: usize,
    texts: usize,
    words: usize,
    rests: usize,
}

impl Mark {
    /// How many stages there were.
    pub fn stages(self) -> usize {
        self.rows
    }
}

impl Stages {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            stages: self,
            places: 0..self.len(),
        }
    }

    /// The stage at `place`, which must exist.
    pub fn get(&self, place: usize) -> StageView<'_> {
        let row = &self.rows[place];
        let rest = row.rest.map(|rest| &self.rests[rest.get()]);
        let text_of_rest =
            |text: fn(&Rest) -> Option<Text>| rest.and_then(text).map(|t| self.text(t));
        let word = |word: NonZeroU16| self.text(self.words[usize::from(word.get()) - 1]);
        StageView {
            path: self.text(row.path),
            parent: text_of_rest(|rest| rest.parent),
            attempt: row.attempt,
            kind: self.text(row.kind),
            id: row.id.map(|id| self.text(id)),
            url: text_of_rest(|rest| rest.url),
            attributes: rest.map_or(&[], |rest| &rest.attributes),
            progress: Progress {
                status: row.status.map(word),
                state: row.state,
                queued: rest.and_then(|rest| rest.queued),
                start: row.start,
                end: row.end,
                error: text_of_rest(|rest| rest.error),
            },
        }
    }

    /// Path and attempt of the stage at `place`, which identify it.
    pub fn run(&self, place: usize) -> (&str, u32) {
        let row = &self.rows[place];
        (self.text(row.path), row.attempt)
    }

    /// Adds a stage.
    pub fn push<T: AsRef<str>, L: Into<Attributes>>(&mut self, stage: StageSnapshot<T, L>) {
        let row = self.row(stage);
        self.rows.push(row);
    }

    /// Adds a stage of which nothing is known yet.
    pub fn push_blank(&mut self) {
        self.rows.push(StageRow::BLANK);
    }

    /// Replaces the stage at `place`.
    pub fn replace<T: AsRef<str>, L: Into<Attributes>>(
        &mut self,
        place: usize,
        stage: StageSnapshot<T, L>,
    ) {
        self.rows[place] = self.row(stage);
    }

    /// Changes the attempt of a stage.
    pub fn set_attempt(&mut self, place: usize, attempt: u32) {
        self.rows[place].attempt = attempt;
    }

    /// Changes the path of a stage.
    pub fn set_path(&mut self, place: usize, path: &str) {
        self.rows[place].path = self.write(path);
    }

    /// Makes a stage part of the one at `parent`, or of the workflow.
    pub fn set_parent(&mut self, place: usize, parent: Option<usize>) {
        let parent = parent.map(|parent| self.rows[parent].path);
        match self.rows[place].rest {
            Some(rest) => self.rests[rest.get()].parent = parent,
            None if parent.is_none() => {}
            None => {
                let rest = Rest {
                    parent,
                    ..Rest::default()
                };
                self.rows[place].rest = Some(self.put(rest));
            }
        }
    }

    /// Adds all of `others`.
    pub fn append(&mut self, others: Stages) {
        if self.is_empty() {
            *self = others;
            return;
        }
        for stage in &others {
            self.push(stage);
        }
    }

    /// Keeps the stages at these places, in this order.
    pub fn arrange(&mut self, places: impl IntoIterator<Item = usize>) {
        let rows: Pieces<StageRow> = places.into_iter().map(|place| self.rows[place]).collect();
        self.rows = rows;
    }

    /// The present length, for [`Stages::truncate`].
    pub fn mark(&self) -> Mark {
        Mark {
            rows: self.rows.len(),
            texts: self.texts.len(),
            words: self.words.len(),
            rests: self.rests.len(),
        }
    }

    /// Removes everything that was added after `mark`. Nothing before it may have been changed since.
    pub fn truncate(&mut self, mark: Mark) {
        self.rows.truncate(mark.rows);
        self.texts.truncate(mark.texts);
        self.words.truncate(mark.words);
        self.rests.truncate(mark.rests);
    }

    fn text(&self, text: Text) -> &str {
        let at = text.at.get();
        &self.texts[at..at + text.bytes as usize]
    }

    fn row<T: AsRef<str>, L: Into<Attributes>>(&mut self, stage: StageSnapshot<T, L>) -> StageRow {
        let StageSnapshot {
            path,
            parent,
            attempt,
            kind,
            id,
            url,
            attributes,
            progress,
        } = stage;
        let (path_text, kind) = (path.as_ref(), kind.as_ref());
        let path = self.write(path_text);
        let mut write = |text: Option<T>| text.map(|text| self.write(text.as_ref()));
        let (id, rest) = (
            write(id),
            Rest {
                parent: write(parent),
                url: write(url),
                error: write(progress.error),
                queued: progress.queued,
                attributes: attributes.into(),
            },
        );
        StageRow {
            path,
            kind: if kind == path_text {
                path
            } else {
                self.write(kind)
            },
            id,
            start: progress.start,
            end: progress.end,
            attempt,
            rest: if rest.is_empty() {
                None
            } else {
                Some(self.put(rest))
            },
            status: progress.status.and_then(|word| self.word(word.as_ref())),
            state: progress.state,
        }
    }

    /// The answers for one workflow are far smaller than 32 bits can count; anything beyond is cut off.
    fn write(&mut self, text: &str) -> Text {
        let room = Index::MAX.saturating_sub(self.texts.len());
        let text = &text[..text.floor_char_boundary(room)];
        if self.texts.capacity() == 0 {
            self.texts.reserve(FEW_TEXTS_BYTES);
        }
        let at = Index::of(self.texts.len());
        self.texts.push_str(text);
        Text {
            at,
            bytes: text.len() as u32,
        }
    }

    fn word(&mut self, word: &str) -> Option<NonZeroU16> {
        let mut known = self.words.iter().take(WORDS_SOUGHT);
        let number = known.position(|known| self.text(*known) == word);
        let number = number.unwrap_or_else(|| {
            let word = self.write(word);
            self.words.push(word);
            self.words.len() - 1
        });
        NonZeroU16::new(u16::try_from(number + 1).ok()?)
    }

    fn put(&mut self, rest: Rest) -> Index {
        self.rests.push(rest);
        Index::of(self.rests.len() - 1)
    }
}

impl Rest {
    fn is_empty(&self) -> bool {
        let texts = [self.parent, self.url, self.error];
        texts.iter().all(Option::is_none) && self.queued.is_none() && self.attributes.is_empty()
    }
}

/// See [`Stages::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'s> {
    stages: &'s Stages,
    places: std::ops::Range<usize>,
}

impl<'s> Iterator for Iter<'s> {
    type Item = StageView<'s>;

    fn next(&mut self) -> Option<StageView<'s>> {
        self.places.next().map(|place| self.stages.get(place))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'s> IntoIterator for &'s Stages {
    type Item = StageView<'s>;
    type IntoIter = Iter<'s>;

    fn into_iter(self) -> Iter<'s> {
        self.iter()
    }
}

impl FromIterator<StageSnapshot> for Stages {
    fn from_iter<I: IntoIterator<Item = StageSnapshot>>(stages: I) -> Self {
        let mut all = Stages::default();
        stages.into_iter().for_each(|stage| all.push(stage));
        all
    }
}

impl From<Vec<StageSnapshot>> for Stages {
    fn from(stages: Vec<StageSnapshot>) -> Self {
        stages.into_iter().collect()
    }
}

/// However they are held.
impl PartialEq for Stages {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other)
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Value;
    use arbtest::arbitrary::{Result as Arbitrary, Unstructured};

    fn text(u: &mut Unstructured<'_>) -> Arbitrary<Box<str>> {
        Ok((*u.choose(&["", "a", "b", "é/ü", "Running"])?).into())
    }

    fn some_text(u: &mut Unstructured<'_>) -> Arbitrary<Option<Box<str>>> {
        u.arbitrary::<bool>()?.then(|| text(u)).transpose()
    }

    fn some_time(u: &mut Unstructured<'_>) -> Arbitrary<Option<Wall>> {
        Ok(u.arbitrary::<Option<i64>>()?.map(Wall::from_unix_ns))
    }

    fn stage(u: &mut Unstructured<'_>) -> Arbitrary<StageSnapshot> {
        let one = ("key".into(), Value::Int(u.arbitrary()?));
        Ok(StageSnapshot {
            path: text(u)?,
            parent: some_text(u)?,
            attempt: u.arbitrary()?,
            kind: text(u)?,
            id: some_text(u)?,
            url: some_text(u)?,
            attributes: u.arbitrary::<bool>()?.then_some(one).into_iter().collect(),
            progress: Progress {
                status: match u.ratio(1, 8)? {
                    // More than are sought.
                    true => Some(u.int_in_range(0..=2 * WORDS_SOUGHT)?.to_string().into()),
                    false => some_text(u)?,
                },
                state: *u.choose(&[State::Pending, State::Running])?,
                queued: some_time(u)?,
                start: some_time(u)?,
                end: some_time(u)?,
                error: some_text(u)?,
            },
        })
    }

    /// The model is the list of what was put in.
    #[test]
    fn are_what_was_put_in() {
        arbtest::arbtest(|u| {
            let (mut stages, mut model) = (Stages::default(), Vec::new());
            for _ in 0..u.int_in_range(0..=40)? {
                let some = !model.is_empty();
                match u.int_in_range(0..=9)? {
                    1 if some => {
                        let (place, stage) = (u.choose_index(model.len())?, stage(u)?);
                        model[place] = stage.clone();
                        stages.replace(place, stage);
                    }
                    2 if some => {
                        let (place, path) = (u.choose_index(model.len())?, text(u)?);
                        stages.set_path(place, &path);
                        model[place].path = path;
                    }
                    3 if some => {
                        let (place, parent) =
                            (u.choose_index(model.len())?, u.arbitrary::<bool>()?);
                        let parent = parent.then(|| u.choose_index(model.len())).transpose()?;
                        stages.set_parent(place, parent);
                        model[place].parent = parent.map(|parent| model[parent].path.clone());
                    }
                    4 if some => {
                        let place = u.choose_index(model.len())?;
                        model[place].attempt = u.arbitrary()?;
                        stages.set_attempt(place, model[place].attempt);
                    }
                    5 => {
                        let mark = stages.mark();
                        for _ in 0..u.int_in_range(0..=4)? {
                            stages.push(stage(u)?);
                        }
                        assert_eq!(mark.stages(), model.len());
                        stages.truncate(mark);
                    }
                    6 if some => {
                        let (from, to) = (u.choose_index(model.len())?, model.len());
                        stages.arrange((from..to).rev());
                        model = model.drain(from..).rev().collect();
                    }
                    7 => {
                        let others = (0..u.int_in_range(0..=3)?).map(|_| stage(u));
                        let others: Vec<_> = others.collect::<Arbitrary<_>>()?;
                        stages.append(others.clone().into());
                        model.extend(others);
                    }
                    8 => {
                        model.push(StageSnapshot::default());
                        stages.push_blank();
                    }
                    _ => {
                        model.push(stage(u)?);
                        stages.push(model[model.len() - 1].clone());
                    }
                }
                let all: Vec<StageSnapshot> = stages.iter().map(StageSnapshot::from).collect();
                assert_eq!(all, model);
                assert_eq!(stages, model.clone().into());
                let runs = model.iter().map(|stage| (&*stage.path, stage.attempt));
                assert!((0..stages.len()).map(|place| stages.run(place)).eq(runs));
            }
            Ok(())
        });
    }

    /// A word stands there once however many say it, and those that are too many are kept all the same.
    #[test]
    fn words_are_held_once() {
        let status = |word: String| StageSnapshot {
            progress: Progress {
                status: Some(word.into()),
                ..Progress::default()
            },
            ..StageSnapshot::default()
        };
        let words = (0..300).map(|n| (n % 3).to_string());
        let stages: Stages = words.map(status).collect();
        assert_eq!(stages.words.len(), 3);
        let stages: Stages = (0..300).map(|n| status(n.to_string())).collect();
        assert_eq!(stages.get(299).progress.status, Some("299"));
    }
}
