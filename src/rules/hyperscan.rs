//! All rules for names of a tree in one compiled Hyperscan database: one scan of a name says which of them match.
//!
//! The database knows expressions (see `translate`), not rules: a rule file that was read keeps the numbers of its own, and
//! which rule decides is found as ever. So the database of yesterday serves every file whose rules it has, whatever else
//! has changed.
//!
//! Hyperscan: Wang et al., "Hyperscan: A Fast Multi-pattern Regex Matcher for Modern CPUs", NSDI 2019.

use super::expressions::Expressions;
use super::translate::text;
use ::hyperscan::{
    BlockDatabase, BlockMode, Builder, HsError, Matching, Pattern, PatternFlags, Patterns, SerializedDatabase,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So often a set is compiled again without an expression that was refused.
const ATTEMPTS: usize = 4;

/// Compiled expressions. They never change, and threads share them.
pub struct Database {
    hyperscan: BlockDatabase,
    numbers: HashMap<Box<str>, u32>,
    /// Tells databases apart.
    id: u64,
}

/// What one thread needs for its scans. It may be used with one database after another.
#[derive(Default)]
pub struct Scratch {
    hyperscan: Option<::hyperscan::Scratch>,
    /// The id of the database that it was made for; 0 for none.
    made_for: u64,
    text: Vec<u8>,
    matched: Vec<u32>,
}

/// Why there is no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Hyperscan: {0}")]
pub struct DatabaseError(String);

impl From<::hyperscan::Error> for DatabaseError {
    fn from(error: ::hyperscan::Error) -> DatabaseError {
        DatabaseError(error.to_string())
    }
}

impl Database {
    /// Whether this build has Hyperscan.
    pub const IS_BUILT: bool = true;

    /// The version of the library.
    pub fn version() -> Option<String> {
        Some(::hyperscan::version_str().to_string_lossy().into_owned())
    }

    /// Compiles `expressions`; those that Hyperscan refuses are left out. Takes about a tenth of a millisecond for each.
    ///
    /// # Errors
    /// When there are none or too many, and when Hyperscan cannot compile them, for want of memory for example.
    pub fn compile(expressions: &Expressions) -> Result<Database, DatabaseError> {
        let texts = expressions.texts().ok_or_else(|| DatabaseError("no expressions, or too many".into()))?;
        let mut chosen: Vec<&String> = texts.iter().collect();
        for _ in 0..ATTEMPTS {
            let patterns: Result<Vec<Pattern>, ::hyperscan::Error> = (0..).zip(&chosen).map(pattern).collect();
            match Patterns(patterns?).build::<BlockMode>() {
                Ok(hyperscan) => return Ok(Database::new(hyperscan, chosen.into_iter().map(String::as_str))),
                Err(error) => {
                    let refused = refused(&error).filter(|index| *index < chosen.len()).ok_or(error)?;
                    tracing::debug!(expression = chosen[refused], "refused by Hyperscan");
                    chosen.remove(refused);
                }
            }
        }
        Err(DatabaseError("too many expressions are refused".into()))
    }

    /// What [`Database::from_bytes`] makes this database of, on the same kind of processor.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DatabaseError> {
        let mut expressions: Vec<_> = self.numbers.iter().collect();
        expressions.sort_unstable_by_key(|(_, number)| **number);
        let mut bytes = (expressions.len() as u32).to_le_bytes().to_vec();
        for (expression, _) in expressions {
            bytes.extend_from_slice(&(expression.len() as u32).to_le_bytes());
            bytes.extend_from_slice(expression.as_bytes());
        }
        bytes.extend_from_slice(&self.hyperscan.serialize()?);
        Ok(bytes)
    }

    /// Loads what [`Database::to_bytes`] has made.
    ///
    /// # Errors
    /// When it is not that, and when another version of Hyperscan or another kind of processor has made it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Database, DatabaseError> {
        let mut rest = bytes;
        let texts = read_texts(&mut rest).ok_or_else(|| DatabaseError("the stored database is cut short".into()))?;
        Ok(Database::new(rest.deserialize()?, texts.into_iter()))
    }

    fn new<'t>(hyperscan: BlockDatabase, texts: impl Iterator<Item = &'t str>) -> Database {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let numbers = texts.zip(0..).map(|(text, number)| (text.into(), number)).collect();
        Database { hyperscan, numbers, id: NEXT.fetch_add(1, Relaxed) }
    }

    /// What it was compiled of, in any order.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        self.numbers.keys().map(AsRef::as_ref)
    }

    /// The number of an expression.
    pub(super) fn number(&self, expression: &str) -> Option<u32> {
        self.numbers.get(expression).copied()
    }

    /// The numbers of the expressions that match a name, in any order; `None` when it could not be scanned, for want of
    /// memory.
    pub(super) fn scan<'s>(&self, name: &[u8], is_dir: bool, scratch: &'s mut Scratch) -> Option<&'s [u32]> {
        scratch.matched.clear();
        if scratch.made_for != self.id {
            scratch.hyperscan = self.hyperscan.alloc_scratch().ok();
            scratch.made_for = self.id;
        }
        let Scratch { hyperscan: Some(hyperscan), text: buffer, matched, .. } = scratch else { return None };
        text(name, is_dir, buffer);
        let scanned = self.hyperscan.scan(&*buffer, hyperscan, |number: u32, _: u64, _: u64, _: u32| {
            matched.push(number);
            Matching::Continue
        });
        scanned.is_ok().then_some(matched)
    }
}

