//! Every tool and resource, with good arguments and bad ones.

use super::client::{Client, Tree, text};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

const MAIN: &str =
    "use std::fmt;\n\nfn main() {\n    spin_lock(&a[i]);\n    foo.bar();\n}\n\nstruct Lock {\n    held: bool,\n}\n";

fn tree() -> Tree {
    let tree = Tree::with(&[
        ("src/main.rs", MAIN),
        ("src/lock.c", "int spin_lock(int *lock);\nint spinLock(void);\n// Spin_Lock\n"),
        ("docs/Guide.md", "The spin lock.\n"),
        (".gitignore", "*.log\n"),
        ("build.log", "spin_lock\n"),
    ]);
    tree.write("image.bin", b"\0\x01spin_lock");
    fs::create_dir(tree.root().join(".git")).unwrap();
    tree
}

fn served(tree: &Tree) -> Client {
    let mut client = tree.introduced(&["--no-watch"]);
    client.until("status", &json!({}), |status| status["keeping"]["by"] == "nobody");
    client
}

/// Paths and lines of `search`.
fn places(answer: &Value) -> Vec<(String, u64)> {
    let files = answer["files"].as_array().unwrap();
    let of = |file: &Value| {
        let path = file["path"].as_str().unwrap().to_owned();
        let hits = file["hits"].as_array().unwrap().clone();
        hits.into_iter().map(move |hit| (path.clone(), hit["line"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    let mut places: Vec<_> = files.iter().flat_map(of).collect();
    places.sort();
    places
}

#[test]
fn search_finds_in_every_mode_and_says_what_it_cut() {
    let tree = tree();
    let mut client = served(&tree);
    let lock = ("src/lock.c".to_owned(), 1);
    let main = ("src/main.rs".to_owned(), 4);
    let found = client.good("search", json!({"query": "spin_lock", "mode": "substring"}));
    assert_eq!(places(&found), [lock.clone(), main.clone()]);
    assert_eq!(
        (&found["truncated"], &found["how_to_get_the_rest"], &found["hits_found"]),
        (&json!(false), &json!(null), &json!(2))
    );
    assert_eq!((&found["generation"], &found["complete"]), (&json!(1), &json!(true)));
    assert_eq!(found["freshness"]["state"], "unwatched");

    let found = client.good("search", json!({"query": "SPIN_LOCK", "mode": "substring", "case_insensitive": "true"}));
    assert_eq!(found["hits_shown"], 3);
    let found =
        client.good("search", json!({"query": r"spin_\w+\(&", "mode": "regex", "languages": ["rust"], "context": 1}));
    assert_eq!(places(&found), [main]);
    let hit = &found["files"][0]["hits"][0];
    assert_eq!((&hit["before"], &hit["after"]), (&json!(["fn main() {"]), &json!(["    foo.bar();"])));
    let found = client.good("search", json!({"query": "spin_lock", "globs": ["*.c", "!docs"], "limit": "1"}));
    assert_eq!(places(&found), [lock]);
    let found = client.good("search", json!({"query": "Lock", "mode": "symbol"}));
    assert_eq!(found["files"][0]["hits"][0]["symbol"]["kind"], "struct", "{found}");

    for mode in ["semantic", "hybrid"] {
        // Vectors trail the text.
        let question = json!({"query": "acquire a lock", "mode": mode, "limit": 1});
        let found = client.until("search", &question, |found| found["not_embedded"] == 0 && found["hits_shown"] == 1);
        assert!(found["files"][0]["hits"][0]["line"].as_u64().is_some(), "{found}");
    }

    let result = client.call("search", json!({"query": "spin_lokc"}));
    assert_eq!(result["structuredContent"]["did_you_mean"], json!(["spin_lock"]), "{result}");
    assert!(text(&result).contains("did you mean: spin_lock\n"), "{result}");

    tree.write("many.txt", "common line here\n".repeat(100));
    tree.write("more.txt", "common line here\n".repeat(100));
    client.good("manage_project", json!({"action": "refresh"}));
    let ask = |extra: Value| {
        let mut arguments = json!({"query": "common line", "mode": "substring"});
        arguments.as_object_mut().unwrap().append(&mut extra.as_object().unwrap().clone());
        arguments
    };
    let found = client.until("search", &ask(json!({})), |found| found["hits_shown"] == 16);
    assert_eq!((&found["truncated"], &found["hits_found_is_lower_bound"]), (&json!(true), &json!(true)));
    let rest = |found: &Value| found["how_to_get_the_rest"].as_str().unwrap_or_default().to_owned();
    assert!(rest(&found).contains("per_file") && rest(&found).contains("2 files have more"), "{found}");
    let found = client.good("search", ask(json!({"per_file": 0, "limit": 50})));
    assert!(found["hits_shown"] == 50 && rest(&found).contains("raise limit (now 50)"), "{found}");
    let result = client.call("search", ask(json!({"per_file": 0, "limit": 1000, "token_budget": 300})));
    let found = &result["structuredContent"];
    assert!(text(&result).len() <= 1200, "{}", text(&result).len());
    assert!(found["hits_found"] == 200 && rest(found).contains("token_budget (now 300)"), "{found}");
    assert!(text(&result).contains("CUT: ") && text(&result).contains("generation "), "{result}");
    let found = client.good("search", ask(json!({"per_file": 0, "limit": 1000, "token_budget": 50000})));
    assert_eq!((&found["hits_shown"], &found["truncated"]), (&json!(200), &json!(false)));
}

#[test]
fn search_refuses_with_the_next_step() {
    let tree = tree();
    let mut client = served(&tree);
    for (arguments, part) in [
        (json!({}), "query: is missing"),
        (json!({"query": ""}), "is empty"),
        (json!({"query": 7}), "expected a string"),
        (json!({"query": "(", "mode": "regex"}), "no regular expression"),
        (json!({"query": "x", "mode": "telepathy"}), "text, substring, regex"),
        (json!({"query": "x", "limit": 0}), "from 1 to 1000"),
        (json!({"query": "x", "context": -1}), "whole number"),
        (json!({"query": "x", "globs": ["["]}), "["),
        (json!({"query": "x", "languages": ["klingon"]}), "languages: \"klingon\" is not a language: status"),
        (json!({"query": "a\nb", "mode": "substring"}), "a hit is one line"),
        (json!({"query": "x", "globs": {"a": 1}}), "array of strings"),
    ] {
        let refused = client.bad("search", arguments.clone());
        assert!(refused.contains(part), "{arguments}: {refused}");
    }
    // What nobody knows is passed over.
    client.good("search", json!({"query": "spin_lock", "nobody": {"knows": ["this"]}}));
}

#[test]
fn search_content_pages_through_lines_paths_and_ranks() {
    let tree = tree();
    let mut client = served(&tree);
    let paths = |answer: &Value| -> Vec<String> {
        let results = answer["results"].as_array().unwrap();
        results.iter().map(|result| result["file_path"].as_str().unwrap().to_owned()).collect()
    };
    let found = client.good("search_content", json!({"action": "search", "pattern": "spin_lock", "context_lines": 1}));
    assert_eq!(
        (&found["total"], &found["has_more"], &found["total_is_lower_bound"]),
        (&json!(2), &json!(false), &json!(false))
    );
    let main = found["results"].as_array().unwrap().iter().find(|result| result["file_path"] == "src/main.rs").unwrap();
    assert_eq!(
        (&main["line_number"], &main["column"], &main["content"]),
        (&json!(4), &json!(5), &json!("    spin_lock(&a[i]);"))
    );
    assert_eq!(
        (&main["context_before"], &main["context_after"]),
        (&json!(["fn main() {"]), &json!(["    foo.bar();"]))
    );
    assert_eq!((&main["score"], &found["generation"]), (&json!(1.0), &json!(1)));

    // A pattern that is a regular expression, and means itself.
    let found = client.good("search_content", json!({"pattern": "a[i]"}));
    assert_eq!((&found["interpreted_as"], found["total"].as_u64() >= Some(1)), (&json!("regex or literal"), true));
    assert!(paths(&found).contains(&"src/main.rs".to_owned()), "{found}");
    let found = client.good("search_content", json!({"pattern": "foo.bar()"}));
    assert_eq!((&found["interpreted_as"], &found["total"]), (&json!("literal"), &json!(1)));
    let found = client
        .good("search_content", json!({"pattern": "SPIN_LOCK", "case_sensitive": "false", "file_pattern": "*.c"}));
    assert_eq!(found["total"], 2);

    // Page by page, nothing twice and nothing missing.
    let mut seen = Vec::new();
    for page in 1..=4 {
        let found = client.good("search_content", json!({"pattern": "spin", "page": page.to_string(), "page_size": 1}));
        assert_eq!(found["has_more"], page < 4, "{found}");
        assert_eq!(found["how_to_get_the_rest"].is_string(), page < 4);
        seen.extend(found["results"].as_array().unwrap().clone());
    }
    let places: BTreeSet<String> =
        seen.iter().map(|hit| format!("{}:{}", hit["file_path"], hit["line_number"])).collect();
    assert_eq!((seen.len(), places.len()), (4, 4), "{places:?}");

    let find = |client: &mut Client, arguments: Value| {
        let mut all = json!({"action": "find"});
        all.as_object_mut().unwrap().append(&mut arguments.as_object().unwrap().clone());
        paths(&client.good("search_content", all))
    };
    assert_eq!(find(&mut client, json!({"pattern": "main"})), ["src/main.rs"]);
    assert_eq!(find(&mut client, json!({"pattern": "*.rs"})), ["src/main.rs"]);
    assert_eq!(find(&mut client, json!({"pattern": "guide"})), [""; 0]);
    assert_eq!(find(&mut client, json!({"pattern": "guide", "case_sensitive": false})), ["docs/Guide.md"]);
    assert_eq!(find(&mut client, json!({"pattern": "sclk", "fuzzy": true})), ["src/lock.c"]);
    assert_eq!(find(&mut client, json!({"pattern": "src/", "file_pattern": "*.c"})), ["src/lock.c"]);
    assert_eq!(find(&mut client, json!({"pattern": ".log"})), [""; 0], "ignored");
    // Globs mean what they mean elsewhere.
    let of = |client: &mut Client, globs: Value| find(client, json!({"pattern": "c", "file_pattern": globs}));
    assert_eq!(of(&mut client, json!(["*.c", "*.rs"])), ["src/lock.c", "src/main.rs"]);
    assert_eq!(of(&mut client, json!(["src/", "!*.rs"])), ["src/lock.c"]);
    assert_eq!(find(&mut client, json!({"pattern": "s*c/"})), ["src/lock.c", "src/main.rs"]);

    for arguments in [
        json!({"action": "rank", "query": "spin lock"}),
        json!({"pattern": "spin lock", "fuzzy": true, "fuzziness_level": "2"}),
    ] {
        let found = client.good("search_content", arguments);
        assert_eq!(found["total"], 3, "{found}");
        let scores: Vec<_> =
            found["results"].as_array().unwrap().iter().map(|result| result["score"].as_f64()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    }
    for (arguments, part) in [
        (json!({"action": "destroy", "pattern": "x"}), "search, find, rank"),
        (json!({"action": "search"}), "pattern: is missing"),
        (json!({"pattern": "(", "regex": true}), "no regular expression"),
        (json!({"pattern": "x", "page": 1000, "page_size": 1000}), "file_pattern"),
        (json!({"action": "find", "pattern": "["}), "a glob is not valid"),
        (json!({"action": "find", "pattern": "x", "file_pattern": "["}), "a glob is not valid"),
        (json!({"pattern": "a\nb"}), "a hit is one line"),
        (json!({"pattern": "a\\nb", "regex": true}), "a hit is one line"),
    ] {
        let refused = client.bad("search_content", arguments.clone());
        assert!(refused.contains(part), "{arguments}: {refused}");
    }
}

#[test]
fn a_hit_of_a_long_line_shows_its_match() {
    let tree = tree();
    tree.write("min.js", format!("{} needle {}\n", "ab;".repeat(50_000), "cd;".repeat(50_000)));
    let mut client = served(&tree);
    client.good("manage_project", json!({"action": "refresh"}));
    for mode in ["text", "substring"] {
        let found = client.until("search", &json!({"query": "needle", "mode": mode}), |found| found["hits_shown"] == 1);
        let hit = &found["files"][0]["hits"][0];
        assert_eq!((&hit["column"], &hit["text_is_cut"]), (&json!(150_002), &json!(true)), "{hit}");
        let text = hit["text"].as_str().unwrap();
        assert!(text.contains("ab; needle cd;") && text.len() < 260, "{hit}");
    }
    let hit = client.good("search_content", json!({"pattern": "needle"}))["results"][0].clone();
    let content = hit["content"].as_str().unwrap();
    assert!(content.contains("ab; needle cd;") && content.len() < 1020 && hit["content_is_cut"] == true, "{hit}");
}

#[test]
fn pages_of_ranked_results_are_of_one_order() {
    let tree = tree();
    for file in 0..300 {
        let text = format!("{}needle\n{}", "other words\n".repeat(file % 17), "needle\n".repeat(file % 5));
        tree.write(&format!("many/f{file}.c"), text);
    }
    let mut client = served(&tree);
    let paths = |client: &mut Client, page: usize, size: usize| -> Vec<String> {
        let asked = json!({"action": "rank", "pattern": "needle", "page": page, "page_size": size});
        let found = client.good("search_content", asked);
        let results = found["results"].as_array().unwrap();
        results.iter().map(|result| result["file_path"].as_str().unwrap().to_owned()).collect()
    };
    let all = paths(&mut client, 1, 250);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 250);
    let paged: Vec<_> = (1..=25).flat_map(|page| paths(&mut client, page, 10)).collect();
    assert_eq!(paged, all);
    // Far down there are fewer lines around each hit, and that is said.
    let asked = json!({"pattern": "needle", "page": 20, "page_size": 1000, "context_lines": 50});
    assert_eq!(client.good("search_content", asked)["context_lines"], 1);
    let found = client.good("search_content", json!({"pattern": "(?x)needle #x", "page_size": 1}));
    assert_eq!((&found["interpreted_as"], &found["total"]), (&json!("literal"), &json!(0)));
    let found = client.good("search_content", json!({"pattern": "needle\\n"}));
    assert_eq!((&found["interpreted_as"], &found["total"]), (&json!("literal"), &json!(0)));
}

#[test]
fn read_file_gives_lines_windows_and_facts() {
    let tree = tree();
    tree.write("long.txt", (1..=1000).map(|line| format!("line {line}\n")).collect::<String>());
    let mut client = served(&tree);
    let result = client.call("read_file", json!({"file_path": "src/main.rs", "start_line": 3, "end_line": "4"}));
    let read = &result["structuredContent"];
    assert_eq!(read["content"], "3\tfn main() {\n4\t    spin_lock(&a[i]);\n");
    assert_eq!(serde_json::from_str::<Value>(&text(&result)).unwrap(), *read);
    assert_eq!((&read["total_lines"], &read["truncated"], &read["end_line"]), (&json!(10), &json!(false), &json!(4)));

    let read = client.good("read_file", json!({"file_path": "long.txt", "max_bytes": 100}));
    assert_eq!(read["truncated"], true);
    let next = read["end_line"].as_u64().unwrap() + 1;
    let rest = read["how_to_get_the_rest"].as_str().unwrap();
    assert!(rest.ends_with(&format!("start_line {next}")), "{rest}");
    let read = client.good("read_file", json!({"file_path": "long.txt", "start_line": next, "end_line": next}));
    assert!(read["content"].as_str().unwrap().ends_with(&format!("line {next}\n")));

    let read =
        client.good("read_file", json!({"mode": "chunks", "file_path": "long.txt", "chunk": 3, "chunk_lines": 400}));
    assert_eq!((&read["chunks"], &read["start_line"], &read["end_line"]), (&json!(3), &json!(801), &json!(1000)));
    let absolute = tree.root().join("src/main.rs");
    let read = client.good("read_file", json!({"mode": "metadata", "file_path": absolute}));
    assert_eq!((&read["size"], &read["index"]["language"]), (&json!(MAIN.len()), &json!("rust")));
    assert_eq!((&read["is_as_indexed"], &read["file_path"]), (&json!(true), &json!("src/main.rs")));
    tree.write("src/main.rs", "changed");
    let read = client.good("read_file", json!({"mode": "metadata", "file_path": "src/main.rs"}));
    assert_eq!(read["is_as_indexed"], false, "{read}");
    let read = client.good("read_file", json!({"mode": "metadata", "file_path": "image.bin"}));
    assert_eq!((&read["index"]["binary"], &read["index"]["searchable"]), (&json!(true), &json!(false)));

    tree.write("latin1.txt", b"caf\xe9\r\nb");
    let read = client.good("read_file", json!({"file_path": "latin1.txt"}));
    assert_eq!(read["content"], "1\tcafé\n2\tb\n");
    let raw = client.request("resources/read", json!({"uri": "files://latin1.txt"}));
    assert_eq!(raw["result"]["contents"][0]["text"], "café\r\nb");
    tree.write("large.txt", "ä".repeat(1 << 20));
    let raw = client.request("resources/read", json!({"uri": "files://large.txt"}));
    let raw = raw["result"]["contents"][0]["text"].as_str().unwrap();
    assert!(raw.starts_with(&"ä".repeat(1 << 19)) && raw[1 << 20..].contains("read_file"), "{}", &raw[1 << 20..]);
    tree.write("huge.txt", "0123456789abcde\n".repeat(1 << 20));
    let read = client.good("read_file", json!({"file_path": "huge.txt", "end_line": 2}));
    assert_eq!((&read["end_line"], &read["total_lines_is_lower_bound"]), (&json!(2), &json!(true)));
    assert!(read["total_lines"].as_u64().unwrap() < 1 << 20, "{read}");
    mkfifoat(CWD, tree.root().join("fifo"), Mode::RUSR | Mode::WUSR).unwrap();

    for (arguments, part) in [
        (json!({"file_path": "fifo"}), "no regular file"),
        (json!({"file_path": "missing.rs"}), "No such file"),
        (json!({"file_path": "src"}), "directory"),
        (json!({"file_path": "image.bin"}), "binary file"),
        (json!({"file_path": "long.txt", "start_line": 2000}), "1000 lines"),
        (json!({"file_path": "long.txt", "start_line": 9, "end_line": 3}), "comes before"),
        (json!({"file_path": "long.txt", "mode": "chunks", "chunk": 99}), "windows"),
        (json!({"file_path": "long.txt", "mode": "backwards"}), "smart, chunks, metadata"),
        (json!({"mode": "smart"}), "file_path: is missing"),
    ] {
        let refused = client.bad("read_file", arguments.clone());
        assert!(refused.contains(part), "{arguments}: {refused}");
    }
}

#[test]
fn paths_outside_of_the_root_are_refused_by_everything_that_takes_one() {
    let tree = tree();
    fs::write(tree.outside().join("secret"), "what nobody may read").unwrap();
    symlink("../secret", tree.root().join("link")).unwrap();
    symlink("..", tree.root().join("up")).unwrap();
    let mut client = served(&tree);
    let outside = tree.outside().join("secret");
    for path in ["../secret", "src/../../secret", "/etc/passwd", outside.to_str().unwrap(), "link", "up/secret", "a\0b"]
    {
        for (tool, name) in [("read_file", "file_path"), ("outline", "path"), ("explain", "path")] {
            if (tool, path) == ("explain", "link") {
                // It lies within, and is not followed.
                continue;
            }
            let refused = client.bad(tool, json!({name: path}));
            assert!(refused.contains("give a path inside of"), "{tool} {path:?}: {refused}");
        }
        let answer = client.request("resources/read", json!({"uri": format!("files://{path}")}));
        assert!(answer["error"].is_object() || path.starts_with('/'), "{path:?}: {answer}");
        let said = answer.to_string();
        assert!(!said.contains("root:x:") && !said.contains("what nobody may read"), "{answer}");
    }
    for path in ["%2e%2e%2fsecret", "..%2Fsecret", "link", "up/secret", "src/main.rs%00"] {
        let answer = client.request("resources/read", json!({"uri": format!("files://{path}")}));
        assert!(answer["error"]["message"].is_string(), "{path}: {answer}");
    }
}

#[test]
fn outline_explain_and_status_say_what_they_know() {
    let tree = tree();
    let mut client = served(&tree);
    let result = client.call("outline", json!({"path": "src/main.rs"}));
    assert!(text(&result).contains("  3-6 function main\n"), "{}", text(&result));
    let outline = &result["structuredContent"];
    assert_eq!((&outline["total"], &outline["symbols"][1]["name"]), (&json!(2), &json!("Lock")));
    let outline = client.good("outline", json!({"path": "src/main.rs", "limit": 1}));
    assert_eq!(
        (&outline["truncated"], &outline["how_to_get_the_rest"]),
        (&json!(true), &json!("skip 1 gives the next ones"))
    );
    assert!(client.bad("outline", json!({"path": "docs/Guide.md"})).contains("no grammar"));

    let explained = client.good("explain", json!({"path": "build.log"}));
    assert_eq!(
        (&explained["accepted"], &explained["rule"], &explained["in_index"]),
        (&json!(false), &json!(".gitignore:1:*.log"), &json!(false))
    );
    let explained = client.good("explain", json!({"path": "src/main.rs"}));
    assert_eq!(
        (&explained["accepted"], &explained["searchable"], &explained["next"]),
        (&json!(true), &json!(true), &json!(null))
    );
    tree.write("new.rs", "fn new() {}");
    let explained = client.good("explain", json!({"path": "new.rs"}));
    assert_eq!(
        (&explained["in_index"], &explained["next"]),
        (&json!(false), &json!("manage_project refresh has it indexed"))
    );
    assert!(client.bad("explain", json!({})).contains("path: is missing"));

    let status = client.good("status", json!({}));
    assert_eq!(status["index"]["files"], json!({"indexed": 4, "binary": 1, "too_large": 0}), "{status}");
    assert_eq!(status["index"]["languages"]["rust"], 1);
    let root = json!(tree.root());
    for (tool, arguments) in [
        ("search", json!({"query": "x"})),
        ("search_content", json!({"pattern": "x"})),
        ("read_file", json!({"file_path": "src/main.rs"})),
        ("outline", json!({"path": "src/main.rs"})),
        ("explain", json!({"path": "x"})),
        ("status", json!({})),
    ] {
        assert_eq!(client.good(tool, arguments)["root"], root, "{tool}");
    }
}

#[test]
fn diagnostics_tell_what_is_so() {
    let tree = tree();
    let mut client = served(&tree);
    let of = |client: &mut Client, kind: &str| {
        let answer = client.good("get_diagnostics", json!({"type": kind}));
        assert_eq!(answer["type"], kind);
        answer["data"].clone()
    };
    assert!(of(&mut client, "memory")["resident_bytes"].as_u64().is_none_or(|bytes| bytes > 1 << 20));
    assert_eq!(of(&mut client, "index")["files"]["indexed"], 4);
    let backend = of(&mut client, "backend");
    assert!(["uring", "threads"].contains(&backend["used_by_the_last_run"]["name"].as_str().unwrap()), "{backend}");
    client.good("search", json!({"query": "spin_lock"}));
    let performance = of(&mut client, "performance");
    assert_eq!(performance["last_run"]["files"]["indexed"], 4, "{performance}");
    assert!(performance["calls"]["calls"].as_u64().unwrap() >= 1 && performance["calls"]["p50_ms"].is_number());
    assert_eq!(of(&mut client, "operations")["operations"][0]["status"], "completed");
    assert_eq!(of(&mut client, "settings")["root"], tree.root().to_str().unwrap());
    let ignore = of(&mut client, "ignore");
    assert_eq!(ignore["last_run"]["first_ignored_by"], ".gitignore:1:*.log", "{ignore}");
    assert_eq!(of(&mut client, "filtering")["binary"], 1);
    assert!(of(&mut client, "ranking")["words"].as_str().unwrap().contains("BM25"));
    assert!(client.bad("get_diagnostics", json!({"type": "horoscope"})).contains("memory"));
    assert!(client.bad("manage_project", json!({"action": "explode"})).contains("set_path, refresh"));
    assert!(client.bad("manage_project", json!({})).contains("action: is missing"));
}

#[test]
fn resources_are_listed_and_read() {
    let tree = tree();
    let mut client = served(&tree);
    let listed = client.request("resources/list", json!({}))["result"]["resources"].clone();
    let uris: Vec<_> = listed.as_array().unwrap().iter().map(|resource| resource["uri"].as_str().unwrap()).collect();
    assert_eq!(uris, ["structure://project", "settings://stats"]);
    let templates = client.request("resources/templates/list", json!({}))["result"]["resourceTemplates"].clone();
    assert_eq!(templates[0]["uriTemplate"], "files://{+path}");
    let mut read = |uri: &str| {
        let answer = client.request("resources/read", json!({"uri": uri}));
        let content = &answer["result"]["contents"][0];
        assert_eq!(content["uri"], uri, "{answer}");
        content["text"].as_str().unwrap().to_owned()
    };
    for uri in ["files://src/main.rs", "files:///src/main.rs", "files://src%2Fmain.rs"] {
        assert_eq!(read(uri), MAIN);
    }
    let structure: Value = serde_json::from_str(&read("structure://project")).unwrap();
    assert_eq!((&structure["files"], &structure["generation"]), (&json!(5), &json!(1)), "{structure}");
    let dirs = structure["directories"].as_array().unwrap();
    assert!(dirs.iter().any(|dir| dir["path"] == "src" && dir["files"] == 2), "{structure}");
    let stats: Value = serde_json::from_str(&read("settings://stats")).unwrap();
    assert_eq!(stats["root"], tree.root().to_str().unwrap());
    for uri in ["files://missing", "structure://other", "http://example.org/", "", "files://"] {
        let answer = client.request("resources/read", json!({"uri": uri}));
        assert!(answer["error"]["message"].is_string(), "{uri}: {answer}");
    }
}
