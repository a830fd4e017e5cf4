//! `files`: what the walk accepts.

use super::args::{CommonArgs, FilesArgs};
use super::exit::{Exit, Failure};
use super::json::{self, JsonPath};
use super::options::Options;
use super::output::{self, Ui, shown};
use super::{advice, log, root, summary};
use leindex_engine::FileList;
use std::io::{self, Write};

#[derive(serde::Serialize)]
struct FileJson {
    path: JsonPath,
}

/// Runs the subcommand.
pub(crate) fn run(args: FilesArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    let tree = root::at(args.path, Options::from_args(common).with_rules(&args.rules))?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let list = tree.options.engine(&tree.root)?.files()?;
    let mut out = output::stdout();
    for path in &list.paths {
        if ui.json {
            json::line(&mut out, &FileJson { path: path.as_slice().into() })?;
        } else if args.null {
            out.write_all(path)?;
            out.write_all(b"\0")?;
        } else if ui.terminal {
            writeln!(out, "{}", shown(path))?;
        } else {
            out.write_all(path)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    drop(out);
    tell(&list)?;
    Ok(if list.counts.failed > 0 { Exit::Skips } else { Exit::Done })
}

/// Says what is missing from the list, and why.
fn tell(list: &FileList) -> io::Result<()> {
    let failures: Vec<_> = list.skips.iter().filter(|skip| skip.failure).cloned().collect();
    let mut text = Vec::new();
    summary::skips(&mut text, &failures, list.counts.failed)?;
    output::to_stderr(&text);
    if let Some(advice) = advice::nothing_accepted(&list.counts, list.first_ignored.as_deref()) {
        output::note(&advice);
    }
    Ok(())
}
