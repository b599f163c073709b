//! The embedded store: one `redb` file in the state directory.
//!
//! A commit is an fsync. The file is opened exclusively. One that is damaged is set aside under another name, loudly,
//! and a new one begun: farspan that cannot start traces nothing at all. Each commit has a number, in the file and in a
//! [`mark`] beside it, which tells at the start whether the file has lost commits. A file that was removed or replaced
//! under farspan is noticed after the next commit, and everything is written into a new one.

mod mark;
mod rows;

use super::thread::StoreThread;
use super::{Store, StoreError, View};
use crate::core::outbox::Signal;
use crate::core::time::Now;
use crate::core::{Change, Committed, Stored};
use crate::os::clock;
use crossbeam_channel::Receiver;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError,
    Table, TableDefinition, WriteTransaction,
};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// The file's name in the state directory.
pub const FILE_NAME: &str = "farspan.redb";

/// Of the rows in [`rows`].
type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;
/// Records of watched workflows by run: [`record`](crate::core::workflow::record).
const WORKFLOWS: Rows = TableDefinition::new("workflows");
/// Spans that the collector has not acknowledged, by sequence.
const SPANS: Rows = TableDefinition::new("spans");
/// Log records that the collector has not acknowledged, by sequence.
const LOG_RECORDS: Rows = TableDefinition::new("log_records");
/// Finished events that no receiver has accepted yet, by run.
const NOTIFICATIONS: Rows = TableDefinition::new("notifications");
/// Finished runs, and when.
const FINISHED: Rows = TableDefinition::new("finished");
/// The layout of the tables above, and the number of the last commit.
const META: Rows = TableDefinition::new("meta");
const CONTENT: [Rows; 5] = [WORKFLOWS, SPANS, LOG_RECORDS, NOTIFICATIONS, FINISHED];
const LAYOUT: u64 = 1;
const LAYOUT_KEY: &[u8] = b"layout";
const COMMITS_KEY: &[u8] = b"commits";

/// What redb may keep of the file in memory: enough for hundreds of workflows, and little beside the rest of farspan.
const CACHE_BYTES: usize = 1024 * 1024;

/// A file is compacted at the start when it is larger than this and so many times larger than what is in it: redb uses
/// free pages again, but hardly ever gives them back to the file system.
const LOOSE_BYTES: u64 = 16 * 1024 * 1024;
const LOOSE_TIMES: u64 = 4;

/// The loop's side of the store.
#[derive(Debug)]
pub struct FileStore {
    thread: StoreThread<FileCall, Result<FileAnswer, StoreError>>,
    directory: PathBuf,
}

#[derive(Debug)]
enum FileCall {
    /// Open the file in this directory and read everything.
    Load(PathBuf),
    Commit(Arc<[Change]>),
    /// These changes are everything: they go into a new file.
    Rewrite(Vec<Change>),
}

#[derive(Debug)]
enum FileAnswer {
    Loaded(Stored),
    Committed(Durability),
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk.
    Durable,
    /// The file was removed or replaced: everything has to be written into a new one.
    FileGone,
}

/// The file, on the thread of the store.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// `None` after a failed commit: the next one opens it again.
    database: Option<Database>,
    /// Device and inode of the file that was opened. `None`: it is gone.
    identity: Option<(u64, u64)>,
    /// The number of the last commit.
    commits: u64,
    /// Commits that an earlier farspan made and the file does not have.
    lost_commits: u64,
}

/// What there is in a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// No file.
    Absent,
    /// A file that a farspan has open.
    Held,
    /// A file that no farspan has open.
    Free {
        /// Its length.
        bytes: u64,
    },
}

