//! The authority's half of data keys.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::keys::exactly;
use crate::authority::{Item, Share};
use crate::shuffle::MATERIAL;
use crate::tree;

/// Key material: n times 528 bytes. `prefix` is what every message of the keyset begins with, `secrets`
/// what each ends with in an erasable one.
#[pyfunction]
#[pyo3(signature = (share, prefix, ivs, descriptors, tags, secrets=None))]
pub fn materials<'py>(
    py: Python<'py>,
    share: (Vec<u8>, Vec<u8>, Vec<u8>),
    prefix: &[u8],
    ivs: Vec<PyBackedBytes>,
    descriptors: Vec<PyBackedBytes>,
    tags: Vec<PyBackedBytes>,
    secrets: Option<Vec<PyBackedBytes>>,
) -> PyResult<Bound<'py, PyBytes>> {
    const WHAT: &str = "a share has permutations of 16, 16 and 33";
    let share = Zeroizing::new(share);
    let opened = Share::new(&exactly(&share.0, WHAT)?, &exactly(&share.1, WHAT)?, &exactly(&share.2, WHAT)?, prefix)
        .ok_or_else(|| PyValueError::new_err(WHAT))?;
    let blocks = ivs.iter().map(|iv| exactly::<16>(iv, "an iv is 16 bytes")).collect::<PyResult<Vec<_>>>()?;
    if descriptors.len() != blocks.len() || tags.len() != blocks.len() {
        return Err(PyValueError::new_err("a descriptor and a tag for each iv"));
    }
    if secrets.as_ref().is_some_and(|secrets| secrets.len() != blocks.len()) {
        return Err(PyValueError::new_err("the secrets of a context for each iv"));
    }
    let made = py.detach(|| {
        let each = blocks.iter().zip(descriptors.iter().zip(&tags)).enumerate();
        let items: Vec<Item<'_>> = each
            .map(|(at, (iv, (descriptor, tag)))| {
                let secrets = secrets.as_ref().map_or(&[][..], |secrets| &secrets[at][..]);
                Item { iv, descriptor, tag, secrets }
            })
            .collect();
        let mut made = vec![[0; MATERIAL]; items.len()];
        opened.materials(&items, &mut made);
        made
    });
    Ok(PyBytes::new(py, made.as_flattened()))
}

/// The leaf at a position of an erasable keyset's tree, from a node at `depth` above it.
#[pyfunction]
pub fn leaf<'py>(py: Python<'py>, node: &[u8], position: u64, depth: u32) -> PyResult<Bound<'py, PyBytes>> {
    let node = Zeroizing::new(exactly::<{ tree::NODE }>(node, "a node is 32 bytes")?);
    if depth > tree::DEPTH {
        return Err(PyValueError::new_err("a tree is 64 deep"));
    }
    Ok(PyBytes::new(py, &*tree::leaf(&node, position, depth)))
}
