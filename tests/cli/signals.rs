//! A run that is interrupted, and two runs at once.

use super::support::{Done, Tree, shape};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

/// Names of the one large file: a run over them reads a gigabyte.
const LINKS: usize = 4000;

/// A tree with a published generation, to which far more was added than a run can index before it is stopped.
fn long_to_index() -> Tree {
    let tree = Tree::with(&[("needle.txt", "a needle\n")]);
    tree.expect(0, &[]);
    let mut content = String::new();
    for number in 0..20_000 {
        content += &format!("word{number} line{}\n", number * 7);
    }
    tree.write("big/0", &content);
    for number in 1..LINKS {
        fs::hard_link(tree.path("big/0"), tree.path(format!("big/{number}"))).unwrap();
    }
    tree
}

/// A run that is going on: its signals are caught and it holds the lock.
struct Running {
    child: Child,
    err: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(tree: &Tree, stdout: impl Into<Stdio>) -> Running {
        let args = ["--json", "--progress", "plain", "--batch-files", "1", "--shards", "1"];
        let mut child = tree.command(&args).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        err.read_line(&mut line).unwrap();
        assert!(line.contains("indexing"), "{line}");
        let lock = tree.path(".leindex-engine/lock");
        let pid = child.id().to_string();
        while fs::read_to_string(&lock).unwrap_or_default().trim() != pid {
            assert_eq!(child.try_wait().unwrap(), None, "the run has ended before it was stopped");
            thread::sleep(Duration::from_millis(1));
        }
        Running { child, err }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reads stderr until a line holds `wanted`.
    fn wait_for(&mut self, wanted: &str) {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert_ne!(self.err.read_line(&mut line).unwrap(), 0, "{wanted:?} did not come");
        }
    }

    fn end(mut self) -> Done {
        let mut err = String::new();
        self.err.read_to_string(&mut err).unwrap();
        let mut done = Done::from(self.child.wait_with_output().unwrap());
        done.err = err;
        done
    }
}

#[test]
fn a_signal_stops_the_run_and_keeps_what_was_published() {
    let tree = long_to_index();
    for signal in [Signal::INT, Signal::TERM] {
        let run = Running::start(&tree, Stdio::piped());
        run.signal(signal);
        let done = run.end();
        assert_eq!(done.code, Some(130), "{}{}", done.text(), done.err);
        assert!(done.err.contains("leindex-engine: stopping"), "{}", done.err);
        assert!(done.err.contains("interrupted: generation"), "{}", done.err);
        let json = done.json();
        assert_eq!(json["outcome"], "cancelled");
        assert!(json["files"]["indexed"].as_u64().unwrap() < LINKS as u64, "{json}");
        assert!(shape(&done.text()).starts_with("{outcome:string,generation:int,root:string,"));
        let hits = tree.expect(0, &["search", "-F", "a needle"]);
        assert_eq!(hits.text(), "needle.txt:1:1:a needle\n");
        tree.expect(0, &["verify"]);
    }
    fs::remove_dir_all(tree.path("big")).unwrap();
    tree.expect(0, &["--progress", "off"]);
    assert_eq!(tree.expect(0, &["status", "--json"]).json()["files"]["indexed"], 1);
}

/// A pipe that takes nothing more, and its reading end.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer.into())
}

/// The command gets stuck on its output after the first signal; the second one has to end it all the same.
#[test]
fn a_second_signal_stops_at_once() {
    let tree = long_to_index();
    let (_reader, stdout) = full_pipe();
    let mut run = Running::start(&tree, stdout);
    run.signal(Signal::INT);
    run.wait_for("stopping");
    run.signal(Signal::INT);
    let done = run.end();
    assert_eq!(done.code, Some(130), "{}", done.err);
}

#[test]
fn a_second_run_is_refused_with_the_pid_of_the_first() {
    let tree = long_to_index();
    let run = Running::start(&tree, Stdio::piped());
    let refused = tree.expect(1, &["--progress", "off"]);
    assert!(refused.error().contains(&format!("being indexed by pid {}", run.child.id())), "{}", refused.err);
    let repair = tree.run(&["verify"]);
    assert_eq!(repair.code, Some(0), "reading is not refused: {}", repair.err);
    assert_eq!(tree.expect(0, &["search", "-F", "a needle"]).lines().len(), 1, "nor is searching");
    run.signal(Signal::INT);
    assert_eq!(run.end().code, Some(130));
}

#[test]
fn a_second_run_waits_on_request() {
    let tree = long_to_index();
    let run = Running::start(&tree, Stdio::piped());
    let waiting = tree.command(&["--progress", "off", "--wait", "--exclude", "big"]).stdout(Stdio::piped()).spawn();
    thread::sleep(Duration::from_millis(100));
    let mut waiting = waiting.unwrap();
    assert_eq!(waiting.try_wait().unwrap(), None, "it has not waited");
    run.signal(Signal::INT);
    assert_eq!(run.end().code, Some(130));
    let done = Done::from(waiting.wait_with_output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.err);
    // One that waits can be stopped.
    let run = Running::start(&tree, Stdio::piped());
    let waiting = tree.command(&["--progress", "off", "--wait"]).stdout(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(100));
    kill_process(Pid::from_child(&waiting), Signal::INT).unwrap();
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(130));
    run.signal(Signal::INT);
    assert_eq!(run.end().code, Some(130));
}

#[test]
fn an_interrupted_first_run_leaves_no_index_that_passes_for_whole() {
    let tree = long_to_index();
    fs::remove_dir_all(tree.path(".leindex-engine")).unwrap();
    let run = Running::start(&tree, Stdio::piped());
    run.signal(Signal::INT);
    let done = run.end();
    assert_eq!(done.code, Some(130));
    match done.json()["generation"].as_u64().unwrap() {
        0 => {
            assert!(done.err.contains("before anything was published"), "{}", done.err);
            assert!(tree.expect(1, &["search", "needle"]).error().contains("no index"));
        }
        _ => assert_eq!(tree.expect(0, &["status", "--json"]).json()["complete"], false),
    }
}
