//! `--lang` and `--path-glob`.

use super::Query;
use crate::error::QueryError;
use crate::text::language::Language;
use globset::{GlobBuilder, GlobMatcher};

/// Which paths pass globs that mean what those of [`Query::path_glob`] do.
///
/// ```
/// # fn main() -> Result<(), leindex_engine::QueryError> {
/// let filter = leindex_engine::PathFilter::new(&["*.rs", "!tests/**"], false)?;
/// assert!(filter.accepts(b"src/lib.rs") && !filter.accepts(b"tests/api.rs"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PathFilter(Filter);

impl PathFilter {
    /// Compiles the globs; `case_insensitive` makes upper and lower case the same.
    ///
    /// # Errors
    /// [`QueryError::Filter`] when one of them is not valid.
    pub fn new<S: AsRef<str>>(globs: &[S], case_insensitive: bool) -> Result<PathFilter, QueryError> {
        let globs = globs.iter().map(|glob| compile(glob.as_ref(), case_insensitive)).collect::<Result<_, _>>()?;
        Ok(PathFilter(Filter { languages: Vec::new(), globs }))
    }

    /// Whether this one, relative to the root, does. Without globs, every path does.
    #[must_use]
    pub fn accepts(&self, path: &[u8]) -> bool {
        self.0.accepts_path(path)
    }
}

/// The filters of a query, compiled.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) languages: Vec<Language>,
    globs: Vec<(GlobMatcher, bool)>,
}

impl Filter {
    pub(super) fn new(query: &Query) -> Result<Filter, QueryError> {
        let language = |name: &String| {
            Language::from_name(name).ok_or_else(|| QueryError::Filter {
                filter: "--lang",
                detail: format!("{name:?} is not a language; `search --help` tells how to list them"),
            })
        };
        Ok(Filter {
            languages: query.languages.iter().map(language).collect::<Result<_, _>>()?,
            globs: query.globs.iter().map(|glob| compile(glob, false)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn has_globs(&self) -> bool {
        !self.globs.is_empty()
    }

    /// Whether the file `name` of the directory `dir_path`, which ends in a slash unless empty, passes the globs.
    pub(super) fn accepts(&self, dir_path: &[u8], name: &[u8]) -> bool {
        self.globs.is_empty() || self.accepts_path(&[dir_path, name].concat())
    }

    /// Whether the path passes the globs.
    pub(super) fn accepts_path(&self, path: &[u8]) -> bool {
        if self.globs.is_empty() {
            return true;
        }
        let path = String::from_utf8_lossy(path);
        let decided = self.globs.iter().rev().find(|(glob, _)| glob.is_match(&*path));
        match decided {
            Some((_, excludes)) => !excludes,
            // With nothing but exclusions, what they do not name is wanted.
            None => self.globs.iter().all(|(_, excludes)| *excludes),
        }
    }
}

fn compile(glob: &str, case_insensitive: bool) -> Result<(GlobMatcher, bool), QueryError> {
    let (excludes, pattern) = match glob.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, glob),
    };
    let anchored = match pattern.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None if pattern.trim_end_matches('/').contains('/') => pattern.to_owned(),
        None => format!("**/{pattern}"),
    };
    let whole = if anchored.ends_with('/') { format!("{anchored}**") } else { anchored };
    let mut builder = GlobBuilder::new(&whole);
    builder.literal_separator(true).backslash_escape(true).case_insensitive(case_insensitive);
    let error = |error: globset::Error| QueryError::Filter { filter: "--path-glob", detail: error.to_string() };
    Ok((builder.build().map_err(error)?.compile_matcher(), excludes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(globs: &[&str], path: &str, expect: bool) {
        let query = globs.iter().fold(Query::text("x"), |query, glob| query.path_glob(*glob));
        let filter = Filter::new(&query).unwrap();
        assert_eq!(filter.accepts_path(path.as_bytes()), expect, "{globs:?} {path}");
    }

    #[test]
    fn globs_as_ripgrep_reads_them() {
        check(&[], "a/b.c", true);
        check(&["*.c"], "a/b.c", true);
        check(&["*.c"], "a/b.h", false);
        check(&["!*.c"], "a/b.h", true);
        check(&["!*.c"], "a/b.c", false);
        check(&["a/*.c"], "a/b.c", true);
        check(&["a/*.c"], "x/a/b.c", false);
        check(&["/b.c"], "a/b.c", false);
        check(&["drivers/"], "drivers/net/x.c", true);
        check(&["*.c", "!test.c"], "a/test.c", false);
        check(&["*.{c,h}"], "a/b.h", true);
    }

    #[test]
    fn paths_are_filtered_without_a_query() {
        let accepts = |globs: &[&str], case, path: &str| PathFilter::new(globs, case).unwrap().accepts(path.as_bytes());
        assert!(accepts(&[], false, "a") && accepts(&["*.C"], true, "a/b.c") && !accepts(&["*.C"], false, "a/b.c"));
        assert!(accepts(&["*.c", "*.h"], false, "a.h") && !accepts(&["a/", "!*.h"], false, "a/b.h"));
        assert!(PathFilter::new(&["["], false).is_err());
    }

    #[test]
    fn bad_filters_are_named() {
        let error = Filter::new(&Query::text("x").path_glob("a[")).unwrap_err();
        assert!(error.to_string().contains("--path-glob"), "{error}");
        let error = Filter::new(&Query::text("x").language("klingon")).unwrap_err();
        assert!(error.to_string().contains("klingon"), "{error}");
    }
}
