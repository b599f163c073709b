//! The way from an instance to Redis: it may be cut, lose answers, and deliver calls after they were given up.

use super::redis::{Late, Redis, Sender};
use farspan::store::fleet::{CallError, FleetCommand, FleetReply};

pub struct Wire<'a> {
    pub redis: &'a mut Redis,
    /// By Redis's clock.
    pub at: u64,
    pub is_cut: bool,
    /// The how-manieth call from now on is made and its answer lost.
    pub loses: &'a mut Option<u32>,
    /// Whether one was.
    pub has_lost: &'a mut bool,
    /// The next claim that takes something is made, and its answer lost.
    pub loses_claim: &'a mut bool,
    /// The how-manieth commit or claim from now on is given up, and may come later.
    pub gives_up: &'a mut Option<u32>,
    pub late: &'a mut Vec<Late>,
}

/// There is no answer.
#[derive(Debug)]
pub struct NoAnswer;

impl Wire<'_> {
    pub fn call<T>(&mut self, what: impl FnOnce(&mut Redis, u64) -> T) -> Result<T, NoAnswer> {
        if self.is_cut {
            return Err(NoAnswer);
        }
        let answer = what(self.redis, self.at);
        match self.loses {
            None => return Ok(answer),
            Some(0) => {}
            Some(calls) => {
                *calls -= 1;
                return Ok(answer);
            }
        }
        (*self.loses, *self.has_lost) = (None, true);
        Err(NoAnswer)
    }

    /// Makes a call of the fleet's protocol.
    pub fn make(
        &mut self,
        sender: Sender,
        command: &FleetCommand,
    ) -> Result<FleetReply, CallError> {
        self.try_make(sender, command)
            .map_err(|NoAnswer| CallError {
                words: "no answer".into(),
                is_final: false,
            })
    }

    fn try_make(&mut self, sender: Sender, command: &FleetCommand) -> Result<FleetReply, NoAnswer> {
        if matches!(command, FleetCommand::Commit(_) | FleetCommand::Claim(_)) {
            self.send(sender, command)?;
        }
        let reply = self.call(|redis, at| redis.execute(sender, command, at))?;
        let takes = matches!(&reply, FleetReply::Claimed(claimed) if !claimed.runs.is_empty());
        if takes && std::mem::take(self.loses_claim) {
            *self.has_lost = true;
            return Err(NoAnswer);
        }
        Ok(reply)
    }

    /// Sends a script, which may come after it was given up.
    fn send(&mut self, sender: Sender, command: &FleetCommand) -> Result<(), NoAnswer> {
        match self.gives_up {
            None | Some(0) if self.is_cut => {}
            None => return Ok(()),
            Some(0) => {}
            Some(scripts) => {
                *scripts -= 1;
                return Ok(());
            }
        }
        *self.gives_up = None;
        self.late.push(Late {
            sender,
            command: command.clone(),
        });
        Err(NoAnswer)
    }
}
