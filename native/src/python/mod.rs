//! Python's face of the modules: conversions and classes, no logic of their own.

mod kafka;
mod keys;
mod leases;
mod program;
mod sequence;
mod split;

use pyo3::prelude::*;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<program::Program>()?;
    module.add_class::<split::Split>()?;
    module.add_class::<split::Output>()?;
    module.add_class::<leases::Granted>()?;
    module.add_class::<leases::Vault>()?;
    module.add_class::<leases::Directory>()?;
    module.add_function(wrap_pyfunction!(leases::lease_begin, module)?)?;
    module.add_function(wrap_pyfunction!(leases::lease_end, module)?)?;
    module.add_function(wrap_pyfunction!(leases::lease_fresh, module)?)?;
    module.add_function(wrap_pyfunction!(leases::lease_take, module)?)?;
    module.add_function(wrap_pyfunction!(leases::lease_ahead, module)?)?;
    module.add_class::<keys::KeyBatch>()?;
    module.add_class::<keys::ClientKey>()?;
    module.add_function(wrap_pyfunction!(keys::materials, module)?)?;
    module.add_class::<kafka::Batch>()?;
    module.add_class::<kafka::Column>()?;
    module.add_class::<kafka::Client>()?;
    module.add_function(wrap_pyfunction!(kafka::kafka_load, module)?)?;
    module.add_function(wrap_pyfunction!(kafka::kafka_newest, module)?)?;
    Ok(())
}
