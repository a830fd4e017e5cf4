//! `outline`: what one file defines.

use super::args::{CommonArgs, OutlineArgs};
use super::exit::{Exit, Failure};
use super::json::{self, DefinitionJson, JsonPath};
use super::options::Options;
use super::output::{self, Ui, one_line, path_bytes};
use super::{log, root};
use leindex_engine::symbols::{Cut, Symbol};
use std::io::{self, Write};

#[derive(serde::Serialize)]
struct OutlineJson<'a> {
    path: JsonPath,
    #[serde(flatten)]
    symbol: DefinitionJson<'a>,
}

/// Runs the subcommand.
pub(crate) fn run(args: OutlineArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    let tree = root::find(Some(args.file), Options::from_args(common))?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let engine = tree.options.reader(&tree.root)?;
    let outline = engine.outline(&tree.below)?;
    let mut out = output::stdout();
    if ui.json {
        for symbol in &outline.symbols {
            let path = (&*path_bytes(&outline.path)).into();
            json::line(&mut out, &OutlineJson { path, symbol: symbol.into() })?;
        }
    } else {
        write(&mut out, &outline.symbols, &ui)?;
    }
    out.flush()?;
    drop(out);
    match outline.cut {
        Some(Cut::Time) => output::note("parsing it took too long: nothing is known of its definitions"),
        Some(Cut::Size) => output::note("the file is too long: these are the definitions of its beginning"),
        Some(_) => output::note("there are more: these are the first"),
        None if outline.symbols.is_empty() => output::note("no definitions"),
        None => {}
    }
    Ok(Exit::Done)
}

/// A line each: number, kind and name, what belongs to something below it and indented.
fn write(out: &mut impl Write, symbols: &[Symbol], ui: &Ui) -> io::Result<()> {
    let width = symbols.iter().map(|symbol| symbol.line.to_string().len()).max().unwrap_or(0);
    let (on, off) = if ui.color { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
    for symbol in symbols {
        let container = symbol.container.as_deref().map_or(String::new(), |container| format!("{container}::"));
        let name = format!("{container}{}", symbol.name);
        writeln!(out, "{on}{:width$}{off}  {:9}  {}", symbol.line, symbol.kind, one_line(&name))?;
    }
    Ok(())
}
