//! Records between librdkafka and native memory. The clients are confluent-kafka's own, with all their callbacks and
//! calls; what runs once per record is done here, on the same librdkafka that the wheel has loaded into the process.
//!
//! `unsafe` stands in this folder only, and in `shuffle`. Its invariants: a client's pointer is used only under the
//! lock that `Guard` holds, which the client's destruction waits for; every message that is taken is destroyed in the
//! call that took it, after its bytes were copied; no pointer into librdkafka's memory leaves a call.

mod api;
pub mod batch;
pub mod chunk;
pub mod client;
mod frames;
pub mod headers;
mod plugin;
pub mod producer;
pub mod receive;
pub mod rounds;

pub use api::{load, BadLibrary};
pub use plugin::{live, newest};
