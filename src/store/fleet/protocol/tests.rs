//! The protocol as text: what happens to it, and behind `>` what it does.

use super::super::call::{Claimed, ExpiredOwner, Owner, RunField};
use super::*;
use crate::core::Stored;
use crate::core::time::Wall;
use expect_test::{Expect, expect};

const SETTINGS: ProtocolSettings = ProtocolSettings {
    lease: Duration::from_secs(30),
    done_kept: Duration::from_secs(24 * 3600),
    version: 1,
    runs_per_call: 3,
    bytes_per_call: 1000,
    claims: ClaimLimits {
        per_call: 2,
        per_commit: 4,
    },
};

/// Plays a script, one line after the other, and compares what came of it.
#[track_caller]
fn check(script: &str, expected: Expect) {
    let mut play = Play::new();
    play.lines(script);
    expected.assert_eq(&play.text);
}

/// The same, after a first commit with nothing to write.
#[track_caller]
fn check_begun(script: &str, expected: Expect) {
    let mut play = Play::new();
    play.lines("commit\n connected\n registered\n own\n expired");
    play.text.clear();
    play.lines(script);
    expected.assert_eq(&play.text);
}

struct Play {
    protocol: Protocol,
    now: Now,
    /// The runs that the core has, as one number each.
    everything: Vec<u8>,
    room: usize,
    text: String,
}

impl Play {
    fn new() -> Self {
        let now = Now {
            mono: Mono::from_ns(0),
            wall: Wall::from_unix_ns(1_700_000_000_000_000_000),
        };
        Play {
            protocol: Protocol::new(SETTINGS, now),
            now,
            everything: Vec::new(),
            room: 100,
            text: String::new(),
        }
    }

    fn lines(&mut self, script: &str) {
        let lines = script.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .for_each(|line| self.line(line));
    }

    fn line(&mut self, line: &str) {
        self.text += &format!("{line}\n");
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words = || rest.split_whitespace();
        match word {
            "commit" => self
                .protocol
                .begin_commit(words().map(change).collect::<Vec<_>>().into()),
            "has" => self.everything = words().map(number).collect(),
            "room" => self.room = number(rest).into(),
            "passes" => {
                let time = Duration::from_secs(rest.parse().unwrap());
                self.now.mono = self.now.mono + time;
                self.now.wall = self.now.wall + time;
            }
            "sleeps" => self.now.wall = self.now.wall + Duration::from_secs(rest.parse().unwrap()),
            "set-back" => self.now.wall = Wall::from_unix_ns(0),
            "exports?" => {
                let may = self.protocol.may_export(self.now);
                self.text += if may { "  > yes\n" } else { "  > no\n" };
            }
            "leave" => {
                self.text += &format!(
                    "  > {}\n",
                    self.protocol
                        .leave()
                        .map_or("nothing".into(), |it| call(&it))
                )
            }
            "no-answer" => self.protocol.take_answer(
                Err(CallError {
                    words: "no answer".into(),
                    is_final: false,
                }),
                self.now,
            ),
            _ => self.protocol.take_answer(Ok(reply(word, rest)), self.now),
        }
        self.show();
    }

    fn show(&mut self) {
        let everything = || self.everything.iter().map(|n| put(*n)).collect();
        let view = View {
            everything: &everything,
            room: self.room,
        };
        let next = self.protocol.next(&view, self.now);
        while let Some(notice) = self.protocol.next_notice() {
            self.text += &format!("  > notice: {notice:?}\n");
        }
        match next {
            Next::Call(it) => self.text += &format!("  > {}\n", call(&it)),
            Next::Done(Ok(committed)) => {
                let due = self.protocol.next_deadline().since(self.now.mono);
                self.text += &format!("  > done{}, due in {due:?}\n", result(&committed));
            }
            Next::Done(Err(failure)) => self.text += &format!("  > failed: {failure:?}\n"),
            Next::Nothing => {}
        }
    }
}

fn number(word: &str) -> u8 {
    word.parse().unwrap()
}

