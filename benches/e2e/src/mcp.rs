//! Section 12: the server for agents: how soon it answers the handshake, how long searches take through it while runs go on, and
//! many requests at once over HTTP.

use crate::queries::{Drawer, Rng, Set};
use crate::report::Samples;
use crate::{Bench, Failure, child, copy, machine};
use leindex_engine::{Engine, Mode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Servers whose handshake is measured, each with an index to build.
const HANDSHAKES: usize = 10;
/// Queries of a set that are asked.
const QUERIES: usize = 100;
/// Rounds over them.
const ROUNDS: usize = 3;
/// Requests at once over HTTP.
const AT_ONCE: usize = 200;
/// Files that are changed before each run.
const CHANGED: usize = 100;
/// Longer than indexing a large tree takes.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(50);
const HANDSHAKE_MUST_MS: f64 = 100.0;
const SEARCH_MUST_MS: f64 = 10.0;
/// What goes on while the searches are asked that must be that fast.
const RUNS: &str = "runs go on";
const RAW: &str = "while,tool,set,round,pattern,ms,hits";

/// Section 12.
pub(crate) fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let Some(program) = child::command(bench, "MCP", "mcp")? else { return Ok(()) };
    handshakes(bench, &program)?;
    let copy = copy::of(bench)?;
    let place = Place { program, copy, index_dir: bench.scratch.join("mcp") };
    searches(bench, &place)?;
    at_once(bench, &place)
}

struct Place {
    program: PathBuf,
    copy: PathBuf,
    index_dir: PathBuf,
}

impl Place {
    fn server(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("mcp").args(arguments).arg("--index-dir").arg(&self.index_dir).arg(&self.copy);
        command
    }
}

/// A server over stdio. Answers find whoever waits for them, so several threads may ask at once.
struct Server {
    child: Child,
    input: Mutex<ChildStdin>,
    waiting: Arc<Mutex<HashMap<u64, Sender<Value>>>>,
    next_id: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    fn start(command: &mut Command) -> Result<Server, Failure> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the server has no stdio".into());
        };
        let waiting: Arc<Mutex<HashMap<u64, Sender<Value>>>> = Arc::default();
        let for_reader = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                let waits = message["id"].as_u64().and_then(|id| lock(&for_reader).remove(&id));
                // Whoever has given up waiting is told by its own clock.
                let _ = waits.map(|waits| waits.send(message));
            }
            lock(&for_reader).clear();
        });
        Ok(Server { child, input: Mutex::new(input), waiting, next_id: AtomicU64::new(1) })
    }

    fn request(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let (send, answer) = mpsc::channel();
        lock(&self.waiting).insert(id, send);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        {
            let mut input = lock(&self.input);
            input.write_all(format!("{message}\n").as_bytes())?;
            input.flush()?;
        }
        Ok(answer.recv_timeout(PATIENCE).map_err(|_| format!("no answer to {method}"))?)
    }

    fn introduce(&self) -> Result<(), Failure> {
        let answer = self.request("initialize", hello())?;
        if answer["result"]["serverInfo"]["name"] == "leindex-engine" { Ok(()) } else { Err(answer.to_string().into()) }
    }

    /// The structured answer of a tool.
    fn call(&self, tool: &str, arguments: &Value) -> Result<Value, Failure> {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}))?;
        let result = &answer["result"];
        if result["isError"] == false {
            return Ok(result["structuredContent"].clone());
        }
        Err(format!("{tool} {arguments}: {answer}").into())
    }

    fn wait_until_current(&self) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.call("status", &json!({}))?["freshness"]["state"] == "current" {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err("the index does not become current".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hello() -> Value {
    json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}})
}

