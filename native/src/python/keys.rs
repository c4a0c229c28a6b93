//! Keys as handles: what they hold never becomes a Python object.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyList};
use zeroize::Zeroizing;

use super::framed::Framed;
use crate::aead::{Cipher, KEY_BYTES};
use crate::envelope::BadLabel;
use crate::keys::{Labels, Spent};
use crate::request;
use crate::secrets::Secrets;

pub fn exactly<const N: usize>(bytes: &[u8], what: &'static str) -> PyResult<[u8; N]> {
    bytes.try_into().map_err(|_| PyValueError::new_err(what))
}

/// Copies a secret out of Python's memory.
pub fn secret(py: Python<'_>, buffer: &PyBuffer<u8>) -> PyResult<Zeroizing<[u8; KEY_BYTES]>> {
    if buffer.item_count() != KEY_BYTES {
        return Err(PyValueError::new_err("a data key is 32 bytes"));
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    buffer.copy_to_slice(py, &mut *bytes)?;
    Ok(bytes)
}

#[pyclass(frozen, module = "worker._native")]
pub struct Lease(pub Arc<crate::envelope::Lease>);

#[pymethods]
impl Lease {
    #[new]
    fn new(
        py: Python<'_>,
        data_key: PyBuffer<u8>,
        keyset: &[u8],
        iv: &[u8],
        tag: &[u8],
        descriptor: &str,
    ) -> PyResult<Self> {
        let cipher = Cipher::leased(&*secret(py, &data_key)?).map_err(|_| PyRuntimeError::new_err("no cipher"))?;
        let (keyset, iv) = (exactly(keyset, "a keyset is 16 bytes")?, exactly(iv, "an iv is 16 bytes")?);
        lease(cipher, &keyset, &iv, tag, descriptor.as_bytes())
    }

    fn __repr__(&self) -> &'static str {
        "Lease(...)"
    }
}

fn lease(cipher: Cipher, keyset: &[u8; 16], iv: &[u8; 16], tag: &[u8], descriptor: &[u8]) -> PyResult<Lease> {
    crate::envelope::Lease::new(cipher, keyset, iv, tag, descriptor).map(|lease| Lease(Arc::new(lease))).map_err(|BadLabel| {
        PyValueError::new_err("a leased envelope holds 1-255 bytes of descriptor and at most 255 of tag")
    })
}

pub const WIPED: &str = "this data key has been wiped";

#[pyclass(frozen, module = "worker._native")]
pub struct KeyBatch(pub Arc<crate::keys::KeyBatch>);

#[pymethods]
impl KeyBatch {
    /// Takes `DataKey`s, and the policy of each as MessagePack.
    #[new]
    fn new(py: Python<'_>, keys: &Bound<'_, PyList>, policies: Vec<Vec<u8>>) -> PyResult<Self> {
        let count = keys.len();
        if policies.len() != count {
            return Err(PyValueError::new_err("a policy, or an empty one, for each key"));
        }
        let mut secrets = Secrets::zeros(count);
        let mut ivs = Vec::with_capacity(count);
        let mut labels = Labels::default();
        for ((key, policy), place) in keys.iter().zip(policies).zip(secrets.iter_mut()) {
            *place = *secret(py, &key.getattr(pyo3::intern!(py, "secret"))?.extract()?)?;
            ivs.push(exactly(key.getattr(pyo3::intern!(py, "iv"))?.extract()?, "an iv is 16 bytes")?);
            let tag = key.getattr(pyo3::intern!(py, "tag"))?;
            let keyset = key.getattr(pyo3::intern!(py, "keyset"))?.getattr(pyo3::intern!(py, "bytes"))?;
            let descriptor = key.getattr(pyo3::intern!(py, "descriptor"))?;
            let keyset = exactly(keyset.extract()?, "a keyset is 16 bytes")?;
            labels.tags.push(tag.extract()?);
            labels.share(1, descriptor.extract::<String>()?.as_bytes(), &keyset, &policy);
        }
        crate::keys::KeyBatch::new(secrets, ivs, labels)
            .map(|keys| Self(Arc::new(keys)))
            .ok_or_else(|| PyValueError::new_err("the keys do not add up"))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// A key's iv and tag.
    fn label<'py>(&self, py: Python<'py>, index: usize) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let label = self.0.label(index).ok_or_else(|| PyIndexError::new_err("no such key"))?;
        Ok((PyBytes::new(py, label.iv), PyBytes::new(py, label.tag)))
    }

    /// A copy of a key, for what Python does with one.
    fn secret<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyByteArray>> {
        let secret = self.0.secret(index).map_err(|Spent| PyRuntimeError::new_err(WIPED))?;
        Ok(PyByteArray::new(py, &*secret))
    }

    /// A key as a lease's.
    fn lease(&self, index: usize) -> PyResult<Lease> {
        let secret = self.0.secret(index).map_err(|Spent| PyRuntimeError::new_err(WIPED))?;
        let label = self.0.label(index).ok_or_else(|| PyIndexError::new_err("no such key"))?;
        let cipher = Cipher::leased(&secret).map_err(|_| PyRuntimeError::new_err("no cipher"))?;
        lease(cipher, label.keyset, label.iv, label.tag, label.descriptor)
    }

    /// Overwrites some keys.
    fn wipe(&self, start: usize, stop: usize) {
        self.0.wipe(start, stop);
    }

    fn __repr__(&self) -> &'static str {
        "KeyBatch(...)"
    }
}

/// What is said where counts or lengths differ.
pub const MISMATCH: &str = "the keys do not add up";

#[derive(FromPyObject)]
pub enum Contexts {
    Framed(Framed),
    Texts(Vec<Vec<String>>),
}

/// The items of `generate-data-key`; see `crate::request::Runs`.
#[pyfunction]
pub fn generate_items<'py>(
    py: Python<'py>,
    ivs: &[u8],
    runs: Vec<(PyBackedBytes, Vec<String>, Contexts, Vec<usize>)>,
) -> PyResult<Bound<'py, PyBytes>> {
    let items = py.detach(|| {
        let runs: Vec<request::Runs<'_>> = runs
            .iter()
            .map(|(head, names, contexts, counts)| {
                let contexts = match contexts {
                    Contexts::Framed(framed) => framed.contexts(),
                    Contexts::Texts(texts) => request::Contexts::Texts(texts),
                };
                request::Runs { head, names, contexts, counts }
            })
            .collect();
        request::generates(ivs, &runs)
    });
    Ok(PyBytes::new(py, &items.ok_or_else(|| PyValueError::new_err(MISMATCH))?))
}
