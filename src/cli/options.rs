//! Options from the command line and from `.leindex.toml` put together, and made into an engine.

use super::args::{Backend, CommonArgs, Embed, EmbedderArgs, Progress, RuleArgs, RunArgs, When};
use super::exit::Failure;
use super::git_config;
use leindex_engine::{BackendChoice, EmbedChoice, Engine, RulesConfig, Shards};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every option that can be given in more than one place; `None` where it was not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) shards: Option<Shards>,
    pub(crate) backend: Option<Backend>,
    pub(crate) index_dir: Option<PathBuf>,
    pub(crate) max_file_size: Option<u64>,
    pub(crate) batch_files: Option<usize>,
    pub(crate) io_timeout: Option<u32>,
    pub(crate) embed: Option<Embed>,
    pub(crate) model: Option<PathBuf>,
    pub(crate) replace_vectors: bool,
    pub(crate) wait: bool,
    pub(crate) no_ignore: Option<bool>,
    pub(crate) no_require_git: Option<bool>,
    pub(crate) hidden: Option<bool>,
    pub(crate) exclude: Vec<String>,
    pub(crate) ignore_file: Vec<PathBuf>,
    pub(crate) json: Option<bool>,
    pub(crate) progress: Option<Progress>,
    pub(crate) color: Option<When>,
    pub(crate) verbose: Option<u8>,
    pub(crate) trace: Option<PathBuf>,
}

/// What a pair of switches says, if one of them was given.
fn switch(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}

/// Relative to the working directory, not to the tree.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

impl Options {
    /// From what every subcommand knows.
    pub(crate) fn from_args(common: &CommonArgs) -> Options {
        Options {
            index_dir: common.index_dir.clone(),
            json: switch(common.json, common.no_json),
            color: common.color,
            verbose: (common.verbose > 0).then_some(common.verbose),
            trace: common.trace.clone(),
            ..Options::default()
        }
    }

    /// With the options of a run.
    pub(crate) fn with_run(mut self, run: &RunArgs) -> Options {
        self.shards = run.shards;
        self.backend = run.backend;
        self.max_file_size = run.max_file_size;
        self.batch_files = run.batch_files;
        self.io_timeout = run.io_timeout;
        self.wait = run.wait;
        self.progress = run.progress;
        self.with_embedder(&run.embedder)
    }

    /// With what embeds. The path of a model becomes absolute.
    pub(crate) fn with_embedder(mut self, embedder: &EmbedderArgs) -> Options {
        self.embed = embedder.embed;
        self.model = embedder.model.as_deref().map(absolute);
        self
    }

    /// With the options that choose files. Paths become absolute, because they are relative to the working directory,
    /// not to the tree.
    pub(crate) fn with_rules(mut self, rules: &RuleArgs) -> Options {
        self.no_ignore = switch(rules.no_ignore, rules.ignore);
        self.no_require_git = switch(rules.no_require_git, rules.require_git);
        self.hidden = switch(rules.hidden, rules.no_hidden);
        self.exclude.clone_from(&rules.exclude);
        self.ignore_file = rules.ignore_file.iter().map(|path| absolute(path)).collect();
        self
    }

    /// These options, and where they say nothing, those of `config`. Of rules, where the last match decides, both are
    /// kept.
    pub(crate) fn over(self, config: Options) -> Options {
        Options {
            shards: self.shards.or(config.shards),
            backend: self.backend.or(config.backend),
            index_dir: self.index_dir.or(config.index_dir),
            max_file_size: self.max_file_size.or(config.max_file_size),
            batch_files: self.batch_files.or(config.batch_files),
            io_timeout: self.io_timeout.or(config.io_timeout),
            wait: self.wait || config.wait,
            embed: self.embed.or(config.embed),
            model: self.model.or(config.model),
            replace_vectors: self.replace_vectors || config.replace_vectors,
            no_ignore: self.no_ignore.or(config.no_ignore),
            no_require_git: self.no_require_git.or(config.no_require_git),
            hidden: self.hidden.or(config.hidden),
            exclude: [config.exclude, self.exclude].concat(),
            ignore_file: [config.ignore_file, self.ignore_file].concat(),
            json: self.json.or(config.json),
            progress: self.progress.or(config.progress),
            color: self.color.or(config.color),
            verbose: self.verbose.or(config.verbose),
            trace: self.trace,
        }
    }

