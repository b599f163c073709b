//! The live runs in the order of their last change: a list through the slots of the table, 16 bytes for each.

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ChangeOrder {
    links: Vec<ChangeLink>,
    newest: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct ChangeLink {
    /// Of the last change. 0: the slot is not in the list.
    version: u64,
    newer: u32,
    older: u32,
}

const NONE: u32 = u32::MAX;

const UNLINKED: ChangeLink = ChangeLink {
    version: 0,
    newer: NONE,
    older: NONE,
};

impl ChangeOrder {
    /// The run in a slot has changed. Each version is greater than the one before.
    pub(super) fn touch(&mut self, slot: u32, version: u64) {
        self.remove(slot);
        let index = slot as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, UNLINKED);
        }
        let older = self.newest.replace(slot).unwrap_or(NONE);
        self.links[index] = ChangeLink {
            version,
            newer: NONE,
            older,
        };
        if let Some(link) = self.links.get_mut(older as usize) {
            link.newer = slot;
        }
    }

    /// The slot has no run any more.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else {
            return;
        };
        let ChangeLink {
            version,
            newer,
            older,
        } = std::mem::replace(link, UNLINKED);
        if version == 0 {
            return;
        }
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => self.newest = Some(older).filter(|slot| *slot != NONE),
        }
        if let Some(link) = self.links.get_mut(older as usize) {
            link.newer = newer;
        }
    }

    /// The version of the last change of a slot's run; 0 if there is none.
    pub(super) fn version_of(&self, slot: u32) -> u64 {
        self.links.get(slot as usize).map_or(0, |link| link.version)
    }

    /// The slots whose run has changed after `version`, the newest change first.
    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = (u64, u32)> {
        let link = |slot: u32| Some((slot, self.links.get(slot as usize)?));
        let newest = self.newest.and_then(link);
        std::iter::successors(newest, move |(_, it)| link(it.older))
            .map(|(slot, link)| (link.version, slot))
            .take_while(move |(changed, _)| *changed > version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the plain way to do it.
    #[test]
    fn slots_come_in_the_order_of_their_last_change() {
        arbtest::arbtest(|u| {
            let mut order = ChangeOrder::default();
            let mut plain: Vec<(u64, u32)> = Vec::new();
            for version in 1..=u.int_in_range(1..=60)? {
                let slot = u.int_in_range(0..=9)?;
                plain.retain(|(_, known)| *known != slot);
                if u.ratio(3, 4)? {
                    order.touch(slot, version);
                    plain.push((version, slot));
                } else {
                    order.remove(slot);
                }
                let since = u.int_in_range(0..=version)?;
                let expected: Vec<_> = (plain.iter().rev().copied())
                    .filter(|(changed, _)| *changed > since)
                    .collect();
                assert_eq!(order.since(since).collect::<Vec<_>>(), expected);
            }
            Ok(())
        });
    }
}
