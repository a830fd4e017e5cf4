//! `verify`: checks an index, and repairs a damaged one when asked to.

use super::args::{CommonArgs, VerifyArgs};
use super::exit::{Exit, Failure};
use super::interrupt::Interrupts;
use super::json::{self, IndexJson};
use super::options::Options;
use super::output::{self, Ui, count, one_line, things};
use super::{index, log, root, summary};
use leindex_engine::{Engine, OpenError, Outcome, QueryError, Report, Verification};
use std::io::{self, Write};

#[derive(serde::Serialize)]
struct VerifyJson<'a> {
    generation: u64,
    sound: bool,
    records: u64,
    documents: u64,
    problem_count: u64,
    problems: &'a [String],
    repaired: bool,
    run: Option<IndexJson>,
}

/// What was found, and what was done about it.
struct Outcomes {
    found: Verification,
    /// The run that has read what was damaged, and the check after it.
    repair: Option<(Report, Option<Verification>)>,
}

/// Runs the subcommand.
pub(crate) fn run(args: VerifyArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    let options = Options::from_args(common).with_run(&args.run).with_rules(&args.rules);
    let tree = root::find(args.path, options)?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let engine = tree.options.engine(&tree.root)?;
    let found = verify(&engine, args.repair)?;
    let repair = if args.repair && !found.is_sound() { Some(repair(&engine, &found, &ui)?) } else { None };
    let outcomes = Outcomes { found, repair };
    let mut out = output::stdout();
    if ui.json {
        json::line(&mut out, &as_json(&outcomes))?;
    } else {
        write(&mut out, &outcomes, &engine)?;
    }
    out.flush()?;
    drop(out);
    exit(&outcomes, &engine)
}

/// Damage that keeps the index from being opened is a finding like any other. So is, when it can be repaired, a format
/// that is out of date.
fn verify(engine: &Engine, repair: bool) -> Result<Verification, Failure> {
    match engine.verify() {
        Ok(found) => Ok(found),
        Err(QueryError::Open(OpenError::Format { found, supported, .. })) if repair && found < supported => {
            Ok(unopened(format!("the index has the old format {found}")))
        }
        Err(QueryError::Open(OpenError::Damaged { detail, .. })) => Ok(unopened(detail)),
        Err(error) => Err(error.into()),
    }
}

/// What is found in an index that does not open.
fn unopened(detail: String) -> Verification {
    let mut found = Verification::default();
    found.problem_count = 1;
    found.problems.push(detail);
    found
}

fn repair(engine: &Engine, found: &Verification, ui: &Ui) -> Result<(Report, Option<Verification>), Failure> {
    for problem in &found.problems {
        output::note(&format!("damaged: {problem}"));
    }
    let interrupts = Interrupts::catch();
    let saved = engine.repair()?;
    let root = engine.root().display();
    output::note(&if saved.everything {
        format!("nothing can be kept: building the index of {root} anew")
    } else {
        let kept = things(saved.kept, "file", "files");
        format!("{kept} of {root} are kept; {} and those without a record are read again", count(saved.lost))
    });
    let report = index::build(engine, ui, &interrupts)?;
    if report.outcome != Outcome::Done {
        return Ok((report, None));
    }
    let after = verify(engine, false)?;
    if after.is_sound() || saved.everything {
        return Ok((report, Some(after)));
    }
    // Damage that no checksum shows.
    output::note(&format!("not all of it could be repaired: building the index of {root} anew"));
    engine.reset()?;
    let report = index::build(engine, ui, &interrupts)?;
    let after = if report.outcome == Outcome::Done { Some(verify(engine, false)?) } else { None };
    Ok((report, after))
}

fn as_json(outcomes: &Outcomes) -> VerifyJson<'_> {
    let found = &outcomes.found;
    VerifyJson {
        generation: found.generation,
        sound: found.is_sound(),
        records: found.records,
        documents: found.documents,
        problem_count: found.problem_count,
        problems: &found.problems,
        repaired: repaired(outcomes),
        run: outcomes.repair.as_ref().map(|(report, _)| report.into()),
    }
}

fn repaired(outcomes: &Outcomes) -> bool {
    let after = outcomes.repair.as_ref().and_then(|(_, after)| after.as_ref());
    after.is_some_and(Verification::is_sound)
}

fn write(out: &mut impl Write, outcomes: &Outcomes, engine: &Engine) -> io::Result<()> {
    let found = &outcomes.found;
    if found.is_sound() {
        let (records, documents) = (count(found.records), count(found.documents));
        return writeln!(out, "sound: generation {}, {records} records, {documents} documents", found.generation);
    }
    for problem in &found.problems {
        writeln!(out, "damaged: {}", one_line(problem))?;
    }
    let unlisted = found.problem_count.saturating_sub(found.problems.len() as u64);
    if unlisted > 0 {
        writeln!(out, "and {}", things(unlisted, "more problem", "more problems"))?;
    }
    let Some((report, _)) = &outcomes.repair else { return Ok(()) };
    summary::write(out, report, engine.index_dir())?;
    if repaired(outcomes) {
        writeln!(out, "repaired: the index is sound")?;
    }
    Ok(())
}

fn exit(outcomes: &Outcomes, engine: &Engine) -> Result<Exit, Failure> {
    let found = &outcomes.found;
    if found.is_sound() {
        return Ok(Exit::Done);
    }
    let place = engine.index_dir().display();
    let problems = things(found.problem_count, "problem", "problems");
    match &outcomes.repair {
        None => {
            let root = engine.root().display();
            Err(Failure::Fatal(format!("{place}: {problems}: run `leindex-engine verify --repair {root}`")))
        }
        Some((report, Some(after))) if !after.is_sound() => {
            let first = after.problems.first().map_or("", String::as_str);
            Err(Failure::Fatal(format!(
                "{place}: generation {} is damaged again ({first}): check the disk, or choose another --index-dir",
                report.generation
            )))
        }
        Some((report, _)) => {
            index::tell(report);
            Ok(index::exit(report))
        }
    }
}
