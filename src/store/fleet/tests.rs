//! The store of a fleet against a real Redis.

use super::redis::Caller;
use super::*;
use crate::core::Committed;
use crate::core::finished::Notification;
use crate::core::ids::RunKey;
use crate::core::outbox::{OutboxItem, Signal};
use crate::core::time::Now;
use crate::core::workflow::record;
use crate::core::{Change, Refusal, Stored};
use crate::os::clock;
use crate::store::View;
use ::redis::Client;
use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A redis-server at a socket of its own; gone with the test.
struct Server {
    child: Child,
    /// Open, so that what it says goes somewhere.
    _says: BufReader<ChildStdout>,
    socket: PathBuf,
}

impl Server {
    fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("farspan-store-{}-{number}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let mut child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is there; run tests/run");
        let mut says = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("eady to accept connections") {
            line.clear();
            let count = says.read_line(&mut line).unwrap();
            assert!(count > 0, "redis-server has ended");
        }
        Server {
            child,
            _says: says,
            socket,
        }
    }

    fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    fn client(&self) -> Client {
        Client::open(self.url()).unwrap()
    }

    fn ask<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.client().get_connection().unwrap();
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut connection).unwrap()
    }

    fn fleet(&self, instance: &str, listed_for: Duration) -> Fleet {
        Fleet {
            url: self.url(),
            namespace: Some("test".into()),
            service: "farspan".into(),
            instance: instance.into(),
            lease: LONG,
            listed_for,
        }
    }

    fn instance(&self, name: &str) -> Instance {
        self.instance_listing(name, Duration::ZERO)
    }

    fn instance_listing(&self, name: &str, listed_for: Duration) -> Instance {
        Self::member(&self.fleet(name, listed_for))
    }

    fn member(fleet: &Fleet) -> Instance {
        let now = clock::now();
        Instance {
            protocol: Protocol::new(fleet.protocol(record::VERSION), now),
            caller: Caller::new(fleet).unwrap(),
            now,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.socket));
    }
}

const LONG: Duration = Duration::from_secs(60);

fn key(n: u8) -> RunKey {
    RunKey::from_bytes([n; 16])
}

fn put(n: u8, record: &[u8]) -> Change {
    put_of_version(record::VERSION, n, record)
}

fn put_of_version(version: u8, n: u8, record: &[u8]) -> Change {
    Change::PutWorkflow {
        run: key(n),
        record: [&[version], record].concat(),
    }
}

fn encoded(n: u8, sequence: u64) -> OutboxItem {
    OutboxItem {
        signal: Signal::Traces,
        sequence,
        run: key(n),
        monitor: (sequence % 2 == 1).then(|| "a:b".into()),
        bytes: vec![n; 3].into(),
    }
}

fn notification(n: u8, sequence: u64) -> Notification {
    Notification {
        sequence,
        run: key(n),
        monitor: "a:b".into(),
        bytes: vec![n; 3].into(),
    }
}

fn span(n: u8, sequence: u64) -> Change {
    Change::PutItem(encoded(n, sequence))
}

/// One incarnation, by a clock of its own.
struct Instance {
    protocol: Protocol,
    caller: Caller,
    now: Now,
}

impl Instance {
    fn commit(&mut self, changes: &[Change]) -> Committed {
        self.commit_of(changes, changes).unwrap()
    }

    fn commit_of(
        &mut self,
        changes: &[Change],
        all: &[Change],
    ) -> Result<Committed, CommitFailure> {
        self.protocol.begin_commit(changes.into());
        loop {
            if let Some(done) = self.step(all, 100_000) {
                return done;
            }
        }
    }

    /// Makes one call of a commit.
    fn step(&mut self, all: &[Change], room: usize) -> Option<Result<Committed, CommitFailure>> {
        let view = View {
            everything: &|| all.to_vec(),
            room,
        };
        match self.protocol.next(&view, self.now) {
            Next::Call(call) => {
                let answer = self.caller.make(&call);
                self.protocol.take_answer(answer, self.now);
                None
            }
            Next::Done(result) => Some(result),
            Next::Nothing => panic!("a commit is under way"),
        }
    }

    /// What a commit claims when it is due, with room for so many workflows.
    fn claim(&mut self, room: usize) -> Stored {
        let due = self.protocol.next_deadline();
        self.now.mono = self.now.mono.max(due);
        self.protocol.begin_commit([].into());
        loop {
            if let Some(done) = self.step(&[], room) {
                let committed = done.unwrap();
                assert_eq!(committed.refused, []);
                return committed.claimed;
            }
        }
    }

