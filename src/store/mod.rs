//! The metadata half of the index: one LMDB environment with what is known of every directory and file, and with the
//! published generation.
//!
//! Owns the bytes of the records (`schema`) and the environment (`env`). Readers take a transaction each; the only
//! writer is `commit`. Keys are (parent directory, name), never whole paths: a rename of a directory touches one key, and
//! LMDB's limit of 511 bytes a key is never met.

pub(crate) mod env;
pub(crate) mod intent;
pub(crate) mod pages;
pub(crate) mod read;
pub(crate) mod rebuild;
pub(crate) mod schema;
pub(crate) mod seal;
pub(crate) mod symbols;
pub(crate) mod vectors;
pub(crate) mod write;

pub(crate) use env::Store;
pub(crate) use read::StoreReader;
