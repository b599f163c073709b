//! How the fleet's calls are made: connections to Redis, scripts, encoding of calls, decoding of answers. Nothing is decided
//! here.

use super::Fleet;
use super::call::{
    CallError, ClaimCall, Claimed, ExpiredOwner, FleetCall, FleetCommand, FleetReply, Owner,
    RunField, RunWrite, StoredRun, WriteMode, WriteVerdict,
};
use crate::core::Refusal;
use crate::core::ids::RunKey;
use crate::core::outbox::Signal;
use crate::os::clock;
use crate::redis_client::{self, Connection, bytes, elements, text};
use crate::store::PATIENCE_MAX;
use redis::{Client, Cmd, RedisError, RedisResult, Value};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

const REGISTER: &str = include_str!("register.lua");
const COMMIT: &str = include_str!("commit.lua");
const LOOK: &str = include_str!("look.lua");
const CLAIM: &str = include_str!("claim.lua");
const LEAVE: &str = include_str!("leave.lua");

/// What the fields of spans and of finished events begin with.
const SPAN: &str = "s:";
const LOG_RECORD: &str = "l:";
const FINISHED_EVENT: &str = "n:";
const RECORD: &str = "w";

/// Makes calls, over one connection at a time.
pub(super) struct Caller {
    client: Client,
    /// Host and port, for the log.
    place: String,
    prefix: String,
    instance_key: String,
    token: String,
    owner: Owner,
    lease: Duration,
    done_kept: Duration,
    connection: Option<Scripted>,
}

/// A connection to a Redis that has the scripts.
struct Scripted {
    connection: Connection,
    register: String,
    commit: String,
    look: String,
    claim: String,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Caller({}, {})", self.place, self.owner)
    }
}