    fn claim_all(&mut self) -> Stored {
        self.claim(100_000)
    }

    fn leave(&mut self) {
        let call = self.protocol.leave().expect("it is connected");
        assert_eq!(self.caller.make(&call), Ok(FleetReply::LeaseEnded));
    }

    fn lose_connection(&mut self) {
        self.caller.disconnect();
    }
}

fn runs_of(stored: &Stored) -> Vec<RunKey> {
    let mut runs: Vec<RunKey> = stored.workflows.iter().map(|(run, _)| *run).collect();
    runs.sort_unstable();
    runs
}

fn is_empty(stored: &Stored) -> bool {
    stored.workflows.is_empty() && stored.items.is_empty() && stored.notifications.is_empty()
}

/// One of many runs.
fn numbered(n: u16, record: &[u8]) -> Change {
    Change::PutWorkflow {
        run: numbered_key(n),
        record: [&[record::VERSION], record].concat(),
    }
}

fn numbered_key(n: u16) -> RunKey {
    RunKey::from_bytes(u128::from(n).to_be_bytes())
}

#[test]
fn the_commit_is_the_claim() {
    let server = Server::start();
    let (mut a, mut b) = (server.instance("a"), server.instance("b"));
    assert!(a.commit(&[put(1, b"a's")]).is_plain());
    let committed = b.commit(&[put(1, b"b's"), put(2, b"b's")]);
    assert_eq!(committed.refused, [(key(1), Refusal::Elsewhere)]);
    // A record that ends, and its span is delivered: the run is done, for all instances.
    let end = [Change::RemoveWorkflow(key(1)), span(1, 7)];
    assert!(a.commit(&end).is_plain());
    let delivered = [Change::RemoveItems(vec![encoded(1, 7)])];
    assert!(a.commit(&delivered).is_plain());
    assert_eq!(a.protocol.owned(), 0);
    let committed = b.commit(&[put(1, b"b's")]);
    assert_eq!(committed.refused, [(key(1), Refusal::Done)]);
    let keys: Vec<String> = server.ask(&["KEYS", "*:run:*"]);
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(
        keys[0].starts_with("farspan:{test/farspan}:run:02"),
        "{keys:?}"
    );
}

#[test]
fn fleets_of_different_names_share_no_key() {
    let server = Server::start();
    let names = [
        (None, "a/b"),
        (Some("a"), "b"),
        (Some("a"), "b/c"),
        (Some("a/b"), "c"),
        (Some("a{b}"), "c"),
        (Some("a_b_"), "c"),
        (Some("a%7Bb%7D"), "c"),
        (None, "}:x"),
        (None, "é"),
    ];
    let mut members = names.map(|(namespace, service)| {
        Server::member(&Fleet {
            namespace: namespace.map(Into::into),
            service: service.into(),
            ..server.fleet("one", Duration::ZERO)
        })
    });
    // Each would be refused if another had the instance's name, or the run.
    for (member, name) in members.iter_mut().zip(names) {
        assert!(member.commit(&[put(1, b"mine")]).is_plain(), "{name:?}");
    }
    for (member, name) in members.iter_mut().zip(names) {
        assert!(member.commit(&[put(1, b"still")]).is_plain(), "{name:?}");
    }
    // A Redis cluster keeps all keys of a fleet in one place: the text in the first pair of braces decides where.
    let keys: Vec<String> = server.ask(&["KEYS", "*"]);
    let tags: HashSet<&str> = keys
        .iter()
        .map(|key| key.split(['{', '}']).nth(1).unwrap())
        .collect();
    assert_eq!(tags.len(), names.len(), "{keys:?}");
}

