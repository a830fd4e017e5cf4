//! From the handshake to the end: at once, whatever is being indexed, and cleanly.

use super::client::{Client, Tree, exists};
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn the_handshake_does_not_wait_for_anything() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let _held = tree.hold();
    let mut client = tree.serve(&[]);
    let hello = client.introduce();
    assert_eq!(hello["serverInfo"]["name"], "leindex-engine");
    assert_eq!(hello["protocolVersion"], "2025-06-18");
    assert!(hello["capabilities"]["tools"].is_object() && hello["capabilities"]["resources"].is_object(), "{hello}");
    let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
    assert_eq!(tools.as_array().unwrap().len(), 9);
    // All of that was answered while the first run was going on.
    let status = client.good("status", json!({}));
    assert_eq!(status["operations"][0]["operation_id"], "op-1", "{status}");
    assert_eq!(status["keeping"]["by"], "starting");
    assert_ne!(status["index"]["complete"], true);
    client.good("manage_operations", json!({"action": "cancel"}));
    let ended = client.until("manage_operations", &json!({"operation_id": "op-1"}), |answer| {
        answer["operations"][0]["status"] == "cancelled"
    });
    assert_eq!(ended["operations"][0]["cancel_asked"], false, "{ended}");
    // What was cancelled is not begun again behind the client's back.
    let status = client.good("status", json!({}));
    assert_eq!(status["keeping"]["by"], "nobody", "{status}");
}

#[test]
fn without_a_path_there_is_no_project_until_one_is_named() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let mut client = Client::start(&mut tree.command(&[]));
    client.introduce();
    for tool in ["status", "search", "search_content", "read_file", "outline", "explain"] {
        let refused = client.bad(tool, json!({"query": "x", "pattern": "x", "path": "x", "file_path": "x"}));
        assert!(refused.contains("manage_project with action set_path"), "{tool}: {refused}");
    }
    let missing = client.bad("manage_project", json!({"action": "set_path", "path": "/nowhere/at/all"}));
    assert!(missing.contains("/nowhere/at/all"), "{missing}");
    let relative = client.bad("manage_project", json!({"action": "set_path", "path": "tree"}));
    assert!(relative.contains("absolute"), "{relative}");
    let started = client.good("manage_project", json!({"action": "set_path", "path": tree.root()}));
    assert_eq!((&started["success"], &started["operation_id"]), (&json!(true), &json!("op-1")));
    let found = client.good("search", json!({"query": "needle"}));
    assert_eq!(found["files"][0]["path"], "a.rs");
    // The index directory of the command line belongs to the tree of the command line.
    assert!(exists(&tree.root().join(".leindex-engine")));
}

#[test]
fn a_path_that_cannot_be_opened_is_told_to_whoever_asks() {
    let tree = Tree::with(&[]);
    let missing = tree.root().join("missing");
    let mut client = Client::start(tree.command(&[]).arg(&missing));
    client.introduce();
    let refused = client.bad("search", json!({"query": "x"}));
    assert!(refused.contains("missing") && refused.contains("set_path"), "{refused}");
}

#[test]
fn the_end_of_stdin_is_the_end() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let mut client = tree.introduced(&[]);
    client.until_fresh();
    let id = client.ask("tools/call", json!({"name": "search", "arguments": {"query": "needle"}}));
    client.close_input();
    assert_eq!(client.wait(), Some(0));
    let rest = client.rest();
    assert!(rest.iter().any(|message| message["id"] == id && message["result"]["isError"] == false), "{rest:?}");

    let mut before_the_handshake = tree.serve(&[]);
    before_the_handshake.close_input();
    assert_eq!(before_the_handshake.wait(), Some(0));
}

#[test]
fn signals_end_it_also_in_the_middle_of_a_run() {
    for signal in [Signal::TERM, Signal::INT] {
        let tree = Tree::large();
        let mut client = tree.introduced(&[]);
        client.good("status", json!({}));
        client.signal(signal);
        assert_eq!(client.wait(), Some(0), "{signal:?}");
        // The lock went with it, and the index is sound.
        let mut next = tree.introduced(&["--no-watch"]);
        next.until("manage_operations", &json!({"operation_id": "op-1"}), |answer| {
            answer["operations"][0]["status"] == "completed"
        });
        let last = json!({"query": "unique_59_39;", "mode": "substring"});
        assert_eq!(next.good("search", last)["hits_shown"], 1);
    }
}

#[test]
fn a_call_with_a_progress_token_sends_progress_and_waits() {
    let tree = Tree::large();
    let mut client = tree.introduced(&["--no-watch"]);
    let params = json!({
        "name": "manage_project", "arguments": {"action": "reindex"}, "_meta": {"progressToken": "token-7"},
    });
    let answer = client.request("tools/call", params)["result"].clone();
    let said = &answer["structuredContent"];
    assert_eq!((&said["status"], &said["success"]), (&json!("completed"), &json!(true)), "{answer}");
    assert_eq!(said["files_processed"], 2400);
    let progress: Vec<f64> = client
        .notifications
        .iter()
        .filter(|message| message["method"] == "notifications/progress")
        .inspect(|message| assert_eq!(message["params"]["progressToken"], "token-7"))
        .map(|message| message["params"]["progress"].as_f64().unwrap())
        .collect();
    assert!(!progress.is_empty());
    assert!(progress.windows(2).all(|pair| pair[0] < pair[1]), "{progress:?}");
}