fn key(n: u8) -> RunKey {
    RunKey::from_bytes([n; 16])
}

fn short(run: RunKey) -> u8 {
    u8::from_str_radix(&run.to_string()[..2], 16).unwrap()
}

fn put(n: u8) -> Change {
    Change::PutWorkflow {
        run: key(n),
        record: vec![n],
    }
}

/// `+1`: run 1 has a record. `-1`: it has none any more.
fn change(word: &str) -> Change {
    let n = number(&word[1..]);
    if word.starts_with('+') {
        put(n)
    } else {
        Change::RemoveWorkflow(key(n))
    }
}

fn stored(n: u8) -> StoredRun {
    StoredRun {
        run: key(n),
        fields: vec![(RunField::Record, vec![n].into())],
    }
}

fn reply(word: &str, rest: &str) -> FleetReply {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let runs = || words.iter().map(|word| number(word));
    match word {
        "connected" => FleetReply::Connected,
        "registered" => FleetReply::Registered(true),
        "name-taken" => FleetReply::Registered(false),
        "lapsed" => FleetReply::Lapsed,
        "committed" => FleetReply::Committed(
            (words.chunks(2))
                .map(|pair| (key(number(pair[0])), verdict(pair[1])))
                .collect(),
        ),
        "own" => FleetReply::OwnRuns(runs().map(key).collect()),
        "runs" => FleetReply::Runs(runs().map(stored).collect()),
        "expired" => FleetReply::Expired(
            (words.chunks(3))
                .map(|it| ExpiredOwner {
                    owner: Owner(it[0].into()),
                    share: it[1].parse().unwrap(),
                    runs: it[2].parse().unwrap(),
                })
                .collect(),
        ),
        "claimed" => FleetReply::Claimed(Claimed {
            cursor: words[0].into(),
            unread: words[1].parse().unwrap(),
            runs: runs_behind(&words[2..]),
        }),
        _ => panic!("{word}?"),
    }
}

fn runs_behind(words: &[&str]) -> Vec<StoredRun> {
    words.iter().map(|word| stored(number(word))).collect()
}

fn verdict(word: &str) -> WriteVerdict {
    match word {
        "elsewhere" => WriteVerdict::Refused(Refusal::Elsewhere),
        "done" => WriteVerdict::Refused(Refusal::Done),
        "missing" => WriteVerdict::Missing,
        "over" => WriteVerdict::Over,
        _ => panic!("{word}?"),
    }
}

fn call(it: &FleetCall) -> String {
    let what = match &it.command {
        FleetCommand::Commit(writes) => {
            let write = |it: &RunWrite| {
                let (sets, removes) = (it.set.len(), it.removed.len());
                format!("{:?} {} +{sets} -{removes}", it.mode, short(it.run))
            };
            let writes: Vec<String> = writes.iter().map(write).collect();
            format!("Commit({})", writes.join(", "))
        }
        FleetCommand::Read(runs) => {
            format!(
                "Read{:?}",
                runs.iter().map(|run| short(*run)).collect::<Vec<_>>()
            )
        }
        FleetCommand::Claim(it) => {
            assert_eq!(it.count, SETTINGS.claims.per_call);
            format!(
                "Claim({} from {}, {} at most)",
                it.owner, it.cursor, it.room
            )
        }
        other => format!("{other:?}"),
    };
    format!("#{} {what}", it.connection)
}

fn result(committed: &Committed) -> String {
    let mut text = String::new();
    for (run, why) in &committed.refused {
        text += &format!(", {} refused: {why:?}", short(*run));
    }
    let Stored { workflows, .. } = &committed.claimed;
    for (run, _) in workflows {
        text += &format!(", {} claimed", short(*run));
    }
    text
}