impl StateFile {
    /// What is in a state directory, without changing anything that a later start would not.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn look(directory: &Path) -> Result<FileState, StoreError> {
        let path = directory.join(FILE_NAME);
        let bytes = match fs::metadata(&path) {
            Ok(file) => file.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileState::Absent),
            Err(error) => return Err(unusable(directory, &error)),
        };
        let opened = Database::builder().set_cache_size(CACHE_BYTES).open(&path);
        match opened {
            Ok(_) => Ok(FileState::Free { bytes }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Ok(FileState::Held),
            Err(error) => Err(StoreError::new(format_args!("{}: {error}", path.display()))),
        }
    }

    /// Opens the store in this directory, which is made if it is missing.
    ///
    /// # Errors
    /// The directory cannot be written, another farspan has the file open, or a later farspan has written it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        fs::create_dir_all(directory).map_err(|e| unusable(directory, &e))?;
        let was_empty = fs::metadata(&path).is_ok_and(|file| file.len() == 0);
        let database = match open_whole(&path) {
            Err(OpenError::Damaged(why)) => {
                set_aside(&path, &why).map_err(|e| unusable(directory, &e))?;
                open(&path)
            }
            opened => opened,
        };
        let mut database = database.map_err(|trouble| trouble.told(&path))?;
        let compacted = compact_if_loose(&mut database, &path);
        let commits = last_commit(&database);
        let commits =
            commits.map_err(|e| StoreError::new(format_args!("{}: {e}", path.display())))?;
        let mut store = StateFile {
            database: Some(database),
            identity: identity(&path),
            commits,
            lost_commits: mark::read(&path).map_or(0, |marked| marked.saturating_sub(commits)),
            path,
        };
        if store.lost_commits > 0 {
            log::error!(
                "{} has lost the last {} commits of {}: start events that farspan accepted then may have to be sent \
                 again",
                store.path.display(),
                store.lost_commits,
                store.lost_commits + commits
            );
        } else if was_empty {
            log::error!(
                "{} was empty: what was watched is forgotten",
                store.path.display()
            );
        }
        mark::write(&store.path, commits);
        if let Err(error) = compacted {
            // It is as good as before, and may have no room for more.
            log::warn!("{} stays as large as it is: {error}", store.path.display());
            store.database = None;
            store.database()?;
        }
        Ok(store)
    }

    /// Everything that is stored.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(&mut self) -> Result<Stored, StoreError> {
        let path = self.path.clone();
        let read = load(self.database()?);
        read.map_err(|e| StoreError::new(format_args!("{}: {e}", path.display())))
    }

    /// Makes these changes durable, all or none.
    ///
    /// # Errors
    /// The file cannot be written. The changes may be committed again.
    pub fn commit(&mut self, changes: &[Change]) -> Result<Durability, StoreError> {
        if self.is_gone() {
            return Ok(Durability::FileGone);
        }
        let (path, number) = (self.path.clone(), self.commits + 1);
        let written = write(self.database()?, changes, number);
        written.map_err(|e| {
            // redb refuses everything after an I/O error until the file is opened again.
            self.database = None;
            StoreError::new(format_args!("{}: {e}", path.display()))
        })?;
        if self.is_gone() {
            return Ok(Durability::FileGone);
        }
        self.commits = number;
        mark::write(&self.path, number);
        Ok(Durability::Durable)
    }

    /// Begins a new file with these changes, because the old one is gone. A file that is there in its place is set aside.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), or another farspan has the file there open.
    pub fn rewrite(&mut self, changes: &[Change]) -> Result<Durability, StoreError> {
        self.database = None;
        let directory = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        fs::create_dir_all(&directory).map_err(|e| unusable(&directory, &e))?;
        if fs::metadata(&self.path).is_ok_and(|file| file.len() > 0) {
            if let Err(trouble @ OpenError::Other(_)) = open(&self.path) {
                return Err(trouble.told(&self.path));
            }
            let why = "it is not the file that farspan had open";
            set_aside(&self.path, why).map_err(|e| unusable(&directory, &e))?;
        }
        let opened = open(&self.path).map_err(|trouble| trouble.told(&self.path))?;
        self.database = Some(opened);
        self.identity = identity(&self.path);
        let written = self.commit(changes);
        if written.is_err() {
            // It does not have everything.
            self.identity = None;
        }
        written
    }

    /// Whether the file at the path is not the one that was opened; if so, it stays so until [`rewrite`](Self::rewrite).
    fn is_gone(&mut self) -> bool {
        self.identity = self
            .identity
            .filter(|known| identity(&self.path) == Some(*known));
        self.identity.is_none()
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            let opened = open(&self.path).map_err(|trouble| trouble.told(&self.path))?;
            self.database = Some(opened);
        }
        self.database
            .as_ref()
            .ok_or_else(|| StoreError::new("not open"))
    }
}