#[test]
fn cancelling_a_call_that_waits_cancels_its_operation() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let _held = tree.hold();
    let mut client = tree.introduced(&["--no-watch"]);
    client.until("manage_operations", &json!({}), |answer| answer["operations"][0]["status"] == "waiting");
    let params = json!({"name": "manage_project", "arguments": {"action": "reindex"}, "_meta": {"progressToken": 1}});
    let id = client.ask("tools/call", params);
    let wanted = json!({"action": "list"});
    let of = |answer: &serde_json::Value, action: &str| {
        let operations = answer["operations"].as_array().unwrap().clone();
        operations.into_iter().find(|operation| operation["action"] == action)
    };
    client.until("manage_operations", &wanted, |answer| of(answer, "reindex").is_some());
    client.good("manage_operations", json!({"action": "cancel", "operation_id": "op-1"}));
    client.until("manage_operations", &wanted, |answer| {
        of(answer, "reindex").is_some_and(|operation| operation["status"] == "waiting")
    });
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    client.until("manage_operations", &wanted, |answer| {
        of(answer, "reindex").is_some_and(|operation| operation["status"] == "cancelled")
    });
    let gone = client.good("manage_operations", json!({"action": "cleanup"}));
    assert_eq!(gone["operations"], json!([]));
    let unknown = client.bad("manage_operations", json!({"action": "cancel", "operation_id": "op-99"}));
    assert!(unknown.contains("op-99") && unknown.contains("list"), "{unknown}");
}

#[test]
fn a_search_before_the_first_generation_says_so() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let _held = tree.hold();
    let mut client = tree.introduced(&["--no-watch"]);
    // The handshake waits for nothing, nor for the first operation to be there.
    client.until("manage_operations", &json!({}), |answer| {
        answer["operations"].as_array().is_some_and(|all| !all.is_empty())
    });
    client.good("manage_operations", json!({"action": "cancel"}));
    client.until("manage_operations", &json!({}), |answer| answer["operations"][0]["status"] == "cancelled");
    for (tool, arguments) in [("search", json!({"query": "needle"})), ("search_content", json!({"pattern": "needle"}))]
    {
        let refused = client.bad(tool, arguments);
        assert!(refused.contains("manage_project with action refresh"), "{refused}");
    }
    assert_eq!(client.good("status", json!({}))["index"], json!(null));
}

/// Operations of one action, with their states.
fn states(answer: &Value, action: &str) -> Vec<String> {
    let operations = answer["operations"].as_array().unwrap().iter();
    let of_action = operations.filter(|operation| operation["action"] == action);
    of_action.map(|operation| operation["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_cancelled_before_it_has_begun_leaves_the_watcher_alone() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let mut client = tree.introduced(&[]);
    client.until_fresh();
    let held = tree.hold();
    let begin = |client: &mut Client, action: &str| {
        client.good("manage_project", json!({"action": action}))["operation_id"].clone()
    };
    let refresh = begin(&mut client, "refresh");
    client.until("manage_operations", &json!({}), |answer| states(answer, "refresh") == ["waiting"]);
    let reindex = begin(&mut client, "reindex");
    assert_eq!(begin(&mut client, "reindex"), reindex, "the same one that waits already");
    for operation in [&reindex, &refresh] {
        client.good("manage_operations", json!({"action": "cancel", "operation_id": operation}));
    }
    client.until("manage_operations", &json!({}), |answer| {
        states(answer, "reindex") == ["cancelled"] && states(answer, "refresh") == ["cancelled"]
    });
    assert_eq!(client.good("status", json!({}))["keeping"]["by"], "this_server");

    // The same for one that has begun, and waits for another run.
    let reindex = begin(&mut client, "reindex");
    client.until("manage_operations", &json!({}), |answer| states(answer, "reindex") == ["cancelled", "waiting"]);
    client.good("manage_operations", json!({"action": "cancel", "operation_id": reindex}));
    client.until("manage_operations", &json!({}), |answer| states(answer, "reindex") == ["cancelled", "cancelled"]);
    client.until("status", &json!({}), |status| status["keeping"]["by"] == "this_server");
    drop(held);
    tree.write("b.rs", "fn haystack() {}\n");
    client.until("search", &json!({"query": "haystack"}), |found| found["hits_shown"] == 1);
    assert_eq!(client.good("search", json!({"query": "needle"}))["hits_shown"], 1);
}

/// Searches go before whatever writes the index.
#[test]
#[cfg(target_os = "linux")]
fn the_threads_that_write_the_index_stand_back() {
    let tree = Tree::large();
    let mut client = tree.introduced(&[]);
    let nice = |pid: u32| -> Vec<(String, i32)> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let stat = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        stat.map(|stat| {
            let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
            (name.to_owned(), rest.split(' ').nth(16).unwrap().parse().unwrap())
        })
        .collect()
    };
    client.until_fresh();
    client.good("search", json!({"query": "a"}));
    let threads = nice(client.pid());
    // Names are cut to 15 bytes.
    let of = |name: &str| threads.iter().find(|(known, _)| *known == name[..name.len().min(15)]).map(|(_, nice)| *nice);
    // This test may stand back itself.
    let own = of("leindex-engine").unwrap();
    let back = Some((own + 10).min(19));
    assert_eq!((of("leindex-mcp-keep"), of("leindex-watch")), (back, back), "{threads:?}");
    let others =
        threads.iter().filter(|(name, _)| !"leindex-mcp-keep".starts_with(name) && name.starts_with("leindex-mcp"));
    assert!(others.clone().count() > 0 && others.clone().all(|(_, nice)| *nice == own), "{threads:?}");
}
