//! The lines around a hit are those of the file, in every mode and encoding; hits of one file are held back and said to be;
//! lines that are huge are cut.
#![allow(clippy::unwrap_used)]

mod support;

use leindex_engine::limits::{CONTEXT_LINES_MAX, LINE_BYTES_MAX};
use leindex_engine::{Hit, Query, Snapshot};
use support::{Place, Random};

/// Every way to write lines, with what is put between them.
fn encodings(lines: &[String]) -> Vec<(&'static str, Vec<u8>)> {
    let unix = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let utf16 = |order: fn(u16) -> [u8; 2]| {
        std::iter::once(0xfeff).chain(unix.encode_utf16()).flat_map(order).collect::<Vec<u8>>()
    };
    vec![
        ("unix", unix.clone().into_bytes()),
        ("dos", unix.replace('\n', "\r\n").into_bytes()),
        ("open_end", lines.join("\n").into_bytes()),
        ("bom", [b"\xef\xbb\xbf", unix.as_bytes()].concat()),
        ("utf16le", utf16(u16::to_le_bytes)),
        ("utf16be", utf16(u16::to_be_bytes)),
    ]
}

fn indexed(files: &[(&str, Vec<u8>)]) -> (Place, Snapshot) {
    let place = Place::new();
    for (path, content) in files {
        place.write(path, content);
    }
    let engine = place.engine();
    support::run(&engine);
    let snapshot = engine.snapshot().unwrap();
    (place, snapshot)
}

#[track_caller]
fn check(hit: &Hit, lines: &[String], context: (usize, usize)) {
    let at = usize::try_from(hit.line).unwrap() - 1;
    let clean = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|line| line.trim_start_matches('\u{feff}').to_owned()).collect()
    };
    let end = (at + 1 + context.1).min(lines.len());
    assert_eq!(clean(&hit.before), lines[at.saturating_sub(context.0)..at], "{hit:?}");
    assert_eq!(hit.after, lines[at + 1..end], "{hit:?}");
    assert_eq!(hit.text.trim_start_matches('\u{feff}'), lines[at], "{hit:?}");
    assert!(!hit.cut);
}

#[test]
fn lines_around_hits_are_those_of_the_file() {
    let mut random = Random(5);
    for count in [1, 2, 3, 10, 300] {
        let line = |random: &mut Random, n: usize| match random.below(4) {
            0 => format!("needle number {n}"),
            1 => String::new(),
            _ => format!("näher line {n}"),
        };
        let mut lines: Vec<String> = (0..count).map(|n| line(&mut random, n)).collect();
        let place = random.below(count);
        lines[place] = "a needle for sure".into();
        // Without an end, an empty last line is none.
        lines.push("last".into());
        let files = encodings(&lines);
        let (_place, snapshot) = indexed(&files);
        for context in [(0, 0), (1, 0), (0, 1), (2, 3), (100, 100)] {
            for query in [Query::text("needle"), Query::substring("needle"), Query::regex("^(a )?needle")] {
                let query = query.limit(0).context(context.0, context.1);
                let found = snapshot.search(&query).unwrap();
                assert_eq!(found.files, files.len(), "{query:?}");
                found.hits.iter().for_each(|hit| check(hit, &lines, context));
            }
            // Whatever ends the search of a file, what is after the last hit is there.
            for limit in 1..4 {
                for query in [Query::substring("needle").limit(limit), Query::substring("needle").per_file(limit)] {
                    let found = snapshot.search(&query.context(context.0, context.1)).unwrap();
                    assert!(!found.hits.is_empty());
                    found.hits.iter().for_each(|hit| check(hit, &lines, context));
                }
            }
        }
    }
}

#[test]
fn more_context_than_the_most_is_the_most() {
    let lines: Vec<String> = (0..999).map(|n| if n == 500 { "needle".into() } else { format!("line {n}") }).collect();
    let (_place, snapshot) = indexed(&encodings(&lines)[..1]);
    let hit = snapshot.search(&Query::substring("needle").context(usize::MAX, usize::MAX)).unwrap().hits.remove(0);
    check(&hit, &lines, (CONTEXT_LINES_MAX, CONTEXT_LINES_MAX));
}

#[test]
fn hits_of_one_file_are_held_back_and_that_is_said() {
    let files: Vec<(&str, Vec<u8>)> = [("one", 1), ("two", 2), ("five", 5)]
        .map(|(name, count)| (name, "needle\n".repeat(count).into_bytes()))
        .to_vec();
    let (_place, snapshot) = indexed(&files);
    for (per_file, hits, capped) in [(0, 8, 0), (1, 3, 2), (2, 5, 1), (4, 7, 1), (5, 8, 0), (9, 8, 0)] {
        for after in [0, 3] {
            let found = snapshot.search(&Query::substring("needle").per_file(per_file).context(0, after)).unwrap();
            let counts = (found.hits.len(), found.files, found.capped_files, found.truncated);
            assert_eq!(counts, (hits, 3, capped, false), "{per_file} {after}");
        }
    }
    // Files that a limit cut off are not counted.
    let found = snapshot.search(&Query::regex("n.edle").per_file(1).limit(1).path_glob("{two,five}")).unwrap();
    assert_eq!((found.hits.len(), found.capped_files, found.truncated), (1, 1, true));
    let found = snapshot.search(&Query::text("needle").per_file(1)).unwrap();
    assert_eq!((found.hits.len(), found.capped_files), (3, 0), "one hit a file is all there is");
}

#[test]
fn huge_lines_are_cut_around_the_match() {
    let huge = |middle: &str| format!("{}{middle}{}", "früh, ".repeat(60_000), " spät,".repeat(60_000));
    let content = format!("{}\nneedle in short\n{}\n", huge(" "), huge(" the needle "));
    let lines: Vec<String> = content.lines().map(str::to_owned).collect();
    let (_place, snapshot) = indexed(&encodings(&lines));
    for query in [Query::substring("the needle"), Query::regex("the need.e"), Query::text("\"the needle\"")] {
        let found = snapshot.search(&query.context(2, 1)).unwrap();
        assert_eq!(found.hits.len(), 6);
        for hit in found.hits {
            assert_eq!((hit.line, hit.cut), (3, true));
            assert!(hit.column > 400_000, "the column counts from the start of the line");
            assert!(hit.text.contains("the needle") && hit.text.len() <= LINE_BYTES_MAX);
            assert!(!hit.text.contains('\u{fffd}'), "no character is torn");
            assert!(hit.before[0].ends_with('…') && hit.before[0].len() <= LINE_BYTES_MAX + 3);
            assert_eq!((hit.before.len(), hit.before[1].as_str()), (2, "needle in short"));
        }
    }
}
