//! Over HTTP: a tiny client, many requests at once, and those that are refused.

use super::client::{Client, PATIENCE, PAUSE, Tree, end};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A server over HTTP, and where it is.
struct Served {
    child: Child,
    addr: SocketAddr,
}

impl Served {
    fn start(tree: &Tree, args: &[&str]) -> Served {
        let mut command = tree.command(&["--http", "127.0.0.1:0"]);
        let command = command.args(args).arg(tree.root());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.trim().strip_prefix("leindex-engine: serving MCP on http://").unwrap_or_else(|| panic!("{line:?}"));
        let addr = url.strip_suffix("/mcp").unwrap().parse().unwrap();
        Served { child, addr }
    }

    /// Sends one request with these headers; status, headers and body.
    fn post(&self, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let has = |name: &str| headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
        let mut head = "POST /mcp HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n".to_owned();
        head += &format!("Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n", body.len());
        if !has("Host") {
            head += &format!("Host: {}\r\n", self.addr);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        let response = String::from_utf8_lossy(&response).into_owned();
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{response:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    /// Gets a path; status and body.
    fn get(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n").as_bytes())
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A session after its handshake; its id.
    fn introduce(&self) -> String {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let (status, head, body) = self.post(&[], &request(0, "initialize", params));
        assert_eq!(status, 200, "{head}\n{body}");
        assert_eq!(message(&body)["result"]["serverInfo"]["name"], "leindex-engine");
        let session = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_owned())
        });
        let session = session.unwrap_or_else(|| panic!("{head}"));
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        let (status, ..) = self.post(&[("Mcp-Session-Id", &session)], &initialized);
        assert_eq!(status, 202);
        session
    }

    #[track_caller]
    fn call(&self, session: &str, id: u64, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        let (status, head, body) = self.post(&[("Mcp-Session-Id", session)], &request(id, "tools/call", params));
        assert_eq!(status, 200, "{head}\n{body}");
        let answer = message(&body);
        assert_eq!(answer["id"], id, "{answer}");
        answer["result"].clone()
    }

    /// Waits for the end of the first run.
    fn until_indexed(&self, session: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.call(session, 1, "status", json!({}))["structuredContent"]["keeping"]["by"] == "starting" {
            assert!(Instant::now() < deadline, "it is not indexed");
            std::thread::sleep(PAUSE);
        }
    }

    fn terminate(&self) {
        let status = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn request(id: u64, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// The message with an id in a body: plain JSON, or the events of a stream, in chunks.
#[track_caller]
fn message(body: &str) -> Value {
    let mut messages = body.lines().filter_map(|line| {
        let line = line.strip_prefix("data: ").or_else(|| line.strip_prefix("data:")).unwrap_or(line);
        serde_json::from_str::<Value>(line).ok().filter(|message| message.get("id").is_some())
    });
    messages.next_back().unwrap_or_else(|| panic!("no message: {body:?}"))
}

#[test]
fn two_hundred_requests_at_once_are_all_answered() {
    let tree = Tree::large();
    let served = Served::start(&tree, &["--no-watch"]);
    let first = served.introduce();
    served.until_indexed(&first);
    let sessions: Vec<String> = (0..4).map(|_| served.introduce()).collect();
    let answers: Vec<(u64, Value)> = std::thread::scope(|scope| {
        let ask = |id: u64| {
            let (served, session) = (&served, &sessions[(id % 4) as usize]);
            move || {
                let (tool, arguments) = match id % 3 {
                    0 => ("search", json!({"query": "unique_7_7", "mode": "substring"})),
                    1 => ("search_content", json!({"pattern": r"unique_\d+_3\b", "page_size": 5})),
                    _ => ("status", json!({})),
                };
                (id, served.call(session, id, tool, arguments))
            }
        };
        let threads: Vec<_> = (1..=200).map(|id| scope.spawn(ask(id))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), 200);
    for (id, result) in answers {
        assert_eq!(result["isError"], false, "{id}: {result}");
        let said = &result["structuredContent"];
        match id % 3 {
            0 => assert_eq!((&said["hits_shown"], &said["files"][0]["path"]), (&json!(1), &json!("d7/f7.c")), "{id}"),
            1 => assert_eq!((said["results"].as_array().unwrap().len(), &said["has_more"]), (5, &json!(true)), "{id}"),
            _ => assert_eq!(said["index"]["files"]["indexed"], 2400, "{id}"),
        }
        assert_eq!(said["root"], tree.root().to_str().unwrap(), "{id}");
    }
    served.terminate();
    let mut served = served;
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    let mut out = String::new();
    served.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "", "stdout belongs to the protocol, also when that goes elsewhere");
}

#[test]
fn what_a_browser_may_send_for_others_is_refused() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let served = Served::start(&tree, &["--no-watch"]);
    let hello = request(
        1,
        "initialize",
        json!({
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"},
        }),
    );
    let port = served.addr.port();
    for (name, value) in [
        ("Host", "evil.example".to_owned()),
        ("Host", format!("evil.example:{port}")),
        ("Origin", "https://evil.example".to_owned()),
        ("Origin", "null".to_owned()),
        ("Origin", format!("http://127.0.0.1.evil.example:{port}")),
    ] {
        let (status, _, body) = served.post(&[(name, &value)], &hello);
        assert!((400..=421).contains(&status), "{name}: {value}: {status} {body}");
    }
    for (name, value) in [
        ("Host", format!("localhost:{port}")),
        ("Origin", format!("http://localhost:{port}")),
        ("Origin", "http://127.0.0.1:3000".to_owned()),
    ] {
        let (status, _, body) = served.post(&[(name, &value)], &hello);
        assert_eq!(status, 200, "{name}: {value}: {body}");
    }
}

#[test]
fn over_http_set_path_stays_where_the_command_line_allows() {
    let (tree, allowed, other) =
        (Tree::with(&[("a.rs", "x\n")]), Tree::with(&[("b/c.rs", "needle\n")]), Tree::with(&[]));
    let served = Served::start(&tree, &["--no-watch", "--allow-root", allowed.root().to_str().unwrap()]);
    let session = served.introduce();
    let mut id = 0;
    let mut set_path = |path: PathBuf| {
        id += 1;
        served.call(&session, id, "manage_project", json!({"action": "set_path", "path": path}))
    };
    symlink(other.root(), allowed.root().join("link")).unwrap();
    for path in [other.root(), allowed.root().join("link"), allowed.outside(), "/".into(), "/nowhere/at/all".into()] {
        let refused = set_path(path.clone());
        let said = refused["content"][0]["text"].as_str().unwrap();
        assert!(refused["isError"] == true && said.contains("--allow-root"), "{}: {refused}", path.display());
    }
    for path in [tree.root(), allowed.root(), allowed.root().join("b")] {
        let result = set_path(path.clone());
        assert_eq!(result["isError"], false, "{}: {result}", path.display());
    }
    let found = served.call(&session, 99, "search", json!({"query": "needle"}));
    let said = &found["structuredContent"];
    assert_eq!(
        (&said["files"][0]["path"], &said["root"]),
        (&json!("c.rs"), &json!(allowed.root().join("b"))),
        "{found}"
    );
}

#[test]
fn there_is_one_path_only() {
    let tree = Tree::with(&[]);
    let served = Served::start(&tree, &["--no-watch"]);
    for path in ["/", "/mcp/", "/other"] {
        let mut stream = TcpStream::connect(served.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", served.addr);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.contains("/mcp, figures are at /metrics"),
            "{path}: {answer}"
        );
    }
}

#[test]
fn nonsense_over_http_is_refused_and_harms_nobody() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let served = Served::start(&tree, &["--no-watch"]);
    let session = served.introduce();
    let deep = "[".repeat(100_000);
    for body in ["", "garbage", "{}", "[]", "null", &deep, r#"{"jsonrpc":"2.0","id":1,"method":7}"#] {
        let (status, head, answer) = served.post(&[("Mcp-Session-Id", &session)], body);
        assert!(status >= 400 || message(&answer)["error"].is_object(), "{body:.40}: {head} {answer}");
    }
    let mut cut = TcpStream::connect(served.addr).unwrap();
    cut.write_all(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"json").unwrap();
    drop(cut);
    let mut noise = TcpStream::connect(served.addr).unwrap();
    noise.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").unwrap();
    drop(noise);
    let (status, ..) = served.post(&[("Mcp-Session-Id", "no-such-session")], &request(1, "tools/list", json!({})));
    assert_eq!(status, 404);
    let result = served.call(&session, 9, "search", json!({"query": "needle"}));
    assert_eq!(result["structuredContent"]["hits_shown"], 1, "{result}");
}

#[test]
fn the_network_has_to_be_asked_for() {
    let tree = Tree::with(&[]);
    let refused = tree.command(&["--http", "0.0.0.0:0"]).arg(tree.root()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("--allow-remote") && said.contains("127.0.0.1"), "{said}");
    for wrong in [&["--allow-remote"][..], &["--allow-host", "x"], &["--allow-root", "/"], &["--http", "nonsense"]] {
        assert_eq!(tree.command(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut client = Client::start(tree.command(&["--http", &addr]).arg(tree.root()));
    assert_eq!(client.wait(), Some(1), "the port is another's");
}

#[test]
fn figures_are_told_as_prometheus_reads_them() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n"), ("b.bin", "\0\0")]);
    let served = Served::start(&tree, &[]);
    let host = served.addr.to_string();
    let session = served.introduce();
    let search = request(1, "tools/call", json!({"name": "search", "arguments": {"query": "needle"}}));
    let (status, _, body) = served.post(&[("Mcp-Session-Id", &session)], &search);
    assert_eq!(status, 200, "{body}");
    let started = Instant::now();
    // The watcher is there a moment after the first run.
    let text = loop {
        let (status, text) = served.get("/metrics", &host);
        assert_eq!(status, 200, "{text}");
        if text.contains("leindex_fresh 1\n") {
            break text;
        }
        assert!(started.elapsed() < PATIENCE, "{text}");
        std::thread::sleep(PAUSE);
    };
    for line in [
        concat!("leindex_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "leindex_call_seconds_count{tool=\"search\"} 1",
        "leindex_call_seconds_bucket{tool=\"search\",le=\"+Inf\"} 1",
        "leindex_files{kind=\"indexed\"} 1",
        "leindex_files{kind=\"binary\"} 1",
        "leindex_complete 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
    // Each line is a comment, or a name that a comment has introduced and a number.
    let mut names = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            names.push(rest.split(' ').next().unwrap());
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(names.iter().any(|known| name.starts_with(known)), "{line}");
        }
    }
    // The watcher's first run has nothing to do, and its figures may have come already.
    let figure = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    };
    let of_run = |outcome: &str| figure(&format!("leindex_last_run_files{{outcome=\"{outcome}\"}}"));
    assert!(of_run("indexed") + of_run("unchanged") >= 1, "{text}");
    assert_eq!(served.get("/metrics", &format!("{host}\r\nOrigin: https://evil.example")).0, 403);
    assert_eq!(served.get("/metrics", "evil.example").0, 403);
    assert_eq!(served.get("/", &host).0, 404);
}
