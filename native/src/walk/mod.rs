//! The walk over a datum: where each declared value lies, and what its key and its envelope need from beside it.
//!
//! The readable twin is `worker/avro/batch.py`. A datum that the walk refuses is `Refused`, without a reason: the twin
//! reads it again and says why.

mod beside;
mod found;
mod nodes;

pub use found::{BoundSpan, Cut, Found};
pub use nodes::Scratch;

#[derive(Debug, PartialEq, Eq)]
pub struct Refused;