#[test]
fn runs_of_an_expired_owner_are_claimed_once_with_all_their_fields() {
    let server = Server::start();
    let mut a = server.instance("a");
    let all: Vec<Change> = (0..200).map(|n| put(n, &[n; 10])).collect();
    a.commit(&all);
    a.commit(&[Change::RemoveWorkflow(key(3)), span(3, 5), span(4, 6)]);
    // Of this run only the finished event is left.
    let event = notification(5, 9);
    let ended = [
        Change::RemoveWorkflow(key(5)),
        Change::PutNotification(event.clone()),
    ];
    a.commit(&ended);
    let mut b = server.instance("b");
    assert!(b.commit(&[]).is_plain(), "a's lease is valid");
    a.leave();
    let claimed = b.claim_all();
    assert_eq!(claimed.workflows.len(), 198);
    assert_eq!(claimed.notifications, std::slice::from_ref(&event));
    let mut spans = claimed.items;
    spans.sort_unstable_by_key(|span| span.sequence);
    assert_eq!(spans, [encoded(3, 5), encoded(4, 6)]);
    assert_eq!(claimed.finished.len(), 2);
    assert!(is_empty(&b.claim_all()));
    let gone = [Change::RemoveNotifications(vec![event])];
    assert!(b.commit(&gone).is_plain());
    let committed = b.commit(&[put(5, b"again")]);
    assert_eq!(committed.refused, [(key(5), Refusal::Done)]);
    // An instance that comes back finds its run claimed, and keeps what is new.
    let more = [put(1, b"stale"), put(201, b"new")];
    let committed = a.commit(&more);
    assert_eq!(committed.refused, [(key(1), Refusal::Elsewhere)]);
    let record: Vec<u8> = server.ask(&["HGET", &run_key(1), "w"]);
    assert_eq!(record, [&[record::VERSION][..], &[1; 10]].concat());
}

fn run_key(n: u8) -> String {
    format!("farspan:{{test/farspan}}:run:{}", key(n))
}

#[test]
fn instances_share_the_runs_of_an_expired_owner() {
    let server = Server::start();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| server.instance(name));
    let all: Vec<Change> = (0..201).map(|n| put(n, b"")).collect();
    a.commit(&all);
    // Their leases are valid, though they own nothing.
    assert!(b.commit(&[]).is_plain());
    assert!(c.commit(&[]).is_plain());
    a.leave();
    let counts = [&mut b, &mut c].map(|it| it.claim_all().workflows.len());
    assert_eq!(counts, [101, 100]);
    // Nothing is left, and no share is kept.
    assert!(is_empty(&b.claim_all()));
    let owners: Vec<String> = server.ask(&["SMEMBERS", "farspan:{test/farspan}:owners"]);
    let shares: Vec<String> = server.ask(&["KEYS", "*:share:*"]);
    assert_eq!(
        (owners.len(), shares.len()),
        (2, 0),
        "{owners:?} {shares:?}"
    );
}

#[test]
fn runs_that_a_full_instance_does_not_claim_are_claimed_by_another() {
    let server = Server::start();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| server.instance(name));
    let all: Vec<Change> = (0..10).map(|n| put(n, b"")).collect();
    a.commit(&all);
    b.commit(&[]);
    c.commit(&[]);
    a.leave();
    assert!(is_empty(&c.claim(0)), "c has no room");
    let counts = [(); 3].map(|()| b.claim_all().workflows.len());
    assert_eq!(counts, [5, 5, 0]);
}

/// Each commit claims a bounded number of runs, never more than there is room for, and the next commit comes soon.
#[test]
fn many_runs_are_claimed_in_several_commits() {
    const COUNT: u16 = 3000;
    let server = Server::start();
    let (mut a, mut b) = (server.instance("a"), server.instance("b"));
    let all: Vec<Change> = (0..COUNT).map(|n| numbered(n, b"")).collect();
    a.commit(&all);
    b.commit(&[]);
    a.leave();
    let mut claim = |room| {
        let claimed = b.claim(room).workflows;
        let pause = b.protocol.next_deadline().since(b.now.mono);
        (claimed, pause <= CLAIM_AGAIN_AFTER)
    };
    let (mut claimed, soon_again) = claim(10);
    assert_eq!((claimed.len(), soon_again), (10, false), "it is full");
    assert_eq!(claim(0), (vec![], false), "not before there is room");
    let mut counts = Vec::new();
    loop {
        let (more, soon_again) = claim(100_000);
        counts.push(more.len());
        claimed.extend(more);
        if !soon_again {
            break;
        }
    }
    let most = CLAIMS.per_commit..CLAIMS.per_commit + 2 * CLAIMS.per_call;
    assert!(
        most.contains(&counts[0]) && most.contains(&counts[1]),
        "{counts:?}"
    );
    let runs: HashSet<RunKey> = claimed.iter().map(|(run, _)| *run).collect();
    assert_eq!((runs.len(), claimed.len()), (COUNT.into(), COUNT.into()));
}

