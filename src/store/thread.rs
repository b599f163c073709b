//! A thread that makes the calls of a store, so that a disk or a server that hangs does not stop the loop.

use super::StoreError;
use crate::os::threads;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::io;
use std::thread::JoinHandle;

/// The stack of the thread: `redb` recurses through its trees.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// The loop's side of the thread. One call is under way at a time.
#[derive(Debug)]
pub struct StoreThread<Call, Answer> {
    /// `None` when it is dropped: then the thread ends.
    calls: Option<Sender<Call>>,
    answers: Receiver<Answer>,
    woken: Receiver<()>,
    is_busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl<Call: Send + 'static, Answer: Send + 'static> StoreThread<Call, Answer> {
    /// Starts the thread, which calls `execute` for each call.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(mut execute: impl FnMut(Call) -> Answer + Send + 'static) -> io::Result<Self> {
        let (calls, received) = bounded::<Call>(1);
        let (answered, answers) = bounded(1);
        let (wake, woken) = bounded(1);
        let run = move || {
            for call in received {
                if answered.send(execute(call)).is_err() {
                    break;
                }
                // If it is full, the loop is about to look anyway.
                let _ = wake.try_send(());
            }
        };
        let thread = threads::spawn("store", STACK_BYTES, run)?;
        Ok(StoreThread {
            calls: Some(calls),
            answers,
            woken,
            is_busy: false,
            thread: Some(thread),
        })
    }

    /// Hands this call to the thread.
    pub fn send(&mut self, call: Call) {
        debug_assert!(!self.is_busy, "one call at a time");
        self.is_busy = true;
        if let Some(calls) = &self.calls {
            // The thread may have ended: then there is no answer, and `answer` says so.
            let _ = calls.try_send(call);
        }
    }

    /// The answer to the call under way, once it is there.
    pub fn answer(&mut self) -> Option<Result<Answer, StoreError>> {
        let answer = match self.answers.try_recv() {
            Ok(answer) => Ok(answer),
            Err(TryRecvError::Disconnected) if self.is_busy => {
                Err(StoreError::new("the thread of the store has ended"))
            }
            Err(_) => return None,
        };
        self.is_busy = false;
        Some(answer)
    }

    /// Whether a call has no answer yet.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Gets a message after each answer.
    pub fn woken(&self) -> &Receiver<()> {
        &self.woken
    }
}

impl<Call, Answer> Drop for StoreThread<Call, Answer> {
    fn drop(&mut self) {
        self.calls = None;
        // A thread that is stuck is left to the end of the process.
        if !self.is_busy
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn each_call_has_its_answer_and_wakes_the_loop() {
        let mut thread = StoreThread::start(|n: u32| n + 1).unwrap();
        assert!(thread.answer().is_none());
        for n in 0..100 {
            thread.send(n);
            assert!(thread.is_busy());
            thread.woken().recv_timeout(SOON).unwrap();
            assert_eq!(thread.answer(), Some(Ok(n + 1)));
            assert!(!thread.is_busy() && thread.answer().is_none());
        }
    }

    #[test]
    fn a_call_that_hangs_holds_up_nothing() {
        let (release, held) = bounded::<()>(0);
        let mut thread = StoreThread::start(move |()| held.recv().is_ok()).unwrap();
        thread.send(());
        assert!(thread.answer().is_none() && thread.is_busy());
        // Does not wait for the thread either.
        drop(thread);
        drop(release);
    }

    #[test]
    fn a_thread_that_has_ended_is_an_error() {
        let mut thread = StoreThread::start(|()| panic!("as a test")).unwrap();
        for _ in 0..2 {
            thread.send(());
            let ended = thread.woken().recv_timeout(SOON);
            assert!(ended.is_err());
            let answer: Option<Result<(), _>> = thread.answer();
            assert!(matches!(answer, Some(Err(_))), "{answer:?}");
        }
    }
}