impl FileStore {
    /// The store in this directory. Its thread opens the file when it loads.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let mut opened = Err(StoreError::new("the state file is not open"));
        let thread = StoreThread::start(move |call| match call {
            FileCall::Load(directory) => {
                opened = StateFile::open(&directory);
                let loaded = opened.as_mut().map_err(|e| e.clone())?.load();
                loaded.map(FileAnswer::Loaded)
            }
            FileCall::Commit(changes) => {
                let file = opened.as_mut().map_err(|e| e.clone())?;
                file.commit(&changes).map(FileAnswer::Committed)
            }
            FileCall::Rewrite(everything) => {
                let file = opened.as_mut().map_err(|e| e.clone())?;
                file.rewrite(&everything).map(FileAnswer::Committed)
            }
        })?;
        Ok(FileStore {
            thread,
            directory: directory.to_owned(),
        })
    }
}

impl Store for FileStore {
    fn begin_load(&mut self) {
        self.thread.send(FileCall::Load(self.directory.clone()));
    }

    fn loaded(&mut self) -> Option<Result<Stored, StoreError>> {
        let answer = self.thread.answer()?.flatten();
        Some(answer.map(|answer| match answer {
            FileAnswer::Loaded(stored) => stored,
            FileAnswer::Committed(_) => Stored::default(),
        }))
    }

    fn begin_commit(&mut self, changes: Arc<[Change]>) {
        self.thread.send(FileCall::Commit(changes));
    }

    fn proceed(&mut self, view: &View<'_>, _: Now) -> Option<Result<Committed, StoreError>> {
        let answer = self.thread.answer()?.flatten();
        if let Ok(FileAnswer::Committed(Durability::FileGone)) = answer {
            log::error!(
                "the state file in {} was removed or replaced: everything is written into a new one",
                self.directory.display()
            );
            self.thread.send(FileCall::Rewrite((view.everything)()));
            return None;
        }
        Some(answer.map(|_| Committed::default()))
    }

    fn woken(&self) -> Receiver<()> {
        self.thread.woken().clone()
    }
}

enum OpenError {
    Damaged(String),
    Other(String),
}

impl OpenError {
    fn told(self, path: &Path) -> StoreError {
        let (OpenError::Damaged(why) | OpenError::Other(why)) = self;
        StoreError::new(format_args!("{}: {why}", path.display()))
    }
}

/// Opens a file that may be damaged. redb verifies its checksums only when it is asked to, and panics on some of what
/// it then finds. A release build ends with the panic, so that the hook has to do what is left to do: the next start
/// goes on without the file.
fn open_whole(path: &Path) -> Result<Database, OpenError> {
    let (own, own_path) = (thread::current().id(), path.to_owned());
    let known: Arc<Hook> = Arc::from(panic::take_hook());
    let restored = Arc::clone(&known);
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() == own {
            // The process ends here: an error of this cannot be reported any more.
            drop(set_aside(&own_path, &panic.to_string()));
        }
        known(panic);
    }));
    let opened = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut database = open(path)?;
        match database.check_integrity() {
            Ok(true) => {}
            Ok(false) => log::warn!("{} was damaged and is repaired", path.display()),
            Err(DatabaseError::Storage(StorageError::Io(e))) if !is_damage(&e) => {
                return Err(OpenError::Other(e.to_string()));
            }
            Err(error) => return Err(OpenError::Damaged(error.to_string())),
        }
        Ok(database)
    }));
    drop(panic::take_hook());
    panic::set_hook(Box::new(move |panic| restored(panic)));
    // The hook has set it aside.
    opened.unwrap_or_else(|_| open(path))
}

type Hook = dyn Fn(&PanicHookInfo<'_>) + Sync + Send;

fn open(path: &Path) -> Result<Database, OpenError> {
    let created = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::Other(
                "another farspan has it open: give each its own FARSPAN_STATE_DIR".into(),
            ),
            DatabaseError::Storage(StorageError::Io(error)) if is_damage(&error) => {
                OpenError::Damaged(error.to_string())
            }
            DatabaseError::Storage(StorageError::Corrupted(why)) => OpenError::Damaged(why),
            // farspan has never written another version: it is damage.
            DatabaseError::UpgradeRequired(version) => {
                OpenError::Damaged(format!("format version {version}"))
            }
            DatabaseError::RepairAborted => OpenError::Damaged("its repair was aborted".into()),
            DatabaseError::Storage(StorageError::Io(error)) => OpenError::Other(format!(
                "{error}; farspan needs a state directory it can write to (FARSPAN_STATE_DIR)"
            )),
            other => OpenError::Other(other.to_string()),
        })?;
    match layout(&created) {
        Ok(LAYOUT) => Ok(created),
        Ok(newer) => Err(OpenError::Other(format!(
            "a later farspan wrote it (layout {newer}); use that one, or another FARSPAN_STATE_DIR"
        ))),
        Err(redb::Error::Io(error)) if !is_damage(&error) => {
            Err(OpenError::Other(error.to_string()))
        }
        Err(error) => Err(OpenError::Damaged(error.to_string())),
    }
}

