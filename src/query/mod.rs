//! Query
pub mod plan;
