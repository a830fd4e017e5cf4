//! Section 7: what ignore rules cost a run with nothing changed.

use crate::child::{self, Rules};
use crate::report::Samples;
use crate::{Bench, Failure};

/// As often as the other runs that take a tenth of a second.
const QUICK: usize = 5;

/// Runs with every rule file of the tree, in a repository or not, and runs without any, in turns. The first of each make
/// the indexes, the second settle them and compile the rules.
pub(crate) fn share(bench: &mut Bench) -> Result<(), Failure> {
    let dirs = [bench.scratch.join("with-rules"), bench.scratch.join("without-rules")];
    let ways = [Rules::Everywhere, Rules::None];
    let (mut with, mut without) = (Samples::default(), Samples::default());
    let (mut compiled, mut reads) = (0, 0);
    for run in 0..2 + bench.options.runs * QUICK {
        for ((rules, dir), samples) in ways.into_iter().zip(&dirs).zip([&mut with, &mut without]) {
            let answer = child::index_with(&bench.tree, dir, rules)?;
            if run >= 2 {
                samples.add(answer.seconds());
                reads += answer.count("reads");
            }
            compiled = compiled.max(answer.count("compiled_rules"));
        }
    }
    let rows = [["every rule file".to_owned(), format!("{with:.3}")], ["no rules".to_owned(), format!("{without:.3}")]];
    bench.report.table(&["what", "in process"], &rows);
    bench.report.say(format!("Rules in the compiled database: {compiled} (0 without the feature `hyperscan`)."));
    let share = 1.0 - without.median() / with.median();
    bench.report.exactly("rules: files read when nothing changed", reads, 0);
    bench.report.at_most("nothing changed: share of rules in a run", share, 0.10, "");
    Ok(())
}