fn compact_if_loose(database: &mut Database, path: &Path) -> Result<(), String> {
    let file_bytes = || fs::metadata(path).map(|file| file.len());
    let before = file_bytes().map_err(|e| e.to_string())?;
    if before <= LOOSE_BYTES {
        return Ok(());
    }
    let content = content_bytes(database).map_err(|e| e.to_string())?;
    if before / LOOSE_TIMES <= content {
        return Ok(());
    }
    database.compact().map_err(|e| e.to_string())?;
    let after = file_bytes().map_err(|e| e.to_string())?;
    log::info!(
        "{} had {before} bytes for {content} bytes of content; compacted, it has {after}",
        path.display()
    );
    Ok(())
}

/// Keys and values.
fn content_bytes(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_read()?;
    let mut bytes = 0;
    for table in CONTENT {
        bytes += transaction.open_table(table)?.stats()?.stored_bytes();
    }
    Ok(bytes)
}

/// redb says so of a file that is none of its own or is cut short; the system says it of other things.
fn is_damage(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::InvalidData,
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::InvalidInput,
    ];
    error.raw_os_error().is_none() && kinds.contains(&error.kind())
}

/// The file's layout; a new file gets ours, and every table.
fn layout(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let found = {
        let mut meta = transaction.open_table(META)?;
        let found = number(&meta, LAYOUT_KEY)?;
        if found.is_none() {
            meta.insert(LAYOUT_KEY, rows::of_number(LAYOUT).as_slice())?;
        }
        found
    };
    match found {
        None | Some(LAYOUT) => {
            for table in CONTENT {
                transaction.open_table(table)?;
            }
            transaction.commit()?;
            Ok(LAYOUT)
        }
        Some(other) => Ok(other),
    }
}

