//! Several servers on one index, and one server on several projects.

use super::client::{PATIENCE, PAUSE, Tree, exists};
use leindex_engine::{Engine, WatchState};
use rustix::process::Signal;
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
fn the_second_server_uses_what_the_first_keeps_and_takes_over() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let mut first = tree.introduced(&[]);
    first.until_fresh();
    let mut second = tree.introduced(&[]);
    let status = second.until("status", &json!({}), |status| status["keeping"]["by"] == "another_process");
    assert_eq!(status["keeping"]["pid"], first.pid(), "{status}");
    assert_eq!(first.good("status", json!({}))["keeping"]["by"], "this_server");
    let started = second.good("manage_operations", json!({}));
    let said = started["operations"][0]["message"].as_str().unwrap().to_owned();
    assert!(said.contains(&first.pid().to_string()), "{said}");

    // Both find what only one of them indexes.
    tree.write("b.rs", "fn haystack() {}\n");
    for client in [&mut first, &mut second] {
        let found = client.until("search", &json!({"query": "haystack"}), |found| found["hits_shown"] == 1);
        assert_eq!(found["files"][0]["path"], "b.rs");
    }
    // Both may ask for a run.
    for client in [&mut first, &mut second] {
        let started = client.good("manage_project", json!({"action": "refresh"}));
        let id = started["operation_id"].clone();
        client.until("manage_operations", &json!({"operation_id": id}), |answer| {
            answer["operations"][0]["status"] == "completed"
        });
    }
    // But only who keeps it may throw it away.
    let refused = second.call("manage_project", json!({"action": "clear"}));
    let said = refused["structuredContent"]["message"].as_str().unwrap();
    assert!(refused["isError"] == true && said.contains(&format!("being watched by pid {}", first.pid())), "{refused}");

    first.signal(Signal::KILL);
    assert_eq!(first.wait(), None);
    second.until("status", &json!({}), |status| status["keeping"]["by"] == "this_server");
    tree.write("c.rs", "fn third() {}\n");
    second.until("search", &json!({"query": "third"}), |found| found["hits_shown"] == 1);
}

#[test]
fn definitions_are_extracted_beside_a_watcher_that_does_not() {
    let tree = Tree::with(&[("a.rs", "fn needle_in_a_haystack() {}\n")]);
    let mut watch = Command::new(env!("CARGO_BIN_EXE_leindex-engine"));
    watch.arg("watch").arg("--index-dir").arg(tree.index()).arg(tree.root());
    let mut watch = watch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let engine = Engine::builder().index_dir(tree.index()).open(tree.root()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while engine.freshness().state != WatchState::Current {
        assert!(Instant::now() < deadline, "nobody watches");
        std::thread::sleep(PAUSE);
    }
    let mut client = tree.introduced(&[]);
    client.until("status", &json!({}), |status| status["keeping"]["by"] == "another_process");
    // Beginnings are only found among what was extracted.
    let beginning = json!({"query": "needle_in*", "mode": "symbol"});
    client.until("search", &beginning, |found| found["hits_shown"] == 1);
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn set_path_switches_the_project_there_and_back() {
    let one = Tree::with(&[("one.rs", "fn first_tree() {}\n")]);
    let two = Tree::with(&[("two.rs", "fn second_tree() {}\n")]);
    let mut client = one.introduced(&[]);
    client.until_fresh();
    for (tree, query, path) in
        [(&two, "second_tree", "two.rs"), (&one, "first_tree", "one.rs"), (&two, "second_tree", "two.rs")]
    {
        client.good("manage_project", json!({"action": "set_path", "path": tree.root()}));
        let found = client.until("search", &json!({"query": query}), |found| found["hits_shown"] == 1);
        assert_eq!(found["files"][0]["path"], path);
        client.until_fresh();
        assert_eq!(client.good("status", json!({}))["root"], tree.root().to_str().unwrap());
    }
    // The same project again is a refresh, and leaves the watcher alone.
    let again = client.good("manage_project", json!({"action": "set_path", "path": two.root()}));
    client.until("manage_operations", &json!({"operation_id": again["operation_id"]}), |answer| {
        answer["operations"][0]["status"] == "completed"
    });
    assert_eq!(client.good("status", json!({}))["keeping"]["by"], "this_server");
    // The index of a tree that is not the one of the command line lies in that tree.
    assert!(exists(&two.root().join(".leindex-engine")) && !exists(&one.root().join(".leindex-engine")));
}

#[test]
fn an_index_is_thrown_away_and_built_anew() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let mut client = tree.introduced(&[]);
    client.until_fresh();
    let before = client.good("search", json!({"query": "needle"}))["generation"].as_u64().unwrap();

    let cleared = client.good("manage_project", json!({"action": "clear"}));
    assert_eq!((&cleared["status"], &cleared["success"]), (&json!("completed"), &json!(true)));
    let refused = client.bad("search", json!({"query": "needle"}));
    assert!(refused.contains("manage_project with action refresh"), "{refused}");
    let status = client.good("status", json!({}));
    assert_eq!((&status["index"], &status["keeping"]["by"]), (&json!(null), &json!("nobody")));

    client.good("manage_project", json!({"action": "refresh"}));
    client.until("search", &json!({"query": "needle"}), |found| found["hits_shown"] == 1);
    client.until_fresh();
    client.good("manage_project", json!({"action": "reindex"}));
    client.until("manage_operations", &json!({}), |answer| {
        answer["operations"].as_array().unwrap().iter().all(|operation| operation["status"] == "completed")
    });
    client.until_fresh();
    let after = client.good("search", json!({"query": "needle"}));
    assert_eq!(after["hits_shown"], 1);
    assert!(after["generation"].as_u64().unwrap() <= before, "it began from nothing: {after}");

    let reset = client.good("manage_project", json!({"action": "reset"}));
    assert_eq!(reset["status"], "completed");
    let refused = client.bad("status", json!({}));
    assert!(refused.contains("set_path"), "{refused}");
}

#[test]
fn without_watching_changes_are_taken_up_when_asked_for() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}\n")]);
    let mut client = tree.introduced(&["--no-watch"]);
    client.until("search", &json!({"query": "needle"}), |found| found["hits_shown"] == 1);
    let status = client.until("status", &json!({}), |status| status["keeping"]["by"] == "nobody");
    assert!(status["keeping"]["says"].as_str().unwrap().contains("refresh"), "{status}");
    assert_eq!(status["freshness"]["state"], "unwatched");
    tree.write("b.rs", "fn haystack() {}\n");
    assert_eq!(client.good("search", json!({"query": "haystack"}))["hits_shown"], 0);
    client.good("manage_project", json!({"action": "refresh"}));
    client.until("search", &json!({"query": "haystack"}), |found| found["hits_shown"] == 1);
}
