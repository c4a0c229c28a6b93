//! The extension module `worker._native`: the bindings of what the other modules do.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod aead;
#[allow(unsafe_code)]
pub mod arena;
pub mod arrow;
pub mod asked;
pub mod authority;
pub mod contexts;
pub mod cursor;
pub mod derive;
pub mod envelope;
pub mod feed;
#[allow(unsafe_code)]
pub mod hkdf;
pub mod json;
#[allow(unsafe_code)]
pub mod kafka;
pub mod keys;
pub mod lines;
pub mod lock;
pub mod moment;
pub mod open;
pub mod order;
pub mod output;
pub mod passes;
pub mod pools;
#[allow(unsafe_code)]
pub mod prefetch;
pub mod program;
pub mod reply;
pub mod request;
pub mod room;
pub mod rows;
pub mod seal;
pub mod secrets;
#[allow(unsafe_code)]
pub mod shake;
pub mod shapes;
#[allow(unsafe_code)]
pub mod shuffle;
pub mod slab;
pub mod stretches;
pub mod table;
pub mod tree;
pub mod typed;
pub mod unseal;
pub mod varint;
pub mod vault;
pub mod walk;

mod python;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    python::register(module)
}