impl Caller {
    /// Not connected yet.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub(super) fn new(fleet: &Fleet) -> RedisResult<Self> {
        let token = new_token();
        let client = Client::open(fleet.url.as_str())?;
        let prefix = fleet.prefix();
        Ok(Caller {
            place: client.get_connection_info().addr().to_string(),
            client,
            instance_key: format!("{prefix}instance:{}", fleet.instance),
            prefix,
            owner: Owner::new(&fleet.instance, &token),
            token,
            lease: fleet.lease,
            done_kept: fleet.done_kept(),
            connection: None,
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Makes a call and waits for its answer.
    ///
    /// # Errors
    /// There is no answer. The connection is given up.
    pub(super) fn make(&mut self, call: &FleetCall) -> Result<FleetReply, CallError> {
        let made = self.try_make(call);
        made.map_err(|error| {
            self.connection = None;
            CallError {
                words: format!("Redis at {}: {}", self.place, redis_client::told(&error)),
                is_final: redis_client::is_refusal(&error),
            }
        })
    }

    #[cfg(test)]
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    fn try_make(&mut self, call: &FleetCall) -> RedisResult<FleetReply> {
        if call.command == FleetCommand::Connect {
            self.connection = None;
            self.connection = Some(self.connect()?);
            return Ok(FleetReply::Connected);
        }
        let command = self.encode(call)?;
        let lost = || RedisError::from((redis::ErrorKind::Io, "not connected"));
        let connection = &mut self.connection.as_mut().ok_or_else(lost)?.connection;
        if let FleetCommand::Read(runs) = &call.command {
            let mut reads = redis::pipe();
            for run in runs {
                reads
                    .cmd("HGETALL")
                    .arg(format!("{}run:{run}", self.prefix));
            }
            let fields: Vec<Value> = reads.query(connection)?;
            let runs = runs.iter().zip(fields);
            let runs = runs.map(|(run, fields)| stored_run(*run, fields));
            return Ok(FleetReply::Runs(runs.collect()));
        }
        Ok(decode(&call.command, command.query(connection)?))
    }

    fn connect(&self) -> RedisResult<Scripted> {
        let patience = PATIENCE_MAX.min(self.lease / 4);
        let mut connection = redis_client::connect(&self.client, patience)?;
        redis_client::require_version(&mut connection)?;
        let [register, commit, look, claim] = [REGISTER, COMMIT, LOOK, CLAIM]
            .map(|text| redis_client::load_script(&mut connection, text));
        Ok(Scripted {
            register: register?,
            commit: commit?,
            look: look?,
            claim: claim?,
            connection,
        })
    }

    fn encode(&self, call: &FleetCall) -> RedisResult<Cmd> {
        let script = |name: fn(&Scripted) -> &str| {
            let mut command = redis::cmd("EVALSHA");
            command.arg(self.connection.as_ref().map(name));
            command.arg(1).arg(&self.instance_key);
            command.arg(self.value(call.connection));
            command.arg(self.lease.as_millis() as u64);
            command.arg(&self.prefix).arg(&*self.owner.0);
            command
        };
        Ok(match &call.command {
            FleetCommand::Connect | FleetCommand::Read(_) => Cmd::new(),
            FleetCommand::Register { replaces } => {
                let mut command = script(|scripts| &scripts.register);
                command.arg(u8::from(*replaces));
                command
            }
            FleetCommand::Commit(writes) => {
                let mut command = script(|scripts| &scripts.commit);
                command.arg(self.done_kept.as_secs());
                for write in writes {
                    encode_write(write, &mut command);
                }
                command
            }
            FleetCommand::Look => script(|scripts| &scripts.look),
            FleetCommand::Claim(claim) => {
                let mut command = script(|scripts| &scripts.claim);
                encode_claim(claim, &mut command);
                command
            }
            FleetCommand::OwnRuns => {
                let own_runs = format!("{}runs:{}", self.prefix, self.owner);
                redis::cmd("SMEMBERS").arg(own_runs).to_owned()
            }
            FleetCommand::EndLease => {
                let mut command = redis::cmd("EVAL");
                command.arg(LEAVE).arg(1).arg(&self.instance_key);
                command.arg(self.value(call.connection));
                command
            }
        })
    }

    /// What our instance's key holds while our lease is valid and this connection is the last one.
    fn value(&self, connection: u64) -> String {
        format!("{}/{connection}", self.token)
    }
}

fn encode_write(write: &RunWrite, command: &mut Cmd) {
    command.arg(write.run.to_string());
    command.arg(match write.mode {
        WriteMode::New => "new",
        WriteMode::Owned => "owned",
        WriteMode::Rewrite => "rewrite",
        WriteMode::LateRewrite => "late-rewrite",
    });
    command.arg(write.set.len());
    for (field, value) in &write.set {
        command.arg(name_of(field)).arg(&**value);
    }
    command.arg(write.removed.len());
    for field in &write.removed {
        command.arg(name_of(field));
    }
}

fn encode_claim(claim: &ClaimCall, command: &mut Cmd) {
    command.arg(&*claim.owner.0).arg(&*claim.cursor);
    command.arg(claim.count).arg(claim.room).arg(claim.version);
}

fn decode(command: &FleetCommand, answer: Value) -> FleetReply {
    if answer == Value::Nil {
        return FleetReply::Lapsed;
    }
    match command {
        FleetCommand::Connect => FleetReply::Connected,
        FleetCommand::Register { .. } => FleetReply::Registered(answer == Value::Int(1)),
        FleetCommand::Commit(_) => FleetReply::Committed(verdicts(answer)),
        FleetCommand::Look => FleetReply::Expired(expired_owners(answer)),
        FleetCommand::Claim(_) => FleetReply::Claimed(claimed(answer)),
        FleetCommand::OwnRuns => {
            let runs = elements(answer).into_iter().filter_map(text);
            FleetReply::OwnRuns(runs.filter_map(|hex| run_of(&hex)).collect())
        }
        FleetCommand::Read(_) => FleetReply::Runs(Vec::new()),
        FleetCommand::EndLease => FleetReply::LeaseEnded,
    }
}

fn verdicts(answer: Value) -> Vec<(RunKey, WriteVerdict)> {
    let mut elements = elements(answer).into_iter();
    let mut verdicts = Vec::new();
    while let (Some(run), Some(word)) = (elements.next(), elements.next()) {
        let run = text(run).and_then(|hex| run_of(&hex));
        let verdict = match text(word).as_deref() {
            Some("elsewhere") => WriteVerdict::Refused(Refusal::Elsewhere),
            Some("done") => WriteVerdict::Refused(Refusal::Done),
            Some("missing") => WriteVerdict::Missing,
            Some("over") => WriteVerdict::Over,
            _ => continue,
        };
        verdicts.extend(run.map(|run| (run, verdict)));
    }
    verdicts
}

fn expired_owners(answer: Value) -> Vec<ExpiredOwner> {
    let mut elements = elements(answer).into_iter();
    let mut expired = Vec::new();
    while let (Some(owner), Some(Value::Int(share)), Some(Value::Int(runs))) =
        (elements.next(), elements.next(), elements.next())
    {
        if let (Some(owner), Ok(share), Ok(runs)) = (text(owner), share.try_into(), runs.try_into())
        {
            expired.push(ExpiredOwner {
                owner: Owner(owner.into()),
                share,
                runs,
            });
        }
    }
    expired
}

fn claimed(answer: Value) -> Claimed {
    let mut elements = elements(answer).into_iter();
    let cursor = elements.next().and_then(text);
    let unread = match elements.next() {
        Some(Value::Int(unread)) => usize::try_from(unread).unwrap_or_default(),
        _ => 0,
    };
    let mut runs = Vec::new();
    while let (Some(run), Some(fields)) = (elements.next(), elements.next()) {
        let run = text(run).and_then(|hex| run_of(&hex));
        runs.extend(run.map(|run| stored_run(run, fields)));
    }
    Claimed {
        cursor: cursor
            .unwrap_or_else(|| super::call::CLAIM_BEGIN.into())
            .into(),
        unread,
        runs,
    }
}

fn stored_run(run: RunKey, fields: Value) -> StoredRun {
    let mut elements = elements(fields).into_iter().filter_map(bytes);
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (elements.next(), elements.next()) {
        fields.extend(field_of(&name).map(|field| (field, value.into())));
    }
    StoredRun { run, fields }
}

fn name_of(field: &RunField) -> String {
    match field {
        RunField::Record => RECORD.to_owned(),
        RunField::Item {
            signal,
            sequence,
            monitor: None,
        } => format!("{}{sequence}", prefix_of(*signal)),
        RunField::Item {
            signal,
            sequence,
            monitor: Some(monitor),
        } => format!("{}{sequence}:{monitor}", prefix_of(*signal)),
        RunField::FinishedEvent { sequence, monitor } => {
            format!("{FINISHED_EVENT}{sequence}:{monitor}")
        }
    }
}

fn prefix_of(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => SPAN,
        Signal::Logs => LOG_RECORD,
    }
}

/// `None`: the field is not one of these; the run's owner is one that is none.
fn field_of(name: &[u8]) -> Option<RunField> {
    let name = std::str::from_utf8(name).ok()?;
    if name == RECORD {
        return Some(RunField::Record);
    }
    let parts = |rest: &str| match rest.split_once(':') {
        None => Some((rest.parse().ok()?, None)),
        Some((sequence, monitor)) => Some((sequence.parse().ok()?, Some(monitor.into()))),
    };
    for signal in [Signal::Traces, Signal::Logs] {
        if let Some(rest) = name.strip_prefix(prefix_of(signal)) {
            let (sequence, monitor) = parts(rest)?;
            return Some(RunField::Item {
                signal,
                sequence,
                monitor,
            });
        }
    }
    match parts(name.strip_prefix(FINISHED_EVENT)?)? {
        (sequence, Some(monitor)) => Some(RunField::FinishedEvent { sequence, monitor }),
        (_, None) => None,
    }
}

fn run_of(hex: &str) -> Option<RunKey> {
    let mut bytes = [0; 16];
    if hex.len() != 2 * bytes.len() || !hex.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(RunKey::from_bytes(bytes))
}

/// Different in each process: the standard library seeds its hashers from the system's randomness.
fn new_token() -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_i64(clock::now().wall.as_unix_ns());
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_and_fields_are_read_back() {
        let run = RunKey::from_bytes([0xa7; 16]);
        assert_eq!(run_of(&run.to_string()), Some(run));
        for wrong in ["", "é", &"g".repeat(32), &"0".repeat(33)] {
            assert_eq!(run_of(wrong), None, "{wrong}");
        }
        let item = |signal, sequence, monitor: Option<&str>| RunField::Item {
            signal,
            sequence,
            monitor: monitor.map(Into::into),
        };
        let event = RunField::FinishedEvent {
            sequence: 7,
            monitor: "a:b".into(),
        };
        let fields = [
            (RunField::Record, "w"),
            (
                item(Signal::Traces, u64::MAX, None),
                "s:18446744073709551615",
            ),
            (item(Signal::Traces, 7, Some("etl")), "s:7:etl"),
            (item(Signal::Logs, 7, None), "l:7"),
            (item(Signal::Logs, 7, Some("a:b")), "l:7:a:b"),
            (event, "n:7:a:b"),
        ];
        for (field, name) in fields {
            assert_eq!(name_of(&field), name);
            assert_eq!(field_of(name.as_bytes()), Some(field));
        }
        let wrong: [&[u8]; 7] = [
            b"o",
            b"\xff",
            b"s:",
            b"s::etl",
            b"s:7:\xff",
            b"s:x:etl",
            b"n:7",
        ];
        for name in wrong {
            assert_eq!(field_of(name), None, "{name:?}");
        }
    }
}
