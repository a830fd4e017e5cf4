//! The compiled rules that an index keeps: used by the next run, renewed when rules change, and never needed.

mod support;

use leindex_engine::rules::Database;
use leindex_engine::{Engine, Query, Report};
use support::{Place, assert_as_fresh};

fn run(engine: &Engine, message: &str) -> Report {
    let report = support::run(engine);
    assert_as_fresh(engine, &[Query::text("word")], message);
    report
}

#[test]
fn compiled_rules_follow_the_rules() {
    let place = Place::new();
    place.write(".leindexignore", "*~\n*.a?\nb*\n[xy]z*\n*.tmp\n/sub/only-here\n");
    for name in [
        "one.rs",
        "two~",
        "x.ab",
        "bad.rs",
        "xz1",
        "c.tmp",
        "d.new",
        "sub/only-here",
        "sub/bad",
        "sub/only",
        "other/only-here",
    ] {
        place.write(name, "word");
    }
    // Rules that no database can have: those of a directory, and of a name that nothing in the tree has.
    place.write("sub/.leindexignore", "!bad\n/only\n");
    let engine = place.engine();
    assert_eq!(run(&engine, "the first run").compiled_rules, 0);
    let compiled = run(&engine, "with compiled rules").compiled_rules;
    assert_eq!(compiled > 0, Database::IS_BUILT, "{compiled}");
    place.write(".leindexignore", "*~\n*.a?\nb*\n[xy]z*\n*.tmp\n*.n?w\n");
    assert_eq!(run(&engine, "a rule that the database lacks").compiled_rules, compiled);
    drop(engine);
    // Another process finds the new ones in the index.
    let engine = place.engine();
    let renewed = run(&engine, "with renewed rules").compiled_rules;
    assert_eq!(renewed, if Database::IS_BUILT { compiled + 1 } else { 0 });
    place.write(".leindexignore", "");
    run(&engine, "no rules but a database");
}
