//! `mcp`: from the command line to what a server is started with.

use super::args::{CommonArgs, McpArgs};
use super::exit::Failure;
use super::options::Options;
use super::output::Ui;
use super::{log, root};
use leindex_engine::Engine;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Opens a tree with the options of the command line and of its own config file.
pub(crate) type Opener = Box<dyn Fn(&Path) -> Result<Engine, String> + Send + Sync>;

/// What a server is to be started with.
pub(crate) struct Serve {
    pub(crate) root: Option<PathBuf>,
    pub(crate) opener: Opener,
    pub(crate) watches: bool,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) allow_remote: bool,
    pub(crate) hosts: Vec<String>,
    pub(crate) roots: Vec<PathBuf>,
}

/// Looks at the command line, and not at the tree: that is done when the server has begun to answer.
pub(crate) fn prepare(args: McpArgs, common: &CommonArgs) -> Result<Serve, Failure> {
    let McpArgs { run, rules, http, allow_remote, allow_host, allow_root, no_watch, path } = args;
    let options = Options::from_args(common).with_run(&run).with_rules(&rules);
    log::start(&options, &Ui::new(&options))?;
    let root =
        match path {
            Some(path) => Some(std::path::absolute(&path).map_err(|error| {
                Failure::Fatal(format!("{}: {error}: give the path of a directory", path.display()))
            })?),
            None => root::indexed_above(options.clone())?,
        };
    let roots = allow_root.iter().map(|root| {
        let what = |error| format!("--allow-root {}: {error}: give the path of a directory", root.display());
        root.canonicalize().map_err(|error| Failure::Fatal(what(error)))
    });
    let roots = roots.collect::<Result<Vec<_>, Failure>>()?;
    // An index directory of the command line belongs to the tree of the command line.
    let (own, given) = (root.clone(), options);
    let opener = Box::new(move |tree: &Path| {
        let mut options = given.clone();
        if own.as_ref().and_then(|own| own.canonicalize().ok()) != tree.canonicalize().ok() {
            options.index_dir = None;
        }
        open(tree, options).map_err(|failure| failure.into_exit().1.unwrap_or_default())
    });
    Ok(Serve { root, opener, watches: !no_watch, http, allow_remote, hosts: allow_host, roots })
}

fn open(tree: &Path, options: Options) -> Result<Engine, Failure> {
    let tree = root::at(Some(tree.to_path_buf()), options)?;
    tree.options.engine(&tree.root)
}
