//! What workflows have in common is in memory once.

use super::*;

/// The name of the last status event of each run under watch.
fn statuses(core: &Core) -> Vec<Arc<str>> {
    let status = |(_, watch): (u32, &Watch)| {
        let naming = &core.monitor(watch.monitor).naming;
        let mut copy = watch.workflow.look(naming, true, 0);
        copy.events.pop().expect("a status").name
    };
    core.table.iter().map(status).collect()
}

#[test]
fn runs_with_the_same_status_have_its_text_together_also_after_a_restart() {
    const RUNS: usize = 5;
    let mut rig = Rig::plain();
    for number in 0..RUNS {
        rig.start(0, &format!("w{number}"));
    }
    for _ in 0..RUNS {
        let (_, poll) = rig.next_poll();
        rig.answer(&poll, running());
    }
    let stored = stored(&mut rig);
    for rig in [rig, restarted(stored, Duration::ZERO)] {
        let statuses = statuses(&rig.core);
        assert_eq!(statuses.len(), RUNS);
        for status in &statuses {
            assert!(Arc::ptr_eq(status, &statuses[0]), "{statuses:?}");
        }
    }
}