/// From the start of the process to the answer, with a tree to index from nothing.
fn handshakes(bench: &mut Bench, program: &Path) -> Result<(), Failure> {
    let (mut answered, mut listed) = (Samples::default(), Samples::default());
    let mut while_indexing = 0;
    for _ in 0..HANDSHAKES {
        let index_dir = bench.scratch.join("mcp-handshake");
        let started = Instant::now();
        let mut command = Command::new(program);
        let server = Server::start(command.arg("mcp").arg("--index-dir").arg(&index_dir).arg(&bench.tree))?;
        server.introduce()?;
        answered.add(started.elapsed().as_secs_f64() * 1e3);
        server.request("tools/list", json!({}))?;
        listed.add(started.elapsed().as_secs_f64() * 1e3);
        let operations = server.call("status", &json!({}))?["operations"].as_array().map_or(0, Vec::len);
        while_indexing += usize::from(operations > 0);
        drop(server);
        match fs::remove_dir_all(&index_dir) {
            // It was stopped before its first run had got that far.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    let report = &mut bench.report;
    report.told("MCP: handshakes while the first run went on", format!("{while_indexing} of {HANDSHAKES}"));
    report.below("MCP: start to the answer of the handshake, most", answered.max(), HANDSHAKE_MUST_MS, " ms");
    report.told("MCP: start to the answer of the handshake", format!("{answered:.1} ms"));
    report.told("MCP: start to the list of tools", format!("{listed:.1} ms"));
    Ok(())
}

/// What of one set was asked, in one way.
#[derive(Default)]
struct Asked {
    ms: Samples,
    hits: u64,
    with_hits: usize,
}

fn searches(bench: &mut Bench, place: &Place) -> Result<(), Failure> {
    let server = Server::start(&mut place.server(&[]))?;
    server.introduce()?;
    server.wait_until_current()?;
    let snapshot = Engine::builder().index_dir(&place.index_dir).open(&place.copy)?.snapshot()?;
    let scale = if bench.options.smoke { 10 } else { 1 };
    let sets = Drawer::new(&place.copy, &snapshot, bench.options.seed)?.sets(scale);
    let files = copy::candidates(&snapshot)?;
    drop(snapshot);
    let mut rows = Vec::new();
    // Of a first index, symbols are extracted meanwhile.
    ask_all(bench, &server, &sets, "no run", &mut rows)?;
    let (stop, runs) = (AtomicBool::new(false), AtomicU64::new(0));
    let busy: Result<(), Failure> = std::thread::scope(|scope| {
        let keep_busy = || -> Result<(), Failure> {
            let mut rng = Rng::new(bench_seed(&files));
            while !stop.load(Relaxed) {
                change(&place.copy, &files, &mut rng)?;
                let params = json!({
                    "name": "manage_project", "arguments": {"action": "refresh"}, "_meta": {"progressToken": 1},
                });
                let answer = server.request("tools/call", params)?;
                if answer["result"]["structuredContent"]["status"] != "completed" {
                    return Err(format!("a run has failed: {answer}").into());
                }
                runs.fetch_add(1, Relaxed);
            }
            Ok(())
        };
        let runner = scope.spawn(keep_busy);
        let asked = ask_all(bench, &server, &sets, RUNS, &mut rows);
        stop.store(true, Relaxed);
        let ran = runner.join().unwrap_or_else(|_| Err("the thread that keeps it busy has panicked".into()));
        asked.and(ran)
    });
    busy?;
    let report = &mut bench.report;
    report.say("");
    report.table(&["while", "tool", "queries", "count", "with hits", "hits", "P50 ms", "P99 ms", "most ms"], &rows);
    let runs = runs.load(Relaxed);
    report.say(format!(
        "From the request's line to its answer's, by one client, {ROUNDS} rounds. While runs go on: {runs} runs over the whole \
         tree, one after the other, each after {CHANGED} files were changed, which the server's watcher takes up as well. Symbols are extracted beside all of it."
    ));
    report.told("MCP: runs that went on beside the searches", runs.to_string());
    Ok(())
}

/// The same changes each time.
fn bench_seed(files: &[copy::Candidate]) -> u64 {
    files.len() as u64
}

/// Appends a line to some files.
fn change(root: &Path, files: &[copy::Candidate], rng: &mut Rng) -> Result<(), Failure> {
    for _ in 0..CHANGED {
        let file = &files[rng.below(files.len())];
        writeln!(OpenOptions::new().append(true).open(root.join(&file.path))?, "leindexbenchmcp")?;
    }
    Ok(())
}

fn ask_all(
    bench: &mut Bench,
    server: &Server,
    sets: &[Set],
    meanwhile: &str,
    rows: &mut Vec<[String; 9]>,
) -> Result<(), Failure> {
    for tool in ["search", "search_content"] {
        for set in sets {
            let asked = ask(bench, server, set, tool, meanwhile)?;
            let count = set.patterns.len().min(QUERIES);
            rows.push([
                meanwhile.to_owned(),
                tool.to_owned(),
                set.name.to_owned(),
                count.to_string(),
                asked.with_hits.to_string(),
                asked.hits.to_string(),
                format!("{:.2}", asked.ms.median()),
                format!("{:.2}", asked.ms.percentile(99.0)),
                format!("{:.2}", asked.ms.max()),
            ]);
            let name = format!("MCP, {meanwhile}: {tool} P50: {}", set.name);
            if meanwhile == RUNS {
                bench.report.below(&name, asked.ms.median(), SEARCH_MUST_MS, " ms");
            } else {
                bench.report.told(&name, format!("{:.2} ms", asked.ms.median()));
            }
            let what = format!("12 {meanwhile}: {tool} {}", set.name);
            bench.report.check(&what, ("queries", count), ("with a hit", asked.with_hits));
        }
    }
    Ok(())
}

fn ask(bench: &mut Bench, server: &Server, set: &Set, tool: &str, meanwhile: &str) -> Result<Asked, Failure> {
    let mut asked = Asked::default();
    for round in 0..ROUNDS {
        for pattern in set.patterns.iter().take(QUERIES) {
            let arguments = arguments(set.mode, tool, pattern);
            let started = Instant::now();
            let answer = server.call(tool, &arguments)?;
            let ms = started.elapsed().as_secs_f64() * 1e3;
            asked.ms.add(ms);
            let hits = answer[if tool == "search" { "hits_shown" } else { "total" }].as_u64().unwrap_or(0);
            if round == 0 {
                asked.hits += hits;
                asked.with_hits += usize::from(hits > 0);
            }
            let cells: [&dyn std::fmt::Display; 7] = [&meanwhile, &tool, &set.name, &round, pattern, &ms, &hits];
            bench.report.raw("mcp.csv", RAW, &cells);
        }
    }
    Ok(asked)
}

/// The same query for either tool: 20 hits.
fn arguments(mode: Mode, tool: &str, pattern: &str) -> Value {
    let name = match mode {
        Mode::Substring => "substring",
        Mode::Regex => "regex",
        _ => "text",
    };
    match (tool, mode) {
        ("search", _) => json!({"query": pattern, "mode": name, "limit": 20, "per_file": 0}),
        (_, Mode::Substring) => json!({"pattern": pattern, "regex": false}),
        (_, Mode::Regex) => json!({"pattern": pattern, "regex": true}),
        _ => json!({"action": "rank", "pattern": pattern}),
    }
}

/// Many requests at once, each over a connection of its own.
fn at_once(bench: &mut Bench, place: &Place) -> Result<(), Failure> {
    let errors = bench.scratch.join("mcp-http.stderr");
    let mut command = place.server(&["--http", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
    let server = Served(command.spawn()?);
    let addr = address(&errors)?;
    let (head, _) = post(&addr, None, &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello()}))?;
    let session =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("mcp-session-id: ").map(str::to_owned));
    let session = session.ok_or("no session")?;
    let started = Instant::now();
    let answers: Vec<Option<f64>> = std::thread::scope(|scope| {
        let ask = |id: usize| {
            let (addr, session) = (&addr, &session);
            move || {
                let started = Instant::now();
                let call = json!({"name": "search", "arguments": {"query": format!("int {id}"), "mode": "text"}});
                let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call});
                let (_, body) = post(addr, Some(session), &message).ok()?;
                let is_answered =
                    body.contains(&format!("\"id\":{id},\"result\"")) && body.contains("\"isError\":false");
                is_answered.then(|| started.elapsed().as_secs_f64() * 1e3)
            }
        };
        let threads: Vec<_> = (1..=AT_ONCE).map(|id| scope.spawn(ask(id))).collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    });
    let wall = started.elapsed().as_secs_f64() * 1e3;
    drop(server);
    let mut each = Samples::default();
    answers.iter().flatten().for_each(|ms| each.add(*ms));
    bench.report.check("12 over HTTP", ("asked at once", AT_ONCE), ("answered", answers.iter().flatten().count()));
    bench.report.told("MCP: 200 requests at once over HTTP, all", format!("{wall:.0} ms"));
    bench.report.told("MCP: 200 requests at once over HTTP, each", format!("{each:.1} ms"));
    Ok(())
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = machine::interrupt(&self.0);
        let _ = self.0.wait();
    }
}

/// Where the server says it is.
fn address(errors: &Path) -> Result<String, Failure> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let text = fs::read_to_string(errors)?;
        if let Some((_, rest)) = text.split_once("http://")
            && let Some((addr, _)) = rest.split_once("/mcp\n")
        {
            return Ok(addr.to_owned());
        }
        std::thread::sleep(PAUSE);
    }
    Err("the server does not say where it is".into())
}

/// Sends a message; the head and the body of the answer.
fn post(addr: &str, session: Option<&str>, message: &Value) -> Result<(String, String), Failure> {
    let body = message.to_string();
    let session = session.map(|session| format!("Mcp-Session-Id: {session}\r\n")).unwrap_or_default();
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
    Ok((head.to_owned(), body.to_owned()))
}
