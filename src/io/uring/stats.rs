//! A batch of stats in flight at once.
//!
//! They have slots of their own, so that a batch can be done while fetches are in flight; completions of those that arrive
//! meanwhile are kept for the next turn, for only `fetch` and `finish` have somewhere to hand content to.

use super::op::{Action, given_up};
use super::policy::TIMED;
use super::ring::{NAME_BYTES, Ring};
use super::slot::State;
use super::worker::{STATS, UringWorker};
use leindex_fallback::{Dir, Kind, Listing, Meta};
use rustix::fs::{Statx, makedev};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::time::Instant;

impl UringWorker {
    /// Stats `picks` by calls or through the ring, as the policy says.
    pub(super) fn stat_some(
        &mut self,
        dir: &Arc<Dir>,
        listing: &Listing,
        picks: &[u32],
        done: &mut dyn FnMut(u32, io::Result<Meta>),
    ) {
        if picks.is_empty() {
            return;
        }
        let ring_can = self.caps.statx && (picks.len() > 1 || self.policy.is_remote());
        if ring_can && self.policy.begin() && self.has_ring() {
            return self.stat_in_ring(dir, listing, picks, done);
        }
        let timed = if ring_can { TIMED.min(picks.len() - 1) } else { 0 };
        let (first, rest) = picks.split_at(timed);
        let mut is_slow = false;
        let UringWorker { calls, policy, .. } = self;
        let mut begun = (timed > 0).then(Instant::now);
        calls.stat_batch(dir, listing, first, &mut |pick, result| {
            is_slow |= begun.is_some_and(|begun| policy.called(begun.elapsed()));
            done(pick, result);
            begun = Some(Instant::now());
        });
        if is_slow && self.has_ring() {
            return self.stat_in_ring(dir, listing, rest, done);
        }
        self.calls.stat_batch(dir, listing, rest, done);
    }

    /// Stats `picks` through the ring, as many at a time as there are slots.
    pub(super) fn stat_in_ring(
        &mut self,
        dir: &Arc<Dir>,
        listing: &Listing,
        picks: &[u32],
        done: &mut dyn FnMut(u32, io::Result<Meta>),
    ) {
        let begun = Instant::now();
        // When something completed last: on a slow file system a batch may take long, an operation may not.
        let mut since = begun;
        let mut rest = picks.iter();
        // Which slot asks for which entry.
        let mut asked: Vec<(u32, u32)> = Vec::with_capacity(STATS as usize);
        loop {
            while let Some(slot) = self.free_stats.pop() {
                let Some(&pick) = rest.next() else {
                    self.free_stats.push(slot);
                    break;
                };
                let name = listing.c_name(pick as usize);
                if name.to_bytes().len() >= NAME_BYTES {
                    self.free_stats.push(slot);
                    self.calls.stat_batch(dir, listing, &[pick], done);
                    continue;
                }
                self.stats.stats += 1;
                self.stats.ring_stats += 1;
                asked.push((slot, pick));
                self.with_ring(|ring| ring.stat(slot, dir, name));
            }
            if asked.is_empty() && rest.len() == 0 {
                break;
            }
            let tick = self.tick();
            let entered = self.ring.as_mut().map_or(Ok(()), |(ring, _)| {
                ring.submit()?;
                ring.wait(tick)
            });
            if self.take_stats(&mut asked, done) {
                since = Instant::now();
                continue;
            }
            if let Err(error) = entered {
                self.failed = Some(error);
                let left: Vec<u32> = asked.iter().map(|(_, pick)| *pick).chain(rest.copied()).collect();
                return self.calls.stat_batch(dir, listing, &left, done);
            }
            if asked.is_empty() {
                // Every slot is held by a stat that was given up and has still not ended: the rest would not either.
                break;
            }
            if since.elapsed() > self.options.timeout || self.options.is_cancelled() {
                self.abandon_stats(&mut asked, done);
            }
        }
        for &pick in rest {
            self.stats.timeouts += u64::from(!self.options.is_cancelled());
            done(pick, Err(given_up(&self.options)));
        }
        self.policy.batch_done(picks.len(), begun.elapsed());
    }

    /// Takes the stats that have completed; says whether there was one.
    fn take_stats(&mut self, asked: &mut Vec<(u32, u32)>, done: &mut dyn FnMut(u32, io::Result<Meta>)) -> bool {
        let mut any = false;
        while let Some(completion) = self.with_ring(Ring::next_completion) {
            if completion.action != Action::Stat {
                self.postponed.push_back(completion);
                continue;
            }
            any = true;
            let slot = completion.slot;
            let statx = self.with_ring(|ring| ring.statx(slot));
            let position = asked.iter().position(|(each, _)| *each == slot);
            // One that was given up before may arrive now.
            self.let_go(slot);
            let Some(position) = position else { continue };
            let (_, pick) = asked.swap_remove(position);
            let result = match (completion.result, statx) {
                (Ok(_), Some(statx)) => Ok(meta(&statx)),
                (Ok(_), None) => Err(Errno::IO.into()),
                (Err(errno), _) => Err(errno.into()),
            };
            done(pick, result);
        }
        any
    }

    fn abandon_stats(&mut self, asked: &mut Vec<(u32, u32)>, done: &mut dyn FnMut(u32, io::Result<Meta>)) {
        for (slot, pick) in asked.drain(..) {
            self.slots[slot as usize].state = State::Abandoned;
            self.with_ring(|ring| ring.cancel(slot));
            self.stats.timeouts += u64::from(!self.options.is_cancelled());
            done(pick, Err(given_up(&self.options)));
        }
    }
}

/// As the portable backend says it.
fn meta(statx: &Statx) -> Meta {
    Meta {
        kind: Kind::from_mode(u32::from(statx.stx_mode)),
        size: statx.stx_size,
        mtime_ns: Meta::time_ns(statx.stx_mtime.tv_sec, i64::from(statx.stx_mtime.tv_nsec)),
        ctime_ns: Meta::time_ns(statx.stx_ctime.tv_sec, i64::from(statx.stx_ctime.tv_nsec)),
        inode: statx.stx_ino,
        device: makedev(statx.stx_dev_major, statx.stx_dev_minor),
        mode: u32::from(statx.stx_mode),
    }
}
