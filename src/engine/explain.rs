//! Why a path is or is not in the index: what a run would decide about it now, and what the published generation has.

use super::Engine;
use super::verdicts::Rule;
use crate::error::{OpenError, QueryError};
use crate::record::{FileMeta, path_bytes};
use crate::shard::is_private_data;
use std::fs::Metadata;
use std::io;
use std::path::Path;

/// What [`Engine::explain`] has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Whether a run would accept the path.
    pub accepted: bool,
    /// Why, or why not.
    pub reason: String,
    /// What to do so that it is otherwise.
    pub next: Option<String>,
    /// The rule that decides about the path, whether or not it is the reason.
    pub rule: Option<Rule>,
    /// Whether git tracks it, or anything below it.
    pub tracked: bool,
    /// `file`, `directory`, `symbolic link`, `special file` or `missing`.
    pub kind: &'static str,
    /// Bytes of a file.
    pub size: Option<u64>,
    /// What the published generation knows of it.
    pub known: Option<FileMeta>,
    /// The published generation; `None` when there is none yet.
    pub generation: Option<u64>,
}

impl Engine {
    /// Says why a path, relative to the root and without `.` and `..`, is or is not in the index. A link is not followed.
    ///
    /// # Errors
    /// When a file of rules that was named in the configuration, or the index, cannot be read.
    pub fn explain(&self, path: impl AsRef<Path>) -> Result<Explanation, QueryError> {
        let relative = path.as_ref();
        let bytes = path_bytes(relative);
        let meta = self.root().join(relative).symlink_metadata();
        let mut verdicts = self.verdicts()?;
        let rule = verdicts.rule(&bytes, meta.as_ref().is_ok_and(Metadata::is_dir));
        let tracked = !bytes.is_empty() && verdicts.is_tracked(&bytes);
        let (generation, known) = match self.snapshot() {
            Ok(snapshot) => (Some(snapshot.generation()), snapshot.lookup(relative)?),
            Err(QueryError::Open(OpenError::NoIndex { .. })) => (None, None),
            Err(error) => return Err(error),
        };
        let judged = judge(self, relative, meta.as_ref(), rule.as_ref(), tracked, known.is_some());
        let size = meta.as_ref().ok().filter(|meta| meta.is_file()).map(Metadata::len);
        let Judged { accepted, reason, next } = judged;
        let next = next.map(str::to_owned);
        Ok(Explanation { accepted, reason, next, rule, tracked, kind: kind(meta.as_ref()), size, known, generation })
    }
}

struct Judged {
    accepted: bool,
    reason: String,
    next: Option<&'static str>,
}

/// Whether a run would accept the path, why or why not, and what to do about it.
fn judge(
    engine: &Engine,
    relative: &Path,
    meta: Result<&Metadata, &io::Error>,
    rule: Option<&Rule>,
    tracked: bool,
    known: bool,
) -> Judged {
    let no = |reason: String, next| Judged { accepted: false, reason, next };
    let config = engine.config();
    let is_name = |test: &dyn Fn(&[u8]) -> bool| {
        relative.components().any(|component| test(component.as_os_str().as_encoded_bytes()))
    };
    if is_name(&is_private_data) {
        return no("it belongs to a version control system or an index".into(), Some("`--exclude '!NAME'` lifts that"));
    }
    if !config.rules.hidden && is_name(&|name| name.first() == Some(&b'.')) {
        return no("a name begins with a dot, and hidden files are left out".into(), Some("leave out --no-hidden"));
    }
    if let Some(rule) = rule.filter(|rule| rule.ignored && !(rule.is_gits && tracked)) {
        let reason = format!("ignored by {}:{}", String::from_utf8_lossy(&rule.source), rule.line);
        return no(
            reason,
            Some("take that rule out, or lift it by a later one with `!`, for example in .leindexignore"),
        );
    }
    let meta = match meta {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return no("it is not there".into(), None),
        Err(error) => return no(format!("it cannot be looked at: {error}"), None),
    };
    if meta.is_dir() {
        return Judged { accepted: true, reason: "a directory that is walked".into(), next: None };
    }
    if !meta.is_file() {
        return no(format!("{}: only regular files are indexed", kind(Ok(meta))), None);
    }
    if meta.len() > config.file_bytes_max {
        let reason = format!("{} bytes are more than the {} of --max-file-size", meta.len(), config.file_bytes_max);
        return no(reason, Some("raise --max-file-size"));
    }
    if let Err(error) = std::fs::File::open(engine.root().join(relative)) {
        return no(format!("it cannot be read: {error}"), Some("change its permissions"));
    }
    let reason = match (rule, tracked) {
        (Some(rule), true) if rule.ignored => "git tracks it, so its rules do not count",
        (Some(_), _) => "a rule says that it is not ignored",
        (None, _) => "no rule ignores it",
    };
    let next = (!known).then_some("run `leindex-engine` to have it indexed");
    Judged { accepted: true, reason: reason.into(), next }
}

fn kind(meta: Result<&Metadata, &io::Error>) -> &'static str {
    match meta.map(Metadata::file_type) {
        Err(_) => "missing",
        Ok(kind) if kind.is_file() => "file",
        Ok(kind) if kind.is_dir() => "directory",
        Ok(kind) if kind.is_symlink() => "symbolic link",
        Ok(_) => "special file",
    }
}
