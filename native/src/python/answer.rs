//! The authority's keys of one request.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::keys::exactly;
use crate::answer::{self, Maker, Plain};
use crate::authority::Share;

/// Keys that are asked for by iv and descriptor alone.
#[pyclass(frozen, module = "worker._native")]
pub struct PlainKeys(Plain);

/// Permutations, what every message begins with, the key of tags, the keyset.
type Secrets = ((Vec<u8>, Vec<u8>, Vec<u8>), Vec<u8>, Vec<u8>, [u8; 16]);

fn maker(secrets: Secrets) -> PyResult<Maker> {
    const WHAT: &str = "a share has permutations of 16, 16 and 33";
    let (share, prefix, tag_key) = (Zeroizing::new(secrets.0), Zeroizing::new(secrets.1), Zeroizing::new(secrets.2));
    let opened = Share::new(&exactly(&share.0, WHAT)?, &exactly(&share.1, WHAT)?, &exactly(&share.2, WHAT)?, &prefix)
        .ok_or_else(|| PyValueError::new_err(WHAT))?;
    Ok(Maker::new(opened, &tag_key, secrets.3))
}

#[pymethods]
impl PlainKeys {
    fn __len__(&self) -> usize {
        self.0.ivs.len()
    }

    /// The rest of the body, JSON.
    #[getter]
    fn head(&self) -> &str {
        &self.0.head
    }

    /// Each key's descriptor.
    #[getter]
    fn descriptors(&self) -> Vec<String> {
        self.0.descriptors.iter().map(ToString::to_string).collect()
    }

    /// The reply to `generate-data-key`.
    fn generate<'py>(&self, py: Python<'py>, secrets: Secrets) -> PyResult<Bound<'py, PyBytes>> {
        let maker = maker(secrets)?;
        let made = py.detach(|| maker.generate(&self.0)).map_err(|_| PyRuntimeError::new_err("no random numbers"))?;
        Ok(PyBytes::new(py, &made))
    }

    /// The reply to a call that makes keys again, empty where one is refused whole; and how many were refused.
    fn retrieve<'py>(&self, py: Python<'py>, secrets: Secrets, fallible: bool) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        let maker = maker(secrets)?;
        let (made, refused) = py.detach(|| maker.retrieve(&self.0, fallible));
        Ok((PyBytes::new(py, &made), refused))
    }

    fn __repr__(&self) -> String {
        format!("PlainKeys({})", self.0.ivs.len())
    }
}

/// Reads a request for keys; none for what the twin has to read. `again`: keys that have tags.
#[pyfunction]
pub fn plain_keys(py: Python<'_>, body: &[u8], again: bool) -> Option<PlainKeys> {
    py.detach(|| answer::plain(body, again)).map(PlainKeys)
}