    /// An engine that only reads the index of the tree in `root`: no other options than its place and the model matter.
    pub(crate) fn reader(&self, root: &Path) -> Result<Engine, Failure> {
        let builder = Engine::builder();
        let builder = match &self.index_dir {
            Some(dir) => builder.index_dir(dir),
            None => builder,
        };
        let builder = match &self.model {
            Some(dir) => builder.model(dir),
            None => builder,
        };
        Ok(builder.open(root)?)
    }

    /// The engine for the tree in `root`.
    pub(crate) fn engine(&self, root: &Path) -> Result<Engine, Failure> {
        let backend = match self.backend.unwrap_or_default() {
            Backend::Auto => BackendChoice::Auto,
            Backend::Uring => BackendChoice::Uring,
            Backend::Threads => BackendChoice::Threads,
        };
        // The library looks for these files when a run has begun; a mistyped name should not get that far.
        for path in &self.ignore_file {
            if let Err(error) = std::fs::metadata(path) {
                let path = path.display();
                return Err(Failure::Usage(format!(
                    "ignore-file: {path}: {error}: give a file of rules that is there"
                )));
            }
        }
        // Nor should what is only found out when the text is indexed.
        if let Some(dir) = &self.model
            && !dir.join("config.json").is_file()
        {
            let dir = dir.display();
            return Err(Failure::Usage(format!(
                "model: {dir}: there is no config.json: give a folder as sentence-transformers saves it"
            )));
        }
        if self.model.is_none() && self.embed == Some(Embed::Cuda) {
            return Err(Failure::Usage(
                "embed: cuda runs models: give one with --model DIR as well, or use auto".into(),
            ));
        }
        let mut builder =
            Engine::builder().shards(self.shards.unwrap_or_default()).backend(backend).rules(self.rules(root));
        if let Some(dir) = &self.index_dir {
            builder = builder.index_dir(dir);
        }
        if let Some(bytes) = self.max_file_size {
            builder = builder.file_bytes_max(bytes);
        }
        if let Some(files) = self.batch_files {
            builder = builder.batch_files(files);
        }
        builder = builder.wait_for_writer(self.wait).embed(match self.embed.unwrap_or_default() {
            Embed::Off => EmbedChoice::Off,
            Embed::Auto => EmbedChoice::Auto,
            Embed::Cpu => EmbedChoice::Cpu,
            Embed::Cuda => EmbedChoice::Cuda,
        });
        if let Some(dir) = &self.model {
            builder = builder.model(dir);
        }
        if let Some(seconds) = self.io_timeout {
            builder = builder.io_timeout(Duration::from_secs(seconds.into()));
        }
        Ok(builder.replace_vectors(self.replace_vectors).open(root)?)
    }

    fn rules(&self, root: &Path) -> RulesConfig {
        let rule_files = !self.no_ignore.unwrap_or(false);
        let git = if rule_files { git_config::read(root) } else { git_config::GitConfig::default() };
        RulesConfig {
            rule_files,
            require_git: !self.no_require_git.unwrap_or(false),
            hidden: self.hidden.unwrap_or(true),
            case_sensitive: !git.ignore_case,
            global_file: git.excludes_file,
            // The library takes paths from the root; on a command line they are from the working directory.
            extra_files: self
                .ignore_file
                .iter()
                .map(|file| std::path::absolute(file).unwrap_or(file.clone()))
                .collect(),
            patterns: self.exclude.clone(),
        }
    }
}
