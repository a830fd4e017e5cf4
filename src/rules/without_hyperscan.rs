//! Stands in for `hyperscan` where that is not built: there is no database, and nobody can have one.

use super::expressions::Expressions;

/// Compiled expressions: none here.
#[derive(Debug)]
pub enum Database {}

/// What one thread needs for its scans: nothing here.
#[derive(Debug, Default)]
pub struct Scratch(());

/// Why there is no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this build has no Hyperscan: it takes the feature `hyperscan`, on x86-64 Linux")]
pub struct DatabaseError(());

impl Database {
    /// Whether this build has Hyperscan.
    pub const IS_BUILT: bool = false;

    /// Of no library.
    pub fn version() -> Option<String> {
        None
    }

    /// Says that there is none.
    ///
    /// # Errors
    /// Always.
    pub fn compile(_: &Expressions) -> Result<Database, DatabaseError> {
        Err(DatabaseError(()))
    }

    /// Says that there is none.
    ///
    /// # Errors
    /// Always.
    pub fn from_bytes(_: &[u8]) -> Result<Database, DatabaseError> {
        Err(DatabaseError(()))
    }

    /// Of no database.
    ///
    /// # Errors
    /// Never.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DatabaseError> {
        match *self {}
    }

    /// Of no database.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    pub(super) fn number(&self, _: &str) -> Option<u32> {
        match *self {}
    }

    pub(super) fn scan<'s>(&self, _: &[u8], _: bool, _: &'s mut Scratch) -> Option<&'s [u32]> {
        match *self {}
    }
}
