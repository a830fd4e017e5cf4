//! What the kernel holds stays; what arrives is what was asked for.

use super::super::probe::Caps;
use super::super::tests::{caps_or_skip, scratch};
use super::*;
use leindex_fallback::{Backend, ThreadBackend};
use std::ffi::CString;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

const SIZE: RingSize = RingSize { files: 8, slots: 10, entries: 32, buffer_bytes: 64 * PAGE };

fn ring(caps: Caps) -> Ring {
    Ring::new(caps, SIZE).unwrap()
}

fn next(ring: &mut Ring) -> Completion {
    loop {
        if let Some(completion) = ring.next_completion() {
            return completion;
        }
        ring.submit().unwrap();
        ring.wait(Duration::from_secs(5)).unwrap();
    }
}

/// A slot whose read does not end: nobody writes into the pipe.
fn hang(ring: &mut Ring, slot: u32) -> io::PipeWriter {
    let (reader, writer) = io::pipe().unwrap();
    ring.adopt(slot, reader.into());
    assert!(ring.reserve(slot, PAGE, slot % 2 == 1).unwrap());
    ring.read(slot, false);
    ring.submit().unwrap();
    writer
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|index| (index as u8).wrapping_mul(31) ^ (index >> 8) as u8 ^ seed).collect()
}

#[test]
fn reads_arrive_where_they_belong() {
    let Some(caps) = caps_or_skip().filter(|caps| caps.open_direct) else { return };
    let scratch = scratch();
    let names: Vec<String> = (0..8).map(|slot| "n".repeat([1, 2, 7, 8, 63, 64, 254, 255][slot])).collect();
    let lengths = [1, 4095, 4096, 4097, 3 * PAGE, 10_000, 1, 30 * PAGE];
    for (slot, name) in names.iter().enumerate() {
        std::fs::write(scratch.path().join(name), content(lengths[slot], slot as u8)).unwrap();
    }
    let dir = Arc::new(ThreadBackend::new().open_root(scratch.path()).unwrap());
    let mut ring = ring(caps);
    for registered in [false, true] {
        if registered && !ring.register_buffer() {
            eprintln!("SKIPPED: the buffer cannot be registered");
            break;
        }
        for (slot, name) in (0..).zip(&names) {
            ring.open(slot, &dir, &CString::new(name.as_str()).unwrap(), slot % 2 == 1);
        }
        let mut read = 0;
        while read < names.len() {
            let Completion { slot, action, result } = next(&mut ring);
            let expected = content(lengths[slot as usize], slot as u8);
            match action {
                Action::Open => {
                    result.unwrap();
                    // The last one has a buffer of its own.
                    assert!(ring.reserve(slot, expected.len() + 1, slot == 7).unwrap());
                    ring.read(slot, slot == 3);
                }
                Action::Read => {
                    assert_eq!(result.unwrap() as usize, expected.len(), "slot {slot}");
                    assert!(ring.content(slot) == expected, "slot {slot}, registered: {registered}");
                    read += 1;
                }
                other => panic!("{other:?} was not asked for"),
            }
        }
        (0..8).for_each(|slot| ring.release(slot));
        ring.close_files();
        assert_eq!(ring.unfinished(), 0);
    }
}

#[test]
fn a_buffer_grows_and_keeps_its_content() {
    let Some(caps) = caps_or_skip() else { return };
    let mut ring = ring(caps);
    let mut file = tempfile::tempfile().unwrap();
    let expected = content(20 * PAGE + 5, 9);
    file.write_all(&expected).unwrap();
    ring.adopt(0, file.into());
    // Within the shared buffer, out of it, and within a buffer of its own.
    for (room, own) in [(PAGE, false), (5 * PAGE, false), (9 * PAGE, true), (20 * PAGE, true), (20 * PAGE + 6, false)] {
        assert!(ring.reserve(0, room, own).unwrap());
        ring.read(0, false);
        assert!(next(&mut ring).result.is_ok());
        assert!(ring.content(0) == &expected[..room.min(expected.len())], "room for {room}");
    }
    ring.release(0);
    assert!(ring.reserve(0, 64 * PAGE, false).unwrap(), "all of the shared buffer came back");
    assert!(!ring.reserve(1, 1, false).unwrap(), "and no more than that");
}

#[test]
fn a_stat_is_that_of_the_system() {
    let Some(caps) = caps_or_skip().filter(|caps| caps.statx) else { return };
    let scratch = scratch();
    std::fs::write(scratch.path().join("file"), b"abc").unwrap();
    let dir = Arc::new(ThreadBackend::new().open_root(scratch.path()).unwrap());
    let mut ring = ring(caps);
    assert!(ring.statx(9).is_none());
    ring.stat(9, &dir, c"file");
    assert!(ring.statx(9).is_none(), "it is in the kernel");
    assert!(next(&mut ring).result.is_ok());
    let (ours, theirs) = (ring.statx(9).unwrap(), rustix::fs::statat(&*dir, c"file", STAT_FLAGS).unwrap());
    assert_eq!((ours.stx_ino, ours.stx_size, u32::from(ours.stx_mode)), (theirs.st_ino, 3, theirs.st_mode));
    ring.stat(9, &dir, c"missing");
    assert_eq!(next(&mut ring).result, Err(Errno::NOENT));
    assert!(ring.statx(9).is_none(), "that of the file before is not handed out");
}

