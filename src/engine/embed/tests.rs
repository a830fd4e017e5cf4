//! Embedding with a model, a tiny one that is made up: from files to hits. With the table of words, `tests/embed.rs`.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use super::*;
use crate::embed::made_up_model;
use crate::engine::EngineBuilder;
use crate::error::QueryError;
use crate::query::{Mode, Query};
use std::fs;
use std::path::Path;

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (name, text) in [("one.rs", "fn a ( )\n"), ("two.rs", "b b ab ( a\n"), ("three.rs", "fn fn ( b )\n")] {
        fs::write(tree.path().join(name), text).unwrap();
    }
    tree
}

fn engine(tree: &Path, set: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    set(Engine::builder()).open(tree).unwrap()
}

fn search(engine: &Engine) -> Result<usize, QueryError> {
    Ok(engine.snapshot()?.search(&Query::new(Mode::Semantic, "fn a"))?.hits.len())
}

#[test]
fn vectors_of_a_model_stay_until_they_are_replaced() {
    let (tree, model) = (tree(), made_up_model());
    let with_model = engine(tree.path(), |builder| builder.model(model.path()).embed(EmbedChoice::Cpu));
    with_model.index().wait().unwrap();
    let report = with_model.embed().wait().unwrap();
    assert_eq!((report.files, report.chunks, report.failed), (3, 3, 0), "{report:?}");
    assert!(report.tokens > 9 && report.card_busy.is_none() && report.device.contains("CPU"), "{report:?}");
    assert_eq!(search(&with_model).unwrap(), 3);
    assert!(!with_model.snapshot().unwrap().search(&Query::new(Mode::Semantic, "( )")).unwrap().truncated);
    let again = with_model.embed().wait().unwrap();
    assert_eq!((again.pending, again.tokens), (0, 0), "{again:?}");
    drop(with_model);

    let without = engine(tree.path(), |builder| builder);
    let report = without.embed().wait().unwrap();
    assert!(report.kept_model && report.chunks == 0, "{report:?}");
    assert!(matches!(search(&without), Err(QueryError::NoVectors { .. })));
    drop(without);
    let replacing = engine(tree.path(), |builder| builder.replace_vectors(true));
    let report = replacing.embed().wait().unwrap();
    assert!(!report.kept_model && report.chunks == 3 && report.tokens == 0, "{report:?}");
    assert_eq!(search(&replacing).unwrap(), 3);
}

#[test]
fn a_model_that_cannot_run_is_an_error_that_says_so() {
    let (tree, model) = (tree(), made_up_model());
    let failure = |set: &dyn Fn(EngineBuilder) -> EngineBuilder| {
        let engine = engine(tree.path(), set);
        engine.index().wait().unwrap();
        engine.embed().wait().unwrap_err().to_string()
    };
    assert!(failure(&|builder| builder.model(tree.path())).contains("config.json"));
    assert!(failure(&|builder| builder.embed(EmbedChoice::Cuda)).contains("name a model"));
    // Also where there is a card: this model has heads that its kernels do not know.
    let said = failure(&|builder| builder.model(model.path()).embed(EmbedChoice::Cuda));
    assert!(said.contains("CUDA") || said.contains("feature `cuda`"), "{said}");
}

#[test]
fn files_that_are_not_there_are_embedded_later() {
    let tree = tree();
    let engine = engine(tree.path(), |builder| builder);
    engine.index().wait().unwrap();
    let (one, aside) = (tree.path().join("one.rs"), tree.path().join("aside"));
    fs::rename(&one, &aside).unwrap();
    let report = engine.embed().wait().unwrap();
    assert_eq!((report.chunks, report.unreadable, report.changed), (2, 1, 0), "{report:?}");
    assert_eq!(engine.snapshot().unwrap().search(&Query::new(Mode::Semantic, "fn a")).unwrap().not_embedded, 1);
    // Another text by then, which is not what was indexed.
    fs::write(&one, "fn b ( ) b\n").unwrap();
    let report = engine.embed().wait().unwrap();
    assert_eq!((report.pending, report.chunks, report.changed), (1, 0, 1), "{report:?}");
    fs::rename(&aside, &one).unwrap();
    engine.index().wait().unwrap();
    engine.embed().wait().unwrap();
    assert_eq!(engine.snapshot().unwrap().search(&Query::new(Mode::Semantic, "fn a")).unwrap().not_embedded, 0);
}

#[test]
fn an_embedding_with_a_model_ends_when_it_is_cancelled() {
    let (tree, model) = (tree(), made_up_model());
    for number in 0..2000 {
        fs::write(tree.path().join(format!("{number}.txt")), format!("a b ( {number}\n").repeat(30)).unwrap();
    }
    let engine = engine(tree.path(), |builder| builder.model(model.path()).embed(EmbedChoice::Cpu));
    engine.index().wait().unwrap();
    let run = engine.embed();
    run.canceller().cancel();
    let report = run.wait().unwrap();
    assert!(report.cancelled, "{report:?}");
    let rest = engine.embed().wait().unwrap();
    assert!(!rest.cancelled && rest.files + report.files == 2003, "{rest:?} {report:?}");
}