fn pattern((number, text): (usize, &&String)) -> Result<Pattern, ::hyperscan::Error> {
    let mut pattern = Pattern::with_flags(text.as_str(), PatternFlags::DOTALL)?;
    pattern.id = Some(number);
    Ok(pattern)
}

/// The index of the expression that an error is about.
fn refused(error: &::hyperscan::Error) -> Option<usize> {
    match error {
        ::hyperscan::Error::Hyperscan(HsError::CompileError(error)) => error.expression(),
        _ => None,
    }
}

/// Expressions in the order of their numbers; what is behind them stays in `bytes`.
fn read_texts<'b>(bytes: &mut &'b [u8]) -> Option<Vec<&'b str>> {
    let count = take_u32(bytes)?;
    (0..count)
        .map(|_| {
            let length = take_u32(bytes)? as usize;
            let (text, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            std::str::from_utf8(text).ok()
        })
        .collect()
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("expressions", &self.numbers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(texts: &[&str]) -> Expressions {
        let mut expressions = Expressions::default();
        expressions.add(texts.iter().map(|text| (*text).to_owned()));
        expressions
    }

    #[test]
    fn what_is_stored_answers_as_before() {
        let expressions = set(&["/core\\x00", "\\x2eo\\x00", "/dir\\x00/"]);
        let compiled = Database::compile(&expressions).unwrap();
        let loaded = Database::from_bytes(&compiled.to_bytes().unwrap()).unwrap();
        assert_eq!(loaded.expressions().map(str::to_owned).collect::<BTreeSet<_>>(), *expressions.texts().unwrap());
        let (mut one, mut other) = (Scratch::default(), Scratch::default());
        for (name, is_dir, count) in
            [("core", false, 1), ("x.o", true, 1), ("dir", false, 0), ("dir", true, 1), ("", false, 0)]
        {
            let found = compiled.scan(name.as_bytes(), is_dir, &mut one).unwrap().to_vec();
            assert_eq!(found, loaded.scan(name.as_bytes(), is_dir, &mut other).unwrap(), "{name}");
            assert_eq!(found.len(), count, "{name}");
        }
        // One scratch for two databases.
        assert_eq!(loaded.scan(b"core", false, &mut one).unwrap().len(), 1);
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = Database::compile(&set(&["/core\\x00"])).unwrap().to_bytes().unwrap();
        for length in 0..bytes.len() {
            assert!(Database::from_bytes(&bytes[..length]).is_err(), "cut to {length}");
        }
        assert!(Database::compile(&set(&[])).is_err());
    }

    #[test]
    fn what_is_refused_is_left_out() {
        let database = Database::compile(&set(&["/core\\x00", "("])).unwrap();
        assert!(database.number("/core\\x00").is_some() && database.number("(").is_none());
        assert_eq!(database.scan(b"core", false, &mut Scratch::default()).unwrap().len(), 1);
    }
}
