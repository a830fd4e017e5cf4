//! Which files match and how often, in which order, and what a query without hits may have meant.
#![allow(clippy::unwrap_used)]

mod support;

use leindex_engine::{FileMatches, Mode, Query, Snapshot, Sort};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use support::{Place, Random, Vocabulary};

fn indexed(place: &Place) -> Snapshot {
    let engine = place.engine();
    support::run(&engine);
    engine.snapshot().unwrap()
}

fn counts(found: &FileMatches) -> Vec<(String, u64)> {
    found.files.iter().map(|file| (file.path.to_str().unwrap().to_owned(), file.lines)).collect()
}

#[test]
fn counts_are_those_of_the_hits() {
    let place = Place::new();
    let (mut random, vocabulary) = (Random(3), Vocabulary::new(300));
    for n in 0..200 {
        place.write(format!("d{}/f{n}", n % 7), vocabulary.text(&mut random, 60));
    }
    let snapshot = indexed(&place);
    for query in vocabulary.queries(&mut random, 48) {
        let query = query.limit(0);
        let hits = snapshot.search(&query).unwrap();
        let files = snapshot.matching_files(&query).unwrap();
        assert_eq!((files.generation, &files.plan), (hits.generation, &hits.plan));
        let mut expect: BTreeMap<PathBuf, u64> = BTreeMap::new();
        hits.hits.iter().for_each(|hit| *expect.entry(hit.path.clone()).or_default() += 1);
        let found: BTreeMap<PathBuf, u64> = files.files.iter().map(|file| (file.path.clone(), file.lines)).collect();
        let is_text = format!("{query:?}").contains("mode: Text");
        if is_text {
            assert!(found.keys().eq(expect.keys()) && files.lines() >= hits.hits.len() as u64, "{query:?}");
            let ranked = files.files.iter().map(|file| (&file.path, file.score));
            assert!(ranked.eq(hits.hits.iter().map(|hit| (&hit.path, hit.score))), "{query:?}");
        } else {
            assert_eq!(found, expect, "{query:?}");
            assert!(files.files.is_sorted_by(|a, b| a.path < b.path), "{query:?}");
        }
        let first = snapshot.matching_files(&query.clone().per_file(1)).unwrap();
        assert!(first.files.iter().all(|file| file.lines == 1));
        assert_eq!(first.files.len(), files.files.len(), "{query:?}");
    }
}

#[test]
fn a_limit_counts_files() {
    let place = Place::new();
    for n in 0..100 {
        place.write(format!("f{n:02}"), "needle\nneedle\nno\n");
    }
    let snapshot = indexed(&place);
    for query in [Query::text("needle"), Query::substring("needle"), Query::regex("^needle")] {
        for (limit, files, truncated) in [(0, 100, false), (7, 7, true), (99, 99, true), (100, 100, false)] {
            let found = snapshot.matching_files(&query.clone().limit(limit)).unwrap();
            assert_eq!((found.files.len(), found.truncated, found.lines()), (files, truncated, 2 * files as u64));
        }
    }
}

#[test]
fn files_come_in_the_order_asked_for() {
    let place = Place::new();
    // By name, by time and by score these are three orders; a name ends before a slash.
    let files = [("a/z", 3, 1), ("a.c", 4, 3), ("a-b", 0, 2), ("b", 2, 5), ("B", 1, 4)];
    for (name, age, times) in files {
        place.write(name, "needle ".repeat(times) + &"hay ".repeat(20) + "\n");
        let file = std::fs::File::options().write(true).open(place.root().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(1000 * (age + 1))).unwrap();
    }
    let snapshot = indexed(&place);
    let by_path = ["B", "a/z", "a-b", "a.c", "b"];
    let ranked = snapshot.search(&Query::text("needle")).unwrap().hits;
    assert!(ranked.is_sorted_by(|a, b| a.score >= b.score) && ranked[0].score > ranked[4].score, "{ranked:?}");
    let best_first: Vec<&str> = ranked.iter().map(|hit| hit.path.to_str().unwrap()).collect();
    let mut by_age: Vec<_> = files.iter().map(|&(name, age, _)| (std::cmp::Reverse(age), name)).collect();
    by_age.sort_unstable();
    let by_age: Vec<&str> = by_age.into_iter().map(|(_, name)| name).collect();
    for mode in [Mode::Text, Mode::Substring, Mode::Regex] {
        let check = |by: Sort, expect: &[&str]| {
            for reverse in [false, true] {
                let query = Query::new(mode, "needle").sort(by, reverse);
                let mut expect: Vec<String> = expect.iter().map(|&name| name.to_owned()).collect();
                if reverse {
                    expect.reverse();
                }
                let paths = |query: &Query| -> Vec<String> {
                    let hits = snapshot.search(query).unwrap().hits;
                    hits.into_iter().map(|hit| hit.path.to_str().unwrap().to_owned()).collect()
                };
                assert_eq!(paths(&query), expect, "{query:?}");
                let files = snapshot.matching_files(&query).unwrap();
                assert_eq!(counts(&files).into_iter().map(|(path, _)| path).collect::<Vec<_>>(), expect, "{query:?}");
                if mode != Mode::Text {
                    assert_eq!(paths(&query.limit(2)), expect[..2], "a limit keeps the first ones");
                }
            }
        };
        check(Sort::Path, &by_path);
        check(Sort::Modified, &by_age);
        if mode == Mode::Text {
            check(Sort::Score, &best_first);
            let best_two = snapshot.search(&Query::new(mode, "needle").sort(Sort::Path, false).limit(2)).unwrap();
            let best_two: Vec<_> = best_two.hits.iter().map(|hit| hit.path.to_str().unwrap()).collect();
            let mut expect = best_first[..2].to_vec();
            expect.sort_by(|a, b| std::path::Path::new(a).cmp(std::path::Path::new(b)));
            assert_eq!(best_two, expect, "the best ones, sorted");
        }
    }
}

