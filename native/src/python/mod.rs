//! Python's face of the modules: conversions and classes, no logic of their own.

#[allow(unsafe_code)]
mod arrow;
mod authority;
mod buffers;
mod client;
mod client_key;
mod directory;
mod framed;
mod json;
mod kafka;
mod keys;
mod materials;
mod open;
mod outgoing;
mod output;
mod passes;
mod pools;
mod program;
mod reader;
mod records;
mod rows;
mod runs;
mod sealing;
mod sequence;
mod shapes;
mod split;
mod stretches;
mod supplies;
mod vault;
mod words;

use aws_lc_rs::digest::{digest, SHA256};
use pyo3::prelude::*;

/// The digest of the face that Python's side was written for, by which it knows one that was built for another.
fn interface() -> String {
    let digest = digest(&SHA256, include_bytes!("../../../worker/_native.pyi"));
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add("INTERFACE", interface())?;
    module.add_class::<program::Program>()?;
    module.add_class::<split::Split>()?;
    module.add_class::<output::Output>()?;
    module.add_class::<rows::Rows>()?;
    module.add_class::<vault::Granted>()?;
    module.add_class::<vault::Vault>()?;
    module.add_class::<directory::Directory>()?;
    module.add_class::<framed::Framed>()?;
    module.add_class::<stretches::Stretches>()?;
    module.add_class::<stretches::Drawn>()?;
    module.add_function(wrap_pyfunction!(passes::lease_begin, module)?)?;
    module.add_function(wrap_pyfunction!(passes::lease_end, module)?)?;
    module.add_function(wrap_pyfunction!(passes::lease_states, module)?)?;
    module.add_function(wrap_pyfunction!(passes::lease_take, module)?)?;
    module.add_function(wrap_pyfunction!(passes::lease_ahead, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_begin, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_end, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_look, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_take, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_lacking, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_ahead, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_ask, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_came, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_put, module)?)?;
    module.add_function(wrap_pyfunction!(pools::pool_weigh, module)?)?;
    module.add_class::<open::Requests>()?;
    module.add_class::<open::Envelopes>()?;
    module.add_class::<arrow::EnvelopeArrays>()?;
    module.add_class::<reader::Reader>()?;
    module.add_class::<keys::Lease>()?;
    module.add_class::<keys::KeyBatch>()?;
    module.add_class::<sealing::Texts>()?;
    module.add_class::<client_key::ClientKey>()?;
    module.add_function(wrap_pyfunction!(materials::materials, module)?)?;
    module.add_function(wrap_pyfunction!(materials::leaf, module)?)?;
    module.add_function(wrap_pyfunction!(keys::generate_items, module)?)?;
    module.add_function(wrap_pyfunction!(sealing::seal_records, module)?)?;
    module.add_class::<authority::Share>()?;
    module.add_class::<authority::Asked>()?;
    module.add_class::<json::JsonWriter>()?;
    module.add_class::<json::JsonColumn>()?;
    module.add_function(wrap_pyfunction!(json::json_lines, module)?)?;
    module.add_class::<kafka::Batch>()?;
    module.add_class::<kafka::Column>()?;
    module.add_class::<client::Client>()?;
    module.add_class::<outgoing::Outgoing>()?;
    module.add_function(wrap_pyfunction!(client::kafka_load, module)?)?;
    module.add_function(wrap_pyfunction!(client::kafka_newest, module)?)?;
    module.add_function(wrap_pyfunction!(client::kafka_wake, module)?)?;
    Ok(())
}