#[test]
fn the_first_commit_connects_registers_and_writes_everything() {
    check(
        "exports?
         has 1 2 3 4
         commit +1
         connected
         registered
         own
         committed 2 elsewhere
         committed 4 done
         expired
         exports?
         commit +3 +5
         committed
         leave",
        expect![[r#"
            exports?
              > no
            has 1 2 3 4
            commit +1
              > #1 Connect
            connected
              > #1 Register { replaces: true }
            registered
              > #1 OwnRuns
            own
              > #1 Commit(Rewrite 1 +1 -0, Rewrite 2 +1 -0, Rewrite 3 +1 -0)
            committed 2 elsewhere
              > #1 Commit(Rewrite 4 +1 -0)
            committed 4 done
              > #1 Look
            expired
              > done, 2 refused: Elsewhere, 4 refused: Done, due in 10s
            exports?
              > yes
            commit +3 +5
              > #1 Commit(Owned 3 +1 -0, New 5 +1 -0)
            committed
              > done, due in 10s
            leave
              > #1 EndLease
        "#]],
    );
}

#[test]
fn a_commit_without_changes_renews_the_lease_when_it_is_due() {
    check_begun(
        "commit
         passes 10
         commit
         expired
         passes 25
         exports?
         passes 3
         exports?",
        expect![[r#"
            commit
              > done, due in 10s
            passes 10
            commit
              > #1 Look
            expired
              > done, due in 10s
            passes 25
            exports?
              > yes
            passes 3
            exports?
              > no
        "#]],
    );
}

#[test]
fn nothing_is_exported_once_the_lease_may_have_lapsed() {
    check_begun(
        "passes 26
         exports?
         set-back
         exports?
         passes 1
         exports?",
        expect![[r#"
            passes 26
            exports?
              > yes
            set-back
            exports?
              > yes
            passes 1
            exports?
              > no
        "#]],
    );
    check_begun(
        "sleeps 30
         exports?",
        expect![[r#"
            sleeps 30
            exports?
              > no
        "#]],
    );
}

#[test]
fn a_lease_that_has_lapsed_is_registered_again_and_everything_is_written_again() {
    check_begun(
        "has 1 2
         commit +1 +2
         committed
         has 1 2 3
         commit +3
         lapsed
         registered
         own 2 3
         committed 1 elsewhere
         commit +2
         lapsed
         registered
         own
         lapsed",
        expect![[r#"
            has 1 2
            commit +1 +2
              > #1 Commit(New 1 +1 -0, New 2 +1 -0)
            committed
              > done, due in 10s
            has 1 2 3
            commit +3
              > #1 Commit(New 3 +1 -0)
            lapsed
              > notice: Lapsed
              > #1 Register { replaces: false }
            registered
              > #1 OwnRuns
            own 2 3
              > #1 Commit(Rewrite 1 +1 -0, Rewrite 2 +1 -0, Rewrite 3 +1 -0)
            committed 1 elsewhere
              > done, 1 refused: Elsewhere, due in 10s
            commit +2
              > #1 Commit(Owned 2 +1 -0)
            lapsed
              > notice: Lapsed
              > #1 Register { replaces: false }
            registered
              > #1 OwnRuns
            own
              > #1 Commit(Rewrite 1 +1 -0, Rewrite 2 +1 -0, Rewrite 3 +1 -0)
            lapsed
              > failed: Lapsed
        "#]],
    );
}

#[test]
fn a_run_that_redis_has_lost_means_that_everything_is_written_again() {
    check_begun(
        "has 1 2
         commit +1 +2
         committed
         commit +1
         committed 1 missing
         exports?
         registered
         own 1 2
         committed
         exports?",
        expect![[r#"
            has 1 2
            commit +1 +2
              > #1 Commit(New 1 +1 -0, New 2 +1 -0)
            committed
              > done, due in 10s
            commit +1
              > #1 Commit(Owned 1 +1 -0)
            committed 1 missing
              > notice: Lapsed
              > #1 Register { replaces: false }
            exports?
              > no
            registered
              > #1 OwnRuns
            own 1 2
              > #1 Commit(Rewrite 1 +1 -0, Rewrite 2 +1 -0)
            committed
              > done, due in 10s
            exports?
              > yes
        "#]],
    );
}

#[test]
fn after_a_call_without_an_answer_there_is_a_new_connection() {
    check_begun(
        "has 1
         commit +1
         no-answer
         exports?
         leave
         commit +1
         no-answer
         commit +1
         connected
         registered
         own 1
         committed",
        expect![[r#"
            has 1
            commit +1
              > #1 Commit(New 1 +1 -0)
            no-answer
              > failed: Call(CallError { words: "no answer", is_final: false })
            exports?
              > no
            leave
              > nothing
            commit +1
              > #2 Connect
            no-answer
              > failed: Call(CallError { words: "no answer", is_final: false })
            commit +1
              > #3 Connect
            connected
              > #3 Register { replaces: false }
            registered
              > #3 OwnRuns
            own 1
              > #3 Commit(Rewrite 1 +1 -0)
            committed
              > done, due in 10s
        "#]],
    );
}

#[test]
fn what_was_refused_before_a_failure_is_reported_by_the_next_commit() {
    check_begun(
        "has 1 2 3 4
         commit +1 +2 +3 +4
         committed 1 elsewhere
         no-answer
         commit +1 +2 +3 +4
         connected
         registered
         own 2 3 4
         committed",
        expect![[r#"
            has 1 2 3 4
            commit +1 +2 +3 +4
              > #1 Commit(New 1 +1 -0, New 2 +1 -0, New 3 +1 -0)
            committed 1 elsewhere
              > #1 Commit(New 4 +1 -0)
            no-answer
              > failed: Call(CallError { words: "no answer", is_final: false })
            commit +1 +2 +3 +4
              > #2 Connect
            connected
              > #2 Register { replaces: false }
            registered
              > #2 OwnRuns
            own 2 3 4
              > #2 Commit(Rewrite 2 +1 -0, Rewrite 3 +1 -0, Rewrite 4 +1 -0)
            committed
              > done, 1 refused: Elsewhere, due in 10s
        "#]],
    );
}

#[test]
fn changes_to_a_refused_run_are_not_written() {
    check_begun(
        "has 1
         commit +1
         committed 1 elsewhere
         commit -1",
        expect![[r#"
            has 1
            commit +1
              > #1 Commit(New 1 +1 -0)
            committed 1 elsewhere
              > done, 1 refused: Elsewhere, due in 10s
            commit -1
              > done, due in 10s
        "#]],
    );
}

#[test]
fn a_run_without_fields_is_over_and_not_owned_any_more() {
    check_begun(
        "has 1
         commit +1
         committed
         has
         commit -1
         committed 1 over
         commit -1",
        expect![[r#"
            has 1
            commit +1
              > #1 Commit(New 1 +1 -0)
            committed
              > done, due in 10s
            has
            commit -1
              > #1 Commit(Owned 1 +0 -1)
            committed 1 over
              > done, due in 10s
            commit -1
              > done, due in 10s
        "#]],
    );
}

#[test]
fn a_rewrite_ends_owned_runs_that_the_core_does_not_have_any_more() {
    check_begun(
        "has 1 2
         commit +1 +2
         committed
         has 2
         commit -1
         lapsed
         registered
         own 2
         committed 1 over",
        expect![[r#"
            has 1 2
            commit +1 +2
              > #1 Commit(New 1 +1 -0, New 2 +1 -0)
            committed
              > done, due in 10s
            has 2
            commit -1
              > #1 Commit(Owned 1 +0 -1)
            lapsed
              > notice: Lapsed
              > #1 Register { replaces: false }
            registered
              > #1 OwnRuns
            own 2
              > #1 Commit(Rewrite 1 +0 -0, Rewrite 2 +1 -0)
            committed 1 over
              > done, due in 10s
        "#]],
    );
}

#[test]
fn after_a_silence_longer_than_done_runs_are_known_a_missing_run_is_done() {
    check_begun(
        "has 1 2
         commit +1
         committed
         sleeps 86400
         commit +2
         lapsed
         registered
         own 2
         committed 1 done",
        expect![[r#"
            has 1 2
            commit +1
              > #1 Commit(New 1 +1 -0)
            committed
              > done, due in 10s
            sleeps 86400
            commit +2
              > #1 Commit(New 2 +1 -0)
            lapsed
              > notice: Lapsed
              > #1 Register { replaces: false }
            registered
              > #1 OwnRuns
            own 2
              > #1 Commit(LateRewrite 1 +1 -0, LateRewrite 2 +1 -0)
            committed 1 done
              > done, 1 refused: Done, due in 10s
        "#]],
    );
    // A first try that failed has renewed the lease; what was stored then is not known.
    check_begun(
        "has 1
         commit +1
         committed
         sleeps 86400
         commit +1
         lapsed
         registered
         own
         no-answer
         commit +1
         connected
         registered
         own",
        expect![[r#"
            has 1
            commit +1
              > #1 Commit(New 1 +1 -0)
            committed
              > done, due in 10s
            sleeps 86400
            commit +1
              > #1 Commit(Owned 1 +1 -0)
            lapsed
              > notice: Lapsed
              > #1 Register { replaces: false }
            registered
              > #1 OwnRuns
            own
              > #1 Commit(LateRewrite 1 +1 -0)
            no-answer
              > failed: Call(CallError { words: "no answer", is_final: false })
            commit +1
              > #2 Connect
            connected
              > #2 Register { replaces: false }
            registered
              > #2 OwnRuns
            own
              > #2 Commit(LateRewrite 1 +1 -0)
        "#]],
    );
}

#[test]
fn runs_that_were_claimed_without_an_answer_are_found_again() {
    check_begun(
        "passes 10
         commit
         expired other/1 5 5
         no-answer
         commit
         connected
         registered
         own 1 2 3 4
         runs 1 2 3
         runs 4
         expired",
        expect![[r#"
            passes 10
            commit
              > #1 Look
            expired other/1 5 5
              > #1 Claim(other/1 from 0, 5 at most)
            no-answer
              > failed: Call(CallError { words: "no answer", is_final: false })
            commit
              > #2 Connect
            connected
              > #2 Register { replaces: false }
            registered
              > #2 OwnRuns
            own 1 2 3 4
              > #2 Read[1, 2, 3]
            runs 1 2 3
              > #2 Read[4]
            runs 4
              > #2 Look
            expired
              > done, 1 claimed, 2 claimed, 3 claimed, 4 claimed, due in 10s
        "#]],
    );
}

/// A start event may come between the claim and the next commit.
#[test]
fn a_run_that_was_begun_again_while_it_was_claimed_goes_on_as_it_was_claimed() {
    check_begun(
        "passes 10
         commit
         expired other/1 2 2
         no-answer
         has 1 3
         commit +1 +3
         connected
         registered
         own 1 2
         runs 1 2
         committed
         expired",
        expect![[r#"
            passes 10
            commit
              > #1 Look
            expired other/1 2 2
              > #1 Claim(other/1 from 0, 2 at most)
            no-answer
              > failed: Call(CallError { words: "no answer", is_final: false })
            has 1 3
            commit +1 +3
              > #2 Connect
            connected
              > #2 Register { replaces: false }
            registered
              > #2 OwnRuns
            own 1 2
              > #2 Read[1, 2]
            runs 1 2
              > #2 Commit(Rewrite 3 +1 -0)
            committed
              > #2 Look
            expired
              > done, 1 refused: Elsewhere, 1 claimed, 2 claimed, due in 10s
        "#]],
    );
}

#[test]
fn a_commit_claims_a_bounded_number_of_runs_and_the_next_one_comes_soon() {
    check_begun(
        "passes 10
         commit
         expired other/1 9 20
         claimed 7 0 1 2
         claimed 9 0 3 4
         passes 1
         commit
         claimed 11 0 5 6
         claimed 13 0
         claimed 15 0 7
         passes 1
         commit
         claimed 17 0 8 9",
        expect![[r#"
            passes 10
            commit
              > #1 Look
            expired other/1 9 20
              > #1 Claim(other/1 from 0, 9 at most)
            claimed 7 0 1 2
              > #1 Claim(other/1 from 7, 7 at most)
            claimed 9 0 3 4
              > done, 1 claimed, 2 claimed, 3 claimed, 4 claimed, due in 100ms
            passes 1
            commit
              > #1 Claim(other/1 from 9, 5 at most)
            claimed 11 0 5 6
              > #1 Claim(other/1 from 11, 3 at most)
            claimed 13 0
              > #1 Claim(other/1 from 13, 3 at most)
            claimed 15 0 7
              > done, 5 claimed, 6 claimed, 7 claimed, due in 100ms
            passes 1
            commit
              > #1 Claim(other/1 from 15, 2 at most)
            claimed 17 0 8 9
              > done, 8 claimed, 9 claimed, due in 10s
        "#]],
    );
}

#[test]
fn an_instance_claims_no_more_than_it_has_room_for() {
    check_begun(
        "passes 10
         room 3
         commit
         expired other/1 9 20 third/2 1 1
         claimed 0 0 1
         claimed 7 0 2 3
         room 0
         passes 10
         commit
         expired other/1 9 18",
        expect![[r#"
            passes 10
            room 3
            commit
              > #1 Look
            expired other/1 9 20 third/2 1 1
              > #1 Claim(third/2 from 0, 1 at most)
            claimed 0 0 1
              > #1 Claim(other/1 from 0, 2 at most)
            claimed 7 0 2 3
              > done, 1 claimed, 2 claimed, 3 claimed, due in 10s
            room 0
            passes 10
            commit
              > #1 Look
            expired other/1 9 18
              > done, due in 10s
        "#]],
    );
}

#[test]
fn runs_that_only_a_later_version_can_read_are_looked_at_once() {
    check_begun(
        "passes 10
         commit
         expired other/1 4 2
         claimed 0 2
         passes 10
         commit
         expired other/1 4 2
         passes 10
         commit
         expired other/1 4 3
         claimed 0 2 1",
        expect![[r#"
            passes 10
            commit
              > #1 Look
            expired other/1 4 2
              > #1 Claim(other/1 from 0, 4 at most)
            claimed 0 2
              > notice: Unread(UnreadRuns { owner: Owner("other/1"), runs: 2 })
              > done, due in 10s
            passes 10
            commit
              > #1 Look
            expired other/1 4 2
              > done, due in 10s
            passes 10
            commit
              > #1 Look
            expired other/1 4 3
              > #1 Claim(other/1 from 0, 4 at most)
            claimed 0 2 1
              > done, 1 claimed, due in 10s
        "#]],
    );
}

#[test]
fn an_instance_whose_name_another_process_has_waits() {
    check_begun(
        "commit +1
         lapsed
         name-taken
         exports?
         commit +1
         name-taken",
        expect![[r#"
            commit +1
              > #1 Commit(New 1 +1 -0)
            lapsed
              > notice: Lapsed
              > #1 Register { replaces: false }
            name-taken
              > failed: NameTaken
            exports?
              > no
            commit +1
              > #1 Register { replaces: false }
            name-taken
              > failed: NameTaken
        "#]],
    );
}

#[test]
fn claims_of_a_commit_that_fails_are_not_reported() {
    check_begun(
        "passes 10
         commit
         expired other/1 4 4
         claimed 5 0 1 2
         no-answer
         commit
         connected
         registered
         own 1 2
         runs 1 2
         expired",
        expect![[r#"
            passes 10
            commit
              > #1 Look
            expired other/1 4 4
              > #1 Claim(other/1 from 0, 4 at most)
            claimed 5 0 1 2
              > #1 Claim(other/1 from 5, 2 at most)
            no-answer
              > failed: Call(CallError { words: "no answer", is_final: false })
            commit
              > #2 Connect
            connected
              > #2 Register { replaces: false }
            registered
              > #2 OwnRuns
            own 1 2
              > #2 Read[1, 2]
            runs 1 2
              > #2 Look
            expired
              > done, 1 claimed, 2 claimed, due in 10s
        "#]],
    );
}
