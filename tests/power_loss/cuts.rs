//! Power cuts: nothing that was announced is lost.

use crate::content::Content;
use crate::disk::Disk;
use crate::state::{Chance, Op, ROOT, State, Tree};
use crate::support::{self, Fresh, Random};
use crate::{INDEX, assert_published, engine};
use leindex_engine::{EngineBuilder, Event, Outcome, Shards};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

const CHILD: &str = "LEINDEX_POWER_CUT_CHILD";
const TREE: &str = "LEINDEX_POWER_CUT_TREE";
/// The directory of the disk in which the child makes a file for each generation that it was told is published.
const ANNOUNCED: &str = "announced";
const CUTS: u64 = 40;
const SEED: u64 = 20_260_201;
const DIRS: usize = 20;
const FILES: usize = 30;
/// Operations in which an index is made, before anything of the tree is in it.
const BEGINNING: usize = 40;
/// Operations of a publication, at least.
const PUBLICATION: usize = 24;
/// Ways in which the power is cut at each of these.
const CHANCES: usize = 6;
/// Cuts that each recording is good for: then the tree is edited and another one is made.
const CUTS_PER_RECORDING: usize = 20;

/// Publishes as often as the engine can be made to.
fn hasty(builder: EngineBuilder) -> EngineBuilder {
    builder.checkpoint(Duration::from_millis(10)).batch_files(20).inverter_bytes(1 << 20).shards(Shards::Count(2))
}