#[test]
fn an_instance_that_comes_back_claims_all_that_it_had() {
    let server = Server::start();
    let (mut a, mut b) = (server.instance("a"), server.instance("b"));
    let all: Vec<Change> = (0..9).map(|n| put(n, b"")).collect();
    a.commit(&all);
    b.commit(&[]);
    let again = server.instance("a").commit(&[]);
    assert_eq!(again.claimed.workflows.len(), 9);
}

#[test]
fn runs_that_a_later_farspan_stored_wait_for_one_that_can_read_them() {
    let server = Server::start();
    let [mut a, mut b, mut later] = ["a", "b", "c"].map(|name| server.instance(name));
    let newer = |n| put_of_version(record::VERSION + 1, n, b"newer");
    a.commit(&[newer(1), put(2, b"old"), newer(3)]);
    a.leave();
    assert_eq!(runs_of(&b.claim_all()), [key(2)]);
    let notice = b.protocol.next_notice();
    assert!(
        matches!(
            &notice,
            Some(FleetNotice::Unread(UnreadRuns { runs: 2, .. }))
        ),
        "{notice:?}"
    );
    // They are looked at once, and then not until their number changes.
    let scans = || -> String { server.ask(&["INFO", "commandstats"]) };
    let count = |stats: &str| {
        let line = stats.lines().find(|l| l.starts_with("cmdstat_sscan:"));
        line.map(|l| l.split(',').next().unwrap().to_owned())
    };
    let before = count(&scans());
    assert!(before.is_some());
    assert!(is_empty(&b.claim_all()));
    assert_eq!(count(&scans()), before);
    assert_eq!(b.protocol.next_notice(), None);
    let settings = ProtocolSettings {
        version: record::VERSION + 1,
        ..server.fleet("c", Duration::ZERO).protocol(record::VERSION)
    };
    later.protocol = Protocol::new(settings, later.now);
    assert_eq!(later.claim_all().workflows.len(), 2);
    assert!(is_empty(&b.claim_all()));
}

/// A network that heals delivers calls that were given up long ago.
#[test]
fn a_call_that_an_earlier_connection_delivers_late_changes_nothing() {
    let server = Server::start();
    let mut a = server.instance("a");
    a.commit(&[put(1, b"first")]);
    let write = RunWrite {
        run: key(1),
        mode: WriteMode::Owned,
        set: vec![(RunField::Record, Arc::from(&b"stale"[..]))],
        removed: vec![],
    };
    let stale = FleetCall {
        connection: 1,
        command: FleetCommand::Commit(vec![write]),
    };
    a.lose_connection();
    assert!(a.commit_of(&[put(1, b"second")], &[]).is_err());
    let second = [put(1, b"second")];
    assert!(a.commit(&second).is_plain());
    assert_eq!(a.caller.make(&stale), Ok(FleetReply::Lapsed));
    let record: Vec<u8> = server.ask(&["HGET", &run_key(1), "w"]);
    assert_eq!(&record[1..], b"second");
    // The last connection goes on.
    assert!(a.commit(&[put(1, b"third")]).is_plain());
}

#[test]
fn a_redis_that_has_lost_everything_gets_all_of_it_again() {
    let server = Server::start();
    let mut a = server.instance("a");
    a.commit(&[put(1, b"one"), put(2, b"two"), span(2, 9)]);
    let _: () = server.ask(&["FLUSHALL"]);
    let all = [put(2, b"two"), span(2, 9), put(3, b"three")];
    let delivered = [Change::RemoveWorkflow(key(1)), put(3, b"three")];
    assert!(a.commit_of(&delivered, &all).unwrap().is_plain());
    assert_eq!(a.protocol.next_notice(), Some(FleetNotice::Lapsed));
    a.leave();
    let claimed = server.instance("b").commit(&[]).claimed;
    assert_eq!(runs_of(&claimed), [key(2), key(3)]);
    assert_eq!(claimed.items.len(), 1);
}

