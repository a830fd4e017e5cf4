//! A client that knows nothing but lines, and trees for a server to serve.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

/// Longer than anything here takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The tools that LeIndex has too, whose text is JSON.
const OF_LEINDEX: [&str; 5] = ["manage_project", "search_content", "read_file", "get_diagnostics", "manage_operations"];
/// Between two looks at something that changes by itself.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// A tree, and a place for its index outside of it.
pub(crate) struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn with(files: &[(&str, &str)]) -> Tree {
        let tree = Tree { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(tree.dir.path().join("tree")).unwrap();
        for (path, content) in files {
            tree.write(path, content);
        }
        tree
    }

    /// So many files that a run over them takes a while.
    pub(crate) fn large() -> Tree {
        let tree = Tree::with(&[]);
        let words: String = (0..800).map(|word| format!("word{word} and_more_{word}(x);\n")).collect();
        for dir in 0..60 {
            for file in 0..40 {
                tree.write(&format!("d{dir}/f{file}.c"), format!("int unique_{dir}_{file};\n{words}"));
            }
        }
        tree
    }

    /// Has whoever wants to write the index wait until this is dropped: so an operation goes on for as long as a test needs it.
    pub(crate) fn hold(&self) -> fs::File {
        let index = self.index();
        fs::create_dir_all(&index).unwrap();
        let lock = fs::File::options().create(true).truncate(false).write(true).open(index.join("lock")).unwrap();
        lock.lock().unwrap();
        lock
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("tree").canonicalize().unwrap()
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    /// Writes a file that is older than the clock's granularity.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(path).unwrap();
        file.write_all(content.as_ref()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leindex-engine"));
        command.arg("mcp").arg("--index-dir").arg(self.index());
        command.args(args).env_remove("RUST_LOG").env("HOME", self.dir.path()).current_dir(self.dir.path());
        command
    }

    /// A server of this tree.
    pub(crate) fn serve(&self, args: &[&str]) -> Client {
        let root = self.root();
        Client::start(self.command(args).arg(root))
    }

    /// A server of this tree after its handshake.
    pub(crate) fn introduced(&self, args: &[&str]) -> Client {
        let mut client = self.serve(args);
        client.introduce();
        client
    }
}

/// A server and its stdio.
pub(crate) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Notifications that came while something else was waited for.
    pub(crate) notifications: Vec<Value>,
    next_id: u64,
}

impl Client {
    pub(crate) fn start(command: &mut Command) -> Client {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take();
        Client { child, input, lines, notifications: Vec::new(), next_id: 0 }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_bytes(format!("{message}\n").as_bytes());
    }

    /// The next message. Everything that comes on stdout has to be one.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Value {
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no answer"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server has ended: {:?}", self.child.wait()),
        };
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    /// Sends a request; its id.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// The answer to a request. Answers to others must not come before it.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.receive();
            if message["id"] == id {
                return message;
            }
            assert!(message.get("id").is_none(), "another answer: {message}");
            self.notifications.push(message);
        }
    }

    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        self.answer(id)
    }

    #[track_caller]
    pub(crate) fn introduce(&mut self) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let answer = self.request("initialize", params);
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        answer["result"].clone()
    }

    /// The result of a tool, whatever it is.
    #[track_caller]
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// What a tool answers, structured.
    #[track_caller]
    pub(crate) fn good(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result}");
        assert!(result["structuredContent"].is_object(), "{result}");
        assert!(!text(&result).is_empty(), "{result}");
        if OF_LEINDEX.contains(&tool) {
            let parsed: Value =
                serde_json::from_str(&text(&result)).unwrap_or_else(|error| panic!("{error}: {result}"));
            assert_eq!(parsed, result["structuredContent"]);
        }
        result["structuredContent"].clone()
    }

    /// Why a tool refuses.
    #[track_caller]
    pub(crate) fn bad(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        if !OF_LEINDEX.contains(&tool) {
            return text(&result);
        }
        let parsed: Value = serde_json::from_str(&text(&result)).unwrap_or_else(|error| panic!("{error}: {result}"));
        assert_eq!(parsed["success"], false, "{result}");
        parsed["message"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
    }

    /// Calls a tool until its answer is as wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, tool: &str, arguments: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.call(tool, arguments.clone());
            if result["isError"] == false && wanted(&result["structuredContent"]) {
                return result["structuredContent"].clone();
            }
            assert!(Instant::now() < deadline, "{result}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until the first operation has ended and the index is kept fresh.
    #[track_caller]
    pub(crate) fn until_fresh(&mut self) {
        self.until("status", &json!({}), |status| status["freshness"]["state"] == "current");
    }

    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(PAUSE);
        }
    }

    /// Messages that are still to be read, after the end.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        self.lines.iter().map(|line| serde_json::from_str(&line).unwrap()).collect()
    }
}

/// Asks a server to end, if it has not, as a supervisor does: what measures it sees its end. One that does not is killed.
pub(crate) fn end(child: &mut Child) {
    let asked = Instant::now();
    if matches!(child.try_wait(), Ok(None)) {
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
    }
    while matches!(child.try_wait(), Ok(None)) {
        if asked.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            assert!(std::thread::panicking(), "the server does not end when it is asked to");
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The text of a tool's result.
#[track_caller]
pub(crate) fn text(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