/// Not a test but the process that indexes onto a disk.
#[test]
fn indexing_process() {
    let Some(disk) = std::env::var_os(CHILD) else { return };
    let (disk, tree) = (Path::new(&disk), std::env::var_os(TREE).unwrap());
    let engine = engine(&disk.join(INDEX), Path::new(&tree), hasty);
    let run = engine.index();
    loop {
        match run.next_event(Duration::from_secs(60)) {
            Some(Event::Published(generation)) => {
                std::fs::File::create(disk.join(ANNOUNCED).join(generation.to_string())).unwrap();
            }
            Some(Event::Ended) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(run.wait().unwrap().outcome, Outcome::Done);
}

/// What a run has done to a disk.
struct Recording {
    /// What was on the disk before.
    begin: Tree,
    ops: Vec<Op>,
}

/// Runs the process on a disk that holds `index`.
fn record(content: &Content, index: Option<Tree>) -> Result<Recording, String> {
    let mut children = BTreeMap::from([(OsString::from(ANNOUNCED), Tree::empty())]);
    children.extend(index.map(|index| (OsString::from(INDEX), index)));
    let begin = Tree::Dir(children);
    let disk = Disk::new(&begin, None);
    let mounted = disk.mount()?;
    let mut child = support::child("cuts::indexing_process", CHILD, mounted.path());
    let status = child.env(TREE, content.place.root()).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(status.success(), "the process that indexes has failed: {status:?}");
    Ok(Recording { begin, ops: disk.journal() })
}

impl Recording {
    /// The generation that was announced when the first so many operations were done, for each number.
    fn announced(&self) -> Vec<u64> {
        let directory = State::new(&self.begin).find(ROOT, ANNOUNCED.as_ref());
        let mut announced = vec![0];
        for op in &self.ops {
            let before = announced[announced.len() - 1];
            announced.push(match op {
                Op::Create { parent, name, .. } if Some(*parent) == directory => {
                    name.to_str().unwrap().parse().unwrap()
                }
                _ => before,
            });
        }
        announced
    }

    /// Numbers of operations after which to cut: a quarter of them right after something was announced, a quarter while
    /// it was being published, a quarter while the index is made or recovers, the others anywhere. Sorted.
    fn draw(&self, announced: &[u64], random: &mut Random, count: usize) -> Vec<usize> {
        let news: Vec<usize> = (1..announced.len()).filter(|at| announced[*at] > announced[*at - 1]).collect();
        let mut cuts: Vec<usize> = (0..count)
            .map(|n| match n % 4 {
                0 if !news.is_empty() => *random.pick(&news),
                1 if !news.is_empty() => random.pick(&news).saturating_sub(1 + random.below(PUBLICATION)),
                2 => random.below(announced.len().min(BEGINNING)),
                _ => random.below(announced.len()),
            })
            .collect();
        cuts.sort_unstable();
        cuts
    }
}

/// The index on a disk, if it is there.
fn index_of(disk: Tree) -> Option<Tree> {
    match disk {
        Tree::Dir(mut children) => children.remove(OsString::from(INDEX).as_os_str()),
        Tree::File(_) => None,
    }
}

/// Checks what a power cut has left: before the next run, and after it. Returns how many hits the queries had.
fn check(content: &Content, fresh: &Fresh, left: Option<&Tree>, announced: u64, context: &str) -> usize {
    let scratch = support::scratch();
    let index = scratch.path().join(INDEX);
    if let Some(left) = left {
        left.write_to(&index);
    }
    let engine = engine(&index, &content.place.root(), |builder| builder);
    let before = assert_published(&engine, announced, context);
    let report = engine.index().wait().unwrap_or_else(|error| panic!("{context}: the next run: {error}"));
    assert_eq!(report.outcome, Outcome::Done, "{context}");
    assert!(report.generation >= before, "{context}: the generation went back");
    support::assert_same(&engine, &fresh.engine, &content.queries, context)
}

/// Every moment at which an index is being made, several times: few files, so that each takes little time.
#[test]
fn an_index_that_is_being_made_outlasts_a_power_cut() {
    let seed = support::number("LEINDEX_POWER_SEED", SEED);
    let mut content = Content::new(seed, 2, 3);
    content.queries.clear();
    let recording = match record(&content, None) {
        Ok(recording) => recording,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let fresh = support::fresh(&content.place.root());
    let announced = recording.announced();
    let mut state = State::new(&recording.begin);
    let cuts = BEGINNING.min(recording.ops.len());
    for (cut, op) in recording.ops[..cuts].iter().enumerate() {
        for n in 0..CHANCES {
            let chance = content.random.next();
            let context = format!("LEINDEX_POWER_SEED={seed}: before operation {cut}, {op}, chance {n} {chance}");
            // What is there in part is worse than what is not there.
            let chance = if n == 0 { Chance::new(chance) } else { Chance::of_data(chance) };
            let left = index_of(state.after_power_cut(chance));
            check(&content, &fresh, left.as_ref(), announced[cut], &context);
        }
        state.apply(op);
    }
    println!("{} power cuts in the first {cuts} of {} operations", cuts * CHANCES, recording.ops.len());
}

#[test]
fn what_was_announced_outlasts_a_power_cut() {
    let cuts = support::number("LEINDEX_POWER_CUTS", CUTS) as usize;
    let seed = support::number("LEINDEX_POWER_SEED", SEED);
    let mut content = Content::new(seed, DIRS, FILES);
    let mut index = None;
    let (mut done, mut published) = (0, 0);
    while done < cuts {
        let recording = match record(&content, index.take()) {
            Ok(recording) => recording,
            Err(why) => return eprintln!("SKIPPED: {why}"),
        };
        // What is cut off from a recording is completed with a tree that has changed since.
        content.edit();
        let fresh = support::fresh(&content.place.root());
        let announced = recording.announced();
        println!("{} operations, generation {} at their end", recording.ops.len(), announced[recording.ops.len()]);
        let (mut state, mut at) = (State::new(&recording.begin), 0);
        for cut in recording.draw(&announced, &mut content.random, CUTS_PER_RECORDING.min(cuts - done)) {
            recording.ops[at..cut].iter().for_each(|op| state.apply(op));
            at = cut;
            let chance = content.random.next();
            let context = format!("LEINDEX_POWER_SEED={seed}: cut {done}, after {cut} operations, chance {chance}");
            // Every fourth loses all that it may.
            let chance = if done % 4 == 0 { Chance::none() } else { Chance::new(chance) };
            let left = index_of(state.after_power_cut(chance));
            let found = check(&content, &fresh, left.as_ref(), announced[cut], &context);
            assert!(found > content.queries.len(), "{context}: the queries find next to nothing");
            done += 1;
            published += usize::from(announced[cut] > 0);
            // The next recording begins with one of these, so that recovery is cut off too.
            if content.random.one_in(CUTS_PER_RECORDING / 2) {
                index = left;
            }
        }
    }
    println!("{done} power cuts, {published} of them after a publication");
    assert!(published * 2 > done, "hardly a cut came after a publication");
}