/// A number of [`META`].
fn number(
    meta: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<u64>, redb::Error> {
    match meta.get(key)? {
        Some(value) => Ok(Some(rows::number(value.value()).ok_or_else(unreadable)?)),
        None => Ok(None),
    }
}

fn unreadable() -> redb::Error {
    redb::Error::Corrupted("a row is not as farspan writes it".into())
}

fn load(database: &Database) -> Result<Stored, redb::Error> {
    let mut stored = Stored::default();
    each_row(database, WORKFLOWS, |run, record| {
        stored.workflows.push((rows::run(run)?, record.to_vec()));
        Some(())
    })?;
    for (signal, table) in [(Signal::Traces, SPANS), (Signal::Logs, LOG_RECORDS)] {
        each_row(database, table, |key, row| {
            stored.items.push(rows::item(signal, key, row)?);
            Some(())
        })?;
    }
    each_row(database, NOTIFICATIONS, |run, row| {
        stored.notifications.push(rows::notification(run, row)?);
        Some(())
    })?;
    each_row(database, FINISHED, |run, at| {
        stored.finished.push((rows::run(run)?, rows::time(at)?));
        Some(())
    })?;
    // Oldest first, as they are forgotten.
    stored.finished.sort_unstable_by_key(|(_, at)| *at);
    Ok(stored)
}

/// `take` is given the key and the value of each row, and answers `None` if it cannot be read.
fn each_row(
    database: &Database,
    table: Rows,
    mut take: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Result<(), redb::Error> {
    for row in database.begin_read()?.open_table(table)?.iter()? {
        let (key, value) = row?;
        take(key.value(), value.value()).ok_or_else(unreadable)?;
    }
    Ok(())
}

/// The number of the last commit.
fn last_commit(database: &Database) -> Result<u64, redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    Ok(number(&meta, COMMITS_KEY)?.unwrap_or(0))
}

fn write(database: &Database, changes: &[Change], number: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    apply(&transaction, changes)?;
    (transaction.open_table(META)?).insert(COMMITS_KEY, rows::of_number(number).as_slice())?;
    transaction.commit()?;
    Ok(())
}

/// Opens the tables that something goes into: an open table is written back with the commit.
fn apply(transaction: &WriteTransaction, changes: &[Change]) -> Result<(), redb::Error> {
    let (mut workflows, mut spans, mut log_records) = (None, None, None);
    let (mut notifications, mut finished) = (None, None);
    for change in changes {
        match change {
            Change::PutWorkflow { run, record } => {
                open_once(&mut workflows, transaction, WORKFLOWS)?
                    .insert(run.to_bytes().as_slice(), &**record)?;
            }
            Change::RemoveWorkflow(run) => {
                open_once(&mut workflows, transaction, WORKFLOWS)?
                    .remove(run.to_bytes().as_slice())?;
            }
            Change::PutItem(item) => {
                let table = match item.signal {
                    Signal::Traces => open_once(&mut spans, transaction, SPANS)?,
                    Signal::Logs => open_once(&mut log_records, transaction, LOG_RECORDS)?,
                };
                let key = rows::of_number(item.sequence);
                table.insert(key.as_slice(), rows::of_item(item).as_slice())?;
            }
            Change::RemoveItems(removed) => {
                for item in removed {
                    let table = match item.signal {
                        Signal::Traces => open_once(&mut spans, transaction, SPANS)?,
                        Signal::Logs => open_once(&mut log_records, transaction, LOG_RECORDS)?,
                    };
                    table.remove(rows::of_number(item.sequence).as_slice())?;
                }
            }
            Change::PutNotification(it) => {
                let row = rows::of_notification(it);
                open_once(&mut notifications, transaction, NOTIFICATIONS)?
                    .insert(it.run.to_bytes().as_slice(), row.as_slice())?;
            }
            Change::RemoveNotifications(removed) => {
                let table = open_once(&mut notifications, transaction, NOTIFICATIONS)?;
                for it in removed {
                    table.remove(it.run.to_bytes().as_slice())?;
                }
            }
            Change::PutFinished(run, at) => {
                open_once(&mut finished, transaction, FINISHED)?
                    .insert(run.to_bytes().as_slice(), rows::of_time(*at).as_slice())?;
            }
            Change::RemoveFinished(run) => {
                open_once(&mut finished, transaction, FINISHED)?
                    .remove(run.to_bytes().as_slice())?;
            }
        }
    }
    Ok(())
}

type OpenRows<'t> = Table<'t, &'static [u8], &'static [u8]>;

fn open_once<'a, 't>(
    table: &'a mut Option<OpenRows<'t>>,
    transaction: &'t WriteTransaction,
    definition: Rows,
) -> Result<&'a mut OpenRows<'t>, redb::Error> {
    let opened = match table.take() {
        Some(opened) => opened,
        None => transaction.open_table(definition)?,
    };
    Ok(table.insert(opened))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

fn set_aside(path: &Path, why: &str) -> io::Result<()> {
    let now = clock::now().wall.as_unix_ns() / 1_000_000_000;
    let aside = path.with_extension(format!("redb.damaged-{now}"));
    fs::rename(path, &aside)?;
    log::error!(
        "{} is damaged ({why}): it is kept as {}, and what was watched is forgotten",
        path.display(),
        aside.display()
    );
    Ok(())
}

fn unusable(directory: &Path, error: &io::Error) -> StoreError {
    StoreError::new(format_args!(
        "the state directory {} cannot be used: {error} (FARSPAN_STATE_DIR)",
        directory.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::finished::Notification;
    use crate::core::ids::RunKey;
    use crate::core::outbox::OutboxItem;
    use crate::core::time::Wall;
    use crate::os::files::tests::Folder;

    const ROUNDS: u64 = 300;
    /// redb's header: 64 bytes, and two commit slots of 128 bytes.
    const HEADER_BYTES: usize = 320;
    /// As ARCHITECTURE.md states it.
    const CHURN_TIMES: f64 = 6.0;

    fn open(folder: &Folder) -> Result<StateFile, StoreError> {
        StateFile::open(folder.path())
    }

    fn key(n: u8) -> RunKey {
        RunKey::from_bytes([n; 16])
    }

    fn span(sequence: u64) -> OutboxItem {
        OutboxItem {
            signal: Signal::Traces,
            sequence,
            run: key(sequence as u8),
            monitor: sequence.is_multiple_of(3).then(|| "etl".into()),
            bytes: vec![sequence as u8; 3].into(),
        }
    }

    /// A span may have the same number.
    fn log_record(sequence: u64) -> OutboxItem {
        OutboxItem {
            signal: Signal::Logs,
            ..span(sequence)
        }
    }

    fn notification(n: u8) -> Notification {
        Notification {
            sequence: 100 - u64::from(n),
            run: key(n),
            monitor: "etl".into(),
            bytes: vec![n; 3].into(),
        }
    }

    fn put(n: u8, record: &[u8]) -> Change {
        Change::PutWorkflow {
            run: key(n),
            record: record.to_vec(),
        }
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart() {
        let folder = Folder::new();
        let mut store = open(&folder).unwrap();
        store
            .commit(&[
                put(1, b"one"),
                put(2, b"two"),
                Change::PutItem(span(11)),
                Change::PutItem(span(9)),
                Change::PutItem(span(10)),
                Change::PutItem(log_record(10)),
                Change::PutItem(log_record(11)),
                Change::PutNotification(notification(5)),
                Change::PutNotification(notification(6)),
                Change::PutFinished(key(4), Wall::from_unix_ns(44)),
                Change::PutFinished(key(3), Wall::from_unix_ns(33)),
            ])
            .unwrap();
        store
            .commit(&[
                put(1, b"one again"),
                Change::RemoveWorkflow(key(2)),
                Change::PutItem(span(12)),
                Change::RemoveItems(vec![span(10), span(9), log_record(11)]),
                Change::RemoveNotifications(vec![notification(5)]),
                Change::RemoveFinished(key(4)),
            ])
            .unwrap();
        drop(store);
        let stored = open(&folder).unwrap().load().unwrap();
        assert_eq!(stored.workflows, [(key(1), b"one again".to_vec())]);
        assert_eq!(stored.items, [span(11), span(12), log_record(10)]);
        assert!(stored.items[1].monitor.is_some());
        assert_eq!(stored.notifications, [notification(6)]);
        assert_eq!(stored.finished, [(key(3), Wall::from_unix_ns(33))]);
    }

    #[test]
    fn a_later_change_of_one_commit_counts() {
        let folder = Folder::new();
        let mut store = open(&folder).unwrap();
        store
            .commit(&[Change::RemoveWorkflow(key(1)), put(1, b"new")])
            .unwrap();
        assert_eq!(store.load().unwrap().workflows.len(), 1);
    }

    #[test]
    fn a_second_farspan_is_told_so() {
        let folder = Folder::new();
        let _first = open(&folder).unwrap();
        let error = open(&folder).unwrap_err().to_string();
        assert!(
            error.contains("another farspan") && error.contains("FARSPAN_STATE_DIR"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        for damage in [&b"not a database"[..], &[0; 4096], b""] {
            let folder = Folder::new();
            fs::create_dir_all(folder.path()).unwrap();
            fs::write(folder.path().join(FILE_NAME), damage).unwrap();
            let mut store = open(&folder).unwrap();
            store.commit(&[put(1, b"one")]).unwrap();
            let aside = fs::read_dir(folder.path()).unwrap().filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().contains("damaged")
            });
            assert_eq!(aside.count(), usize::from(!damage.is_empty()));
        }
    }

    #[test]
    fn a_file_cut_short_is_set_aside() {
        let folder = Folder::new();
        let path = folder.path().join(FILE_NAME);
        let mut store = open(&folder).unwrap();
        store.commit(&[put(1, &[7; 100_000])]).unwrap();
        drop(store);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 3]).unwrap();
        let mut store = open(&folder).unwrap();
        store.commit(&[put(2, b"two")]).unwrap();
        assert!(store.load().is_ok());
    }

    #[test]
    fn a_later_layout_is_left_alone() {
        let folder = Folder::new();
        drop(open(&folder).unwrap());
        let path = folder.path().join(FILE_NAME);
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(META)
            .unwrap()
            .insert(LAYOUT_KEY, rows::of_number(9).as_slice())
            .unwrap();
        transaction.commit().unwrap();
        drop(database);
        let error = open(&folder).unwrap_err().to_string();
        assert!(error.contains("later farspan"), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error_with_its_name() {
        let folder = Folder::new();
        fs::write(folder.path(), "a file").unwrap();
        let error = open(&folder).unwrap_err().to_string();
        drop(fs::remove_file(folder.path()));
        assert!(error.contains("FARSPAN_STATE_DIR"), "{error}");
    }

    fn file_bytes(folder: &Folder) -> u64 {
        fs::metadata(folder.path().join(FILE_NAME)).unwrap().len()
    }

    fn content(store: &mut StateFile) -> u64 {
        content_bytes(store.database().unwrap()).unwrap()
    }

    fn numbered(n: u64) -> RunKey {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        RunKey::from_bytes(bytes)
    }

    fn put_numbered(n: u64, bytes: usize) -> Change {
        Change::PutWorkflow {
            run: numbered(n),
            record: vec![n as u8; bytes],
        }
    }

    #[test]
    fn an_empty_file_is_small() {
        let folder = Folder::new();
        drop(open(&folder).unwrap());
        assert!(
            file_bytes(&folder) <= 2 * 1024 * 1024,
            "{}",
            file_bytes(&folder)
        );
    }

    #[test]
    fn a_file_much_larger_than_its_content_is_compacted_at_the_start() {
        let folder = Folder::new();
        let mut store = open(&folder).unwrap();
        let count = 3000;
        for first in (0..count).step_by(500) {
            let all: Vec<Change> = (first..first + 500)
                .map(|n| put_numbered(n, 10_000))
                .collect();
            store.commit(&all).unwrap();
        }
        let removed = (10..count).map(|n| Change::RemoveWorkflow(numbered(n)));
        store.commit(&removed.collect::<Vec<_>>()).unwrap();
        let kept = store.load().unwrap().workflows;
        drop(store);
        let before = file_bytes(&folder);
        assert!(before > LOOSE_BYTES, "{before}");
        let mut store = open(&folder).unwrap();
        let after = file_bytes(&folder);
        assert!(after < before / 4, "{before}, compacted {after}");
        assert_eq!(store.load().unwrap().workflows, kept);
        store.commit(&[put(1, b"goes on")]).unwrap();
    }

    /// As the loop writes: some records again with each commit, spans that come and go.
    #[test]
    fn under_churn_the_file_stays_near_its_content() {
        let folder = Folder::new();
        let mut store = open(&folder).unwrap();
        let watched = 1000;
        let record =
            |n: u64, round: u64| put_numbered(n, 500 + (n * 37 + round * 101) as usize % 3000);
        for first in (0..watched).step_by(250) {
            let all: Vec<Change> = (first..first + 250).map(|n| record(n, 0)).collect();
            store.commit(&all).unwrap();
        }
        let mut worst = 0.0_f64;
        for round in 0..ROUNDS {
            let mut changes: Vec<Change> = (0..50)
                .map(|n| record((round * 61 + n * 7) % watched, round))
                .collect();
            let old = numbered((round * 31) % watched);
            changes.push(Change::RemoveWorkflow(old));
            changes.extend((0..20).map(|n| {
                Change::PutItem(OutboxItem {
                    signal: Signal::Traces,
                    sequence: round * 20 + n,
                    run: old,
                    monitor: Some("etl".into()),
                    bytes: vec![n as u8; 600].into(),
                })
            }));
            if let Some(before) = round.checked_sub(5) {
                let gone = (0..20).map(|n| OutboxItem {
                    signal: Signal::Traces,
                    sequence: before * 20 + n,
                    run: numbered((before * 31) % watched),
                    monitor: Some("etl".into()),
                    bytes: [].into(),
                });
                changes.push(Change::RemoveItems(gone.collect()));
            }
            store.commit(&changes).unwrap();
            if round % 20 == 19 {
                worst = worst.max(file_bytes(&folder) as f64 / content(&mut store) as f64);
            }
        }
        assert!(worst <= CHURN_TIMES, "{worst:.1} times");
    }

    /// The bytes of the file of a farspan that was killed, and what is stored in it.
    fn killed(folder: &Folder) -> (Vec<u8>, Stored) {
        let mut store = open(folder).unwrap();
        for n in 0..3 {
            let changes = [put(n, &[n; 70]), Change::PutItem(span(n.into()))];
            store.commit(&changes).unwrap();
        }
        let bytes = fs::read(folder.path().join(FILE_NAME)).unwrap();
        (bytes, store.load().unwrap())
    }

    /// Whatever bit of the header is not as it was, farspan starts, and says so if a commit is lost.
    #[test]
    fn a_bit_of_the_header_loses_no_commit_silently() {
        let folder = Folder::in_memory();
        let path = folder.path().join(FILE_NAME);
        let (good, whole) = killed(&folder);
        let marked = mark::read(&path).unwrap();
        let (mut lost, mut kept) = (0, 0);
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            mark::write(&path, marked);
            let mut store = open(&folder).unwrap();
            let stored = store.load().unwrap();
            let has_all = stored.workflows == whole.workflows && stored.items == whole.items;
            assert_eq!(has_all, store.lost_commits == 0, "bit {bit}");
            assert!(
                stored
                    .workflows
                    .iter()
                    .all(|it| whole.workflows.contains(it))
            );
            if !has_all || bit % 8 == 0 {
                store.commit(&[put(200, b"goes on")]).unwrap();
                drop(store);
                assert_eq!(
                    open(&folder).unwrap().lost_commits,
                    0,
                    "bit {bit}: said once"
                );
            }
            *(if has_all { &mut kept } else { &mut lost }) += 1;
            forget_aside(&folder);
        }
        assert!(lost > 0 && kept > 0, "{lost} lost, {kept} kept");
    }

    fn forget_aside(folder: &Folder) {
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains("damaged") {
                fs::remove_file(path).unwrap();
            }
        }
    }

    #[test]
    fn an_empty_or_missing_file_tells_how_much_is_lost() {
        let folder = Folder::new();
        let path = folder.path().join(FILE_NAME);
        for is_empty in [true, false] {
            drop(killed(&folder));
            let marked = mark::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            if is_empty {
                fs::write(&path, "").unwrap();
            }
            let mut store = open(&folder).unwrap();
            assert_eq!(store.lost_commits, marked);
            assert!(store.load().unwrap().workflows.is_empty());
        }
    }

    #[test]
    fn a_file_that_is_removed_under_farspan_is_written_again() {
        let folder = Folder::new();
        let path = folder.path().join(FILE_NAME);
        let mut store = open(&folder).unwrap();
        store.commit(&[put(1, b"one")]).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(store.commit(&[put(2, b"two")]), Ok(Durability::FileGone));
        // Until everything is written, nothing is believed.
        assert_eq!(store.commit(&[put(2, b"two")]), Ok(Durability::FileGone));
        let everything = [put(1, b"one"), put(2, b"two")];
        assert_eq!(store.rewrite(&everything), Ok(Durability::Durable));
        assert_eq!(store.commit(&[put(3, b"three")]), Ok(Durability::Durable));
        drop(store);
        let mut store = open(&folder).unwrap();
        assert_eq!(
            (store.load().unwrap().workflows.len(), store.lost_commits),
            (3, 0)
        );
    }

    #[test]
    fn a_file_in_the_place_of_another_is_set_aside_unless_it_is_in_use() {
        let folder = Folder::new();
        let path = folder.path().join(FILE_NAME);
        let mut store = open(&folder).unwrap();
        fs::remove_file(&path).unwrap();
        let mut other = open(&folder).unwrap();
        other.commit(&[put(9, b"another's")]).unwrap();
        assert_eq!(store.commit(&[put(1, b"one")]), Ok(Durability::FileGone));
        let held = store.rewrite(&[put(1, b"one")]).unwrap_err().to_string();
        assert!(held.contains("another farspan"), "{held}");
        drop(other);
        assert_eq!(store.rewrite(&[put(1, b"one")]), Ok(Durability::Durable));
        assert_eq!(store.load().unwrap().workflows, [(key(1), b"one".to_vec())]);
    }

    /// Wherever the damage is, there is no panic, no crash loop, and no nonsense.
    #[test]
    fn a_file_damaged_anywhere_is_repaired_or_set_aside() {
        let folder = Folder::new();
        let path = folder.path().join(FILE_NAME);
        let mut store = open(&folder).unwrap();
        for n in 0..40 {
            let changes = [put(n, &[n; 700]), Change::PutItem(span(n.into()))];
            store.commit(&changes).unwrap();
        }
        let whole = store.load().unwrap();
        drop(store);
        let good = fs::read(&path).unwrap();
        let (mut lost, mut kept) = (0, 0);
        for from in (0..good.len()).step_by(1999) {
            let mut bytes = good.clone();
            let to = bytes.len().min(from + 64);
            bytes[from..to].fill(0xa5);
            fs::write(&path, &bytes).unwrap();
            let mut store = open(&folder).unwrap();
            let stored = store.load().unwrap();
            for record in &stored.workflows {
                assert!(whole.workflows.contains(record), "damage at {from}");
            }
            for span in &stored.items {
                assert!(whole.items.contains(span), "damage at {from}");
            }
            store.commit(&[put(200, b"goes on")]).unwrap();
            match stored.workflows.len() {
                40 => kept += 1,
                _ => lost += 1,
            }
        }
        assert!(lost > 0 && kept > 0, "{lost} lost, {kept} kept");
    }
}