#[test]
fn smart_case_looks_at_the_pattern() {
    let place = Place::new();
    place.write("f", "Needle\nneedle\n");
    let snapshot = indexed(&place);
    for (query, hits) in [
        (Query::substring("needle"), 2),
        (Query::substring("Needle"), 1),
        (Query::regex(r"needl\w"), 2),
        (Query::regex(r"Needl\w"), 1),
    ] {
        assert_eq!(snapshot.search(&query.smart_case()).unwrap().hits.len(), hits);
    }
}

#[test]
fn a_slip_of_the_keyboard_is_found() {
    let place = Place::new();
    for n in 0..9 {
        place.write(format!("c{n}.c"), "schedule_timeout(timeout);\nstruct spin_lock take; int foo;\n");
    }
    place.write("one.js", "scheduleTimeout; timeuat; Schedule SERVER_NAME\n");
    let snapshot = indexed(&place);
    let check = |query: Query, expect: &[&str]| {
        assert!(snapshot.search(&query).unwrap().hits.is_empty(), "{query:?}");
        assert_eq!(snapshot.suggest(&query).unwrap(), expect, "{query:?}");
    };
    check(Query::text("schedule_timeuot"), &["schedule_timeout"]);
    check(Query::text("timeuot"), &["timeout", "timeuat"]);
    check(Query::text("shcedule_timeotu"), &["schedule_timeout"]);
    check(Query::text("scheduleTimeotu"), &["scheduleTimeout"]);
    check(Query::text("SERVR_NAME"), &["SERVER_NAME"]);
    check(Query::substring("SERVR_NAM"), &["SERVER_NAM"]);
    check(Query::substring("schedule_timeuot("), &["schedule_timeout("]);
    check(Query::substring("chedule_timeuot("), &["chedule_timeout("]);
    check(Query::regex(r"schedule_timeuot\(\w+"), &[r"schedule_timeout\(\w+"]);
    check(Query::regex(r"struct\s+spni_lock"), &[r"struct\s+spin_lock"]);
    check(Query::text("tiemuat"), &["timeuat"]);
    // Others make the same mistake: what is rare is suspected.
    check(Query::substring("schedule_timeuat"), &["schedule_timeout"]);
    check(Query::text("zzyzxzz"), &[]);
    check(Query::text("qqq"), &[]);
    check(Query::text("\"schedule the timeuot\""), &[]);
    // What the filters leave no hit of is not suggested.
    check(Query::text("timeuot").path_glob("*.c"), &["timeout"]);
    check(Query::text("timeuot").path_glob("*.md"), &[]);
}

/// Letters more, less, other or swapped with their neighbour, by the whole table.
fn slips(a: &[u8], b: &[u8]) -> usize {
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let other = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            table[i][j] = other.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                table[i][j] = table[i][j].min(table[i - 2][j - 2] + 1);
            }
        }
    }
    table[a.len()][b.len()]
}

/// Every suggestion is near to what was typed, made of words that the index holds, and has hits.
#[test]
fn suggestions_are_near_and_have_hits() {
    let place = Place::new();
    let (mut random, vocabulary) = (Random(8), Vocabulary::new(400));
    for n in 0..60 {
        place.write(format!("f{n}"), vocabulary.text(&mut random, 100));
    }
    let snapshot = indexed(&place);
    let mut suggested = 0;
    for _ in 0..200 {
        let mut typed = vocabulary.word(&mut random).as_bytes().to_vec();
        match (random.below(4), random.below(typed.len())) {
            (0, at) => typed.insert(at, b'q'),
            (1, at) => drop(typed.remove(at)),
            (2, at) => typed[at] = b'z',
            (_, at) if at > 0 => typed.swap(at, at - 1),
            _ => {}
        }
        let typed = String::from_utf8(typed).unwrap();
        for mode in [Mode::Text, Mode::Substring] {
            let query = Query::new(mode, typed.as_str()).case_insensitive(true);
            for suggestion in snapshot.suggest(&query).unwrap() {
                suggested += 1;
                // Words are `name`, `name_lock` or `name12`: at most two of them differ, in two letters each.
                let runs = |text: &str| text.split('_').map(|run| run.to_ascii_lowercase()).collect::<Vec<_>>();
                assert_eq!(runs(&typed).len(), runs(&suggestion).len(), "{typed} {suggestion}");
                for (typed, run) in runs(&typed).iter().zip(runs(&suggestion)) {
                    assert!(slips(typed.as_bytes(), run.as_bytes()) <= 2, "{typed} {run}");
                    let is_term = mode != Mode::Text || !snapshot.search(&Query::text(&run)).unwrap().hits.is_empty();
                    assert!(is_term, "{typed} {run}");
                }
                let query = Query::new(mode, suggestion.as_str()).case_insensitive(true);
                assert!(!snapshot.search(&query).unwrap().hits.is_empty(), "{typed} {suggestion}");
            }
        }
    }
    assert!(suggested > 100, "{suggested}");
}