/// However many runs are rewritten: what changes meanwhile is written by the next commit, and counts.
#[test]
fn what_changes_during_a_rewrite_is_written_after_it() {
    const COUNT: u16 = 1000;
    let server = Server::start();
    let (mut a, mut b) = (server.instance("a"), server.instance("b"));
    let mut all: Vec<Change> = (0..COUNT).map(|n| numbered(n, b"old")).collect();
    a.commit(&all);
    let _: () = server.ask(&["FLUSHALL"]);
    b.commit(&[numbered(3, b"b's")]);
    all[2] = numbered(2, b"before");
    a.protocol.begin_commit([all[2].clone()].into());
    let mut calls = 0;
    let committed = loop {
        match a.step(&all, 0) {
            Some(done) => break done.unwrap(),
            None => calls += 1,
        }
    };
    // The lapse, Register, four parts, OwnRuns.
    assert_eq!(calls, 7);
    assert_eq!(committed.refused, [(numbered_key(3), Refusal::Elsewhere)]);
    // In the middle of that: a run that was written, one that was not, and one that ended.
    let meanwhile = [
        numbered(1, b"new"),
        numbered(COUNT - 1, b"new"),
        Change::RemoveWorkflow(numbered_key(0)),
    ];
    assert!(a.commit(&meanwhile).is_plain());
    assert_eq!(a.protocol.owned(), usize::from(COUNT) - 2);
    a.leave();
    let claimed: BTreeMap<RunKey, Vec<u8>> = b.claim_all().workflows.into_iter().collect();
    let record = |n: u16| claimed.get(&numbered_key(n)).map(|record| &record[1..]);
    let expected: [(u16, Option<&[u8]>); 6] = [
        (0, None),
        (1, Some(b"new")),
        (2, Some(b"before")),
        (3, None),
        (4, Some(b"old")),
        (COUNT - 1, Some(b"new")),
    ];
    for (n, expected) in expected {
        assert_eq!(record(n), expected, "{n}");
    }
    assert_eq!(claimed.len(), usize::from(COUNT) - 2);
}

/// An instance whose lease ends within a rewrite begins it again, and is refused what others have claimed meanwhile.
#[test]
fn a_lease_that_lapses_within_a_rewrite_is_noticed() {
    let server = Server::start();
    let (mut a, mut b) = (server.instance("a"), server.instance("b"));
    let all: Vec<Change> = (0..300).map(|n| numbered(n, b"")).collect();
    a.commit(&all);
    a.lose_connection();
    assert!(a.commit_of(&[all[0].clone()], &all).is_err());
    a.protocol.begin_commit([].into());
    // Connect, Register, the first part.
    for _ in 0..3 {
        assert!(a.step(&all, 0).is_none());
    }
    assert!(!a.protocol.may_export(a.now));
    let _: u8 = server.ask(&["DEL", "farspan:{test/farspan}:instance:a"]);
    assert_eq!(b.claim_all().workflows.len(), 300);
    let committed = loop {
        if let Some(done) = a.step(&all, 0) {
            break done.unwrap();
        }
    };
    assert_eq!(committed.refused.len(), 300);
    assert_eq!(a.protocol.owned(), 0);
}

/// A discovery lists a run for as long, and an instance that starts then must not trace it again.
#[test]
fn a_done_run_is_remembered_for_as_long_as_a_discovery_may_list_it() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let server = Server::start();
    for (n, listed_for, kept) in [(1, DAY / 24, DAY * 7), (2, DAY * 30, DAY * 30)] {
        let mut it = server.instance_listing(&format!("{n}"), listed_for);
        it.commit(&[put(n, b"one")]);
        it.commit(&[Change::RemoveWorkflow(key(n))]);
        let done = format!("farspan:{{test/farspan}}:done:{}", key(n));
        let left: u64 = server.ask(&["TTL", &done]);
        assert!(kept.as_secs() - left < 60, "{left} s of {kept:?}");
        // After a shorter silence a run that is not there is not done: Redis has lost it.
        it.commit(&[put(n + 10, b"two")]);
        for (away, is_done) in [(kept - DAY / 24, false), (kept, true)] {
            let _: () = server.ask(&["FLUSHALL"]);
            // The machine slept: only its wall clock went on.
            it.now.wall = it.now.wall + away;
            let refused = it.commit(&[put(n + 10, b"two")]).refused;
            assert_eq!(!refused.is_empty(), is_done, "{away:?} of {kept:?}");
        }
    }
}

#[test]
fn the_newer_of_two_with_one_name_stays() {
    let server = Server::start();
    let (mut older, mut newer) = (server.instance("a"), server.instance("a"));
    older.commit(&[put(1, b"one")]);
    assert_eq!(newer.commit(&[]).claimed.workflows.len(), 1);
    let failure = older.commit_of(&[put(1, b"1")], &[]).unwrap_err();
    assert_eq!(failure, CommitFailure::NameTaken);
    assert!(newer.commit(&[put(1, b"again")]).is_plain());
}
