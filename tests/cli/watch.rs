//! `watch`, and what others say of an index that is watched.

use super::support::{Done, Tree, shape};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Watching {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Watching {
    fn start(tree: &Tree, args: &[&str]) -> Watching {
        let mut command = tree.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Watching { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.out.read_line(&mut line).unwrap(), 0, "the watcher has ended: {:?}", self.child.try_wait());
        line
    }

    fn end(self, signal: Signal) -> Done {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        Done::from(self.child.wait_with_output().unwrap())
    }
}

fn fresh(tree: &Tree) -> String {
    tree.expect(0, &["status", "--json"]).json()["fresh"]["state"].as_str().unwrap().to_owned()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "after {PATIENCE:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_new_file_is_found_and_a_signal_ends_it() {
    let tree = Tree::with(&[("a.rs", "fn a() {}\n")]);
    let mut watching = Watching::start(&tree, &["watch"]);
    let first = watching.line();
    let root = tree.root().display().to_string();
    assert!(first.starts_with(&format!("watching {root}: indexed 1 file, removed 0 in ")), "{first}");
    eventually("the index is current", || fresh(&tree) == "current");
    assert!(tree.expect(0, &["status"]).text().contains("watched; every change that was seen is in the index"));
    tree.write("b.rs", "fn brand_new() {}\n");
    let next = watching.line();
    assert!(next.starts_with("indexed 1 file, removed 0 in ") && next.trim_end().ends_with("generation 2"), "{next}");
    let found = tree.expect(0, &["search", "--json", "-F", "brand_new"]).json_lines();
    assert_eq!((found.len(), &found[0]["path"]), (2, &"b.rs".into()));
    let refused = tree.expect(1, &["watch"]);
    assert!(refused.error().contains(&format!("being watched by pid {}", watching.child.id())), "{}", refused.err);
    let done = watching.end(Signal::INT);
    assert_eq!((done.code, done.text().as_str()), (Some(130), ""));
    assert!(done.err.starts_with("leindex-engine: stopping"), "{}", done.err);
    assert_eq!(fresh(&tree), "unwatched");
    tree.expect(0, &["verify"]);
}

#[test]
fn json_has_an_event_a_line_and_a_kill_leaves_no_false_freshness() {
    let tree = Tree::with(&[("a.rs", "fn a() {}\n")]);
    let mut watching = Watching::start(&tree, &["watch", "--json"]);
    assert!(shape(&watching.line()).starts_with("{event:string,report:{outcome:string,generation:int,root:string,"));
    eventually("the index is current", || fresh(&tree) == "current");
    std::fs::remove_file(tree.path("a.rs")).unwrap();
    let event: serde_json::Value = serde_json::from_str(&watching.line()).unwrap();
    assert_eq!((&event["event"], &event["report"]["files"]["removed"]), (&"updated".into(), &1.into()));
    assert_eq!(watching.end(Signal::KILL).code, None);
    assert_eq!(fresh(&tree), "unwatched");
    assert!(tree.expect(0, &["status"]).text().contains("run leindex-engine to take up what has changed since"));
    // The next one takes over.
    let mut watching = Watching::start(&tree, &["watch"]);
    watching.line();
    assert_eq!(watching.end(Signal::TERM).code, Some(130));
}

#[test]
fn a_tree_is_polled_on_request() {
    let tree = Tree::with(&[("a.rs", "fn a() {}\n")]);
    // Or it would be racy, and the next run would read it again.
    std::thread::sleep(Duration::from_millis(30));
    let mut watching = Watching::start(&tree, &["watch", "--poll", "1"]);
    watching.line();
    assert_eq!(fresh(&tree), "polled");
    tree.write("b.rs", "fn b() {}\n");
    assert!(watching.line().starts_with("indexed 1 file"));
    assert_eq!(watching.end(Signal::INT).code, Some(130));
    let wrong = tree.expect(2, &["watch", "--poll", "0"]);
    assert!(wrong.err.contains("--poll"), "{}", wrong.err);
    assert!(tree.expect(1, &["watch", "nowhere"]).err.contains("nowhere"));
}

/// What a run has freed goes back to the system: a watcher is there for days.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn a_watcher_holds_little_memory() {
    let tree = Tree::new();
    for n in 0..600 {
        let words: String = (0..400).map(|word| format!("word{} ", n * 131 + word * 7)).collect();
        tree.write(format!("d{}/f{n}.txt", n % 20), words);
    }
    let mut watching = Watching::start(&tree, &["watch"]);
    watching.line();
    for n in 0..10 {
        tree.write(format!("new{n}.txt"), "new");
        watching.line();
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", watching.child.id())).unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kilobytes: u64 = anonymous.trim().trim_end_matches("kB").trim().parse().unwrap();
    assert!(kilobytes < 30_000, "{kilobytes} kB");
    assert_eq!(watching.end(Signal::INT).code, Some(130));
}