#[test]
fn a_slot_in_flight_is_refused() {
    let Some(caps) = caps_or_skip() else { return };
    let mut ring = ring(caps);
    let mut writer = hang(&mut ring, 2);
    let refused = |ring: &mut Ring, each: fn(&mut Ring)| catch_unwind(AssertUnwindSafe(|| each(ring))).is_err();
    assert!(refused(&mut ring, |ring| ring.release(2)));
    assert!(refused(&mut ring, |ring| ring.read(2, false)));
    assert!(refused(&mut ring, |ring| {
        let _ = ring.reserve(2, 1, false);
    }));
    assert!(refused(&mut ring, |ring| assert!(ring.content(2).is_empty())));
    assert!(ring.is_unfinished(2) && !ring.is_unfinished(3));
    writer.write_all(b"abc").unwrap();
    assert_eq!(next(&mut ring).result, Ok(3));
    assert_eq!(ring.content(2), b"abc");
    ring.release(2);
}

#[test]
fn what_is_cancelled_completes() {
    let Some(caps) = caps_or_skip().filter(|caps| caps.cancel) else { return };
    let mut ring = ring(caps);
    let _writers = [hang(&mut ring, 0), hang(&mut ring, 1)];
    ring.wait(Duration::from_millis(1)).unwrap();
    assert!(ring.next_completion().is_none());
    ring.cancel(1);
    let cancelled = next(&mut ring);
    assert_eq!((cancelled.slot, cancelled.result), (1, Err(Errno::CANCELED)));
    assert!(ring.is_unfinished(0));
}

/// Memory and descriptors of reads in flight outlive them: the end of the pipe is closed only after the read has ended.
#[test]
fn a_ring_dropped_in_flight_waits() {
    let Some(caps) = caps_or_skip() else { return };
    for _ in 0..50 {
        let mut ring = ring(caps);
        let writers: Vec<_> = (0..4).map(|slot| hang(&mut ring, slot)).collect();
        drop(ring);
        for mut writer in writers {
            let error = writer.write_all(b"abc").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "the ring has let go of its end");
        }
    }
}

/// What cannot be cancelled stays as it is, but only the end of the thread waits for it.
#[test]
fn what_does_not_end_stays_until_the_end_of_the_thread() {
    let Some(caps) = caps_or_skip() else { return };
    let (sender, dropped) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut ring = ring(Caps { cancel: false, ..caps });
        let writers = [hang(&mut ring, 0), hang(&mut ring, 1)];
        ring.wait(Duration::from_millis(1)).unwrap();
        drop(ring);
        sender.send(writers).unwrap();
    });
    let [mut first, mut second] = dropped.recv().unwrap();
    second.write_all(b"abc").expect("the other end is still open");
    first.write_all(b"abc").expect("the other end is still open");
    thread.join().unwrap();
    for mut writer in [first, second] {
        assert_eq!(writer.write_all(b"abc").unwrap_err().kind(), io::ErrorKind::BrokenPipe, "nothing has leaked");
    }
}

#[test]
fn rings_move_between_threads() {
    let Some(caps) = caps_or_skip() else { return };
    let mut ring = ring(caps);
    let _writer = hang(&mut ring, 0);
    // Another thread may drop it; what that thread cannot end is left to the kernel and to nobody else.
    std::thread::spawn(move || drop(ring)).join().unwrap();
}

/// Both queues are far smaller than what is in flight: submission goes in pieces, and completions that do not fit wait in
/// the kernel.
#[test]
fn queues_that_overflow_lose_nothing() {
    let Some(caps) = caps_or_skip() else { return };
    let size = RingSize { files: 0, slots: 200, entries: 2, buffer_bytes: 200 * PAGE };
    let mut ring = Ring::new(caps, size).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"abc").unwrap();
    for round in 0..3 {
        for slot in 0..200 {
            ring.adopt(slot, file.try_clone().unwrap().into());
            assert!(ring.reserve(slot, 10, false).unwrap());
            // By other threads, so that they complete while nobody looks.
            ring.read(slot, round > 0);
        }
        let mut seen = [false; 200];
        for _ in 0..200 {
            let completion = next(&mut ring);
            assert_eq!(completion.result, Ok(3));
            assert!(!std::mem::replace(&mut seen[completion.slot as usize], true), "completed twice");
            assert_eq!(ring.content(completion.slot), b"abc");
            ring.release(completion.slot);
        }
        assert_eq!(ring.unfinished(), 0);
    }
}
