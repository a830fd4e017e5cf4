//! Whatever comes in on stdin, the next request is answered.

use super::client::{Client, Tree};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};

/// Whether it is there, and in its right mind.
#[track_caller]
fn assert_alive(client: &mut Client, id: &str) {
    client.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": {}}));
    loop {
        // Answers to what came before.
        let message = client.receive();
        if message["id"] == id {
            assert_eq!(message["result"]["tools"].as_array().map(Vec::len), Some(9), "{message}");
            return;
        }
    }
}

fn served() -> (Tree, Client) {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let client = tree.introduced(&["--no-watch"]);
    (tree, client)
}

#[test]
fn lines_that_are_no_messages_are_answered_or_passed_over() {
    let (_tree, mut client) = served();
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let deep_arguments = format!(
        r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{{"name":"search","arguments":{{"query":{deep}}}}}}}"#
    );
    for (line, code) in [
        (&b"garbage"[..], -32700),
        (b"{\"jsonrpc\":", -32700),
        (b"\xff\xfe\x00\x00", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\0\"}", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1e999,\"method\":\"ping\"}", -32700),
        (deep.as_bytes(), -32700),
        (deep_arguments.as_bytes(), -32700),
        (b"[]", -32600),
        (b"null", -32600),
        (b"42", -32600),
        (b"{}", -32600),
        (b"{\"jsonrpc\":\"1.0\",\"id\":null,\"method\":7}", -32600),
    ] {
        client.send_bytes(&[line, b"\n"].concat());
        let answer = client.receive();
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
        assert_eq!(answer["id"], Value::Null, "{shown}: {answer}");
    }
    client.send_bytes(b"\n\r\n   \n");
    assert_alive(&mut client, "after");
    client.send_bytes(&[&b"x".repeat(9 << 20)[..], b"\n"].concat());
    assert_eq!(client.receive()["error"]["code"], -32600);
    assert_alive(&mut client, "after a long line");
}

#[test]
fn before_the_handshake_nothing_ends_it_either() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let mut client = tree.serve(&["--no-watch"]);
    client.send_bytes(b"garbage\n");
    assert_eq!(client.receive()["error"]["code"], -32700);
    // Notifications and answers, and requests that come too early.
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}));
    client.send(&json!({"jsonrpc": "2.0", "id": 9, "result": {}}));
    let answer = client.request("tools/list", json!({}));
    assert!(answer["error"].is_object(), "{answer}");
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));
    client.send(&json!({"jsonrpc": "2.0", "id": 5, "method": "initialize", "params": {"protocolVersion": 7}}));
    assert!(client.receive()["error"].is_object());
    client.introduce();
    assert_alive(&mut client, "after");
}

#[test]
fn wrong_requests_get_errors_of_their_own() {
    let (_tree, mut client) = served();
    for (method, params, code) in [
        ("no/such/method", json!({}), -32601),
        ("tools/call", json!({"name": "no_such_tool"}), -32602),
        ("tools/call", json!({"name": 7}), -32602),
        ("tools/call", json!({}), -32602),
        ("tools/call", json!({"name": "search", "arguments": [1, 2]}), -32602),
        ("resources/read", json!({"uri": {}}), -32602),
        ("prompts/list", json!({}), -32601),
        ("completion/complete", json!({}), -32601),
    ] {
        let answer = client.request(method, params.clone());
        assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
    }
    let unknown = client.request("tools/call", json!({"name": "no_such_tool"}));
    assert!(unknown["error"]["message"].as_str().unwrap().contains("search_content"), "{unknown}");
}

/// Messages that make sense, to be spoiled.
fn sensible() -> Vec<Value> {
    let call = |name: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    vec![
        call("search", json!({"query": "needle", "mode": "regex", "limit": 5, "globs": ["*.rs"], "context": 2})),
        call("search_content", json!({"action": "find", "pattern": "a.rs", "page": 1, "page_size": 5, "fuzzy": true})),
        call("read_file", json!({"file_path": "a.rs", "mode": "chunks", "start_line": 1, "end_line": 2})),
        call("explain", json!({"path": "a.rs"})),
        call("outline", json!({"path": "a.rs"})),
        call("status", json!({})),
        call("get_diagnostics", json!({"type": "index"})),
        call("manage_operations", json!({"action": "list", "operation_id": "op-1"})),
        json!({"jsonrpc": "2.0", "id": "x", "method": "resources/read", "params": {"uri": "files://a.rs"}}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "reason": "x"}}),
        json!({"jsonrpc": "2.0", "id": 4, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"},
        }}),
        json!({"jsonrpc": "2.0", "id": 5, "result": {"roots": []}}),
        json!({"jsonrpc": "2.0", "id": 6, "error": {"code": -1, "message": "x"}}),
    ]
}

/// One change of a line.
#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    Cut(usize),
    Twice(usize, usize),
    Value(usize, Value),
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::from),
        Just(json!("\0")),
        Just(json!("../../etc/passwd")),
        Just(json!(u64::MAX)),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Change::Twice(from, to)),
        (any::<usize>(), values()).prop_map(|(at, value)| Change::Value(at, value)),
    ];
    proptest::collection::vec(change, 0..4)
}

/// The places of a value's members, in order.
fn members(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Object(map) => map.values_mut().collect(),
        Value::Array(list) => list.iter_mut().collect(),
        _ => Vec::new(),
    }
}

/// Puts `new` somewhere into `value`.
fn replace(value: &mut Value, mut at: usize, new: Value) {
    let mut place = value;
    loop {
        let count = members(place).len();
        if count == 0 || at.is_multiple_of(3) {
            *place = new;
            return;
        }
        at /= 3;
        place = members(place).into_iter().nth(at % count).unwrap();
    }
}

fn spoiled(message: &Value, changes: &[Change]) -> Vec<u8> {
    let mut message = message.clone();
    for change in changes {
        if let Change::Value(at, value) = change {
            replace(&mut message, *at, value.clone());
        }
    }
    let mut line = message.to_string().into_bytes();
    for change in changes {
        let len = line.len().max(1);
        match change {
            Change::Byte(at, byte) if !line.is_empty() => line[at % len] = *byte,
            Change::Cut(at) => line.truncate(at % len),
            Change::Twice(from, to) => {
                let (from, to) = ((from % len).min(to % len), (from % len).max(to % len));
                line.extend_from_within(from.min(line.len())..to.min(line.len()));
            }
            _ => {}
        }
    }
    line.push(b'\n');
    line
}

#[test]
fn spoiled_messages_never_end_it() {
    let (_tree, client) = served();
    // One server takes all of it, so there is nothing to go back to for something smaller that fails as well.
    let config = Config { failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let (client, round, sensible) = (RefCell::new(client), Cell::new(0), sensible());
    let mut runner = TestRunner::new(config);
    let cases = (0..sensible.len(), changes());
    let ended = runner.run(&cases, |(which, changes)| {
        let line = spoiled(&sensible[which], &changes);
        round.set(round.get() + 1);
        let mut client = client.borrow_mut();
        client.send_bytes(&line);
        assert_alive(&mut client, &format!("alive-{}", round.get()));
        Ok(())
    });
    ended.unwrap_or_else(|error| panic!("{error}"));
}
