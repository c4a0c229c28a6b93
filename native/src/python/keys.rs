//! Keys as handles: what they hold never becomes a Python object.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use zeroize::Zeroizing;

use crate::authority::{Item, Share};
use crate::aead::KEY_BYTES;
use crate::derive::BadMaterial;
use crate::envelope::IV_BYTES;
use crate::keys::Label;
use crate::shuffle::{Block, BLOCKS};

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
        let mut secrets = Zeroizing::new(Vec::with_capacity(count * KEY_BYTES));
        let mut ivs = Vec::with_capacity(count * IV_BYTES);
        let mut labels: Vec<Label> = Vec::with_capacity(count);
        for (key, policy) in keys.iter().zip(policies) {
            secrets.extend_from_slice(&*secret(py, &key.getattr(pyo3::intern!(py, "secret"))?.extract()?)?);
            ivs.extend_from_slice(&exactly::<IV_BYTES>(key.getattr(pyo3::intern!(py, "iv"))?.extract()?, "an iv is 16 bytes")?);
            let tag = key.getattr(pyo3::intern!(py, "tag"))?;
            let keyset = key.getattr(pyo3::intern!(py, "keyset"))?.getattr(pyo3::intern!(py, "bytes"))?;
            let descriptor = key.getattr(pyo3::intern!(py, "descriptor"))?;
            let descriptor: &[u8] = &descriptor.extract::<String>()?.into_bytes();
            let last = labels.last();
            labels.push(Label {
                tag: tag.extract::<&[u8]>()?.into(),
                descriptor: shared(last.map(|l| &l.descriptor), descriptor),
                keyset: exactly(keyset.extract()?, "a keyset is 16 bytes")?,
                policy: shared(last.map(|l| &l.policy), &policy),
            });
        }
        crate::keys::KeyBatch::new(secrets, ivs, labels)
            .map(|keys| Self(Arc::new(keys)))
            .ok_or_else(|| PyValueError::new_err("the keys do not add up"))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> &'static str {
        "KeyBatch(...)"
    }
}

fn shared(last: Option<&Arc<[u8]>>, bytes: &[u8]) -> Arc<[u8]> {
    last.filter(|held| &***held == bytes).cloned().unwrap_or_else(|| bytes.into())
}

#[pyclass(frozen, module = "worker._native")]
pub struct ClientKey(crate::derive::ClientKey);

/// Secrets, tags, and policies as lists of claim and value.
type Made = (Py<PyAny>, Vec<Py<PyBytes>>, Vec<Option<Vec<(String, Option<String>)>>>);

#[pymethods]
impl ClientKey {
    #[new]
    fn new(p1: &[u8], p2_from: &[u8], p2_to: &[u8], p3: &[u8]) -> PyResult<Self> {
        const WHAT: &str = "a client key has permutations of 16, 16, 16 and 33";
        let block = |bytes: &[u8]| exactly::<16>(bytes, WHAT);
        let (p1, from, to, p3): (Block, Block, Block, [u8; BLOCKS]) =
            (block(p1)?, block(p2_from)?, block(p2_to)?, exactly(p3, WHAT)?);
        crate::derive::ClientKey::new(&p1, &from, &to, &p3).map(Self).ok_or_else(|| PyValueError::new_err(WHAT))
    }

    /// n keys of 32 bytes from n ivs of 16 and materials of 528; raises `ValueError` with what is wrong.
    fn derive<'py>(&self, py: Python<'py>, ivs: &[u8], materials: &[u8]) -> PyResult<Bound<'py, pyo3::types::PyByteArray>> {
        let keys = py.detach(|| self.0.derive(ivs, materials)).map_err(refusal)?;
        Ok(pyo3::types::PyByteArray::new(py, &keys))
    }

    /// Reads the answer to `generate-data-key` and derives its keys.
    fn generated(&self, py: Python<'_>, ivs: &[u8], body: &[u8]) -> PyResult<Made> {
        let (keys, reply) = py
            .detach(|| {
                let mut reply = crate::reply::generated(body, ivs.len() / IV_BYTES)?;
                let materials = std::mem::take(&mut reply.materials);
                Ok((self.0.derive(ivs, &materials).map_err(word)?, reply))
            })
            .map_err(PyValueError::new_err::<&'static str>)?;
        let tags = reply.tags.iter().map(|tag| PyBytes::new(py, tag).unbind()).collect();
        let policies = reply
            .policies
            .into_iter()
            .map(|policy| policy.map(|p| p.conditions.into_iter().map(|c| (c.claim, c.value)).collect()))
            .collect();
        Ok((pyo3::types::PyByteArray::new(py, &keys).into_any().unbind(), tags, policies))
    }

    /// Reads the answer to `retrieve-data-key-fallible`: the keys that were granted, and why others were not.
    fn retrieved(&self, py: Python<'_>, ivs: Vec<PyBackedBytes>, body: &[u8]) -> PyResult<(Py<PyAny>, Vec<Option<String>>)> {
        let (keys, refused) = py
            .detach(|| {
                let mut reply = crate::reply::retrieved(body, ivs.len())?;
                let materials = std::mem::take(&mut reply.materials);
                let granted = ivs.iter().zip(&reply.refused).filter(|(_, refused)| refused.is_none());
                let granted: Vec<u8> = granted.flat_map(|(iv, _)| iv.iter().copied()).collect();
                Ok((self.0.derive(&granted, &materials).map_err(word)?, reply.refused))
            })
            .map_err(PyValueError::new_err::<&'static str>)?;
        Ok((pyo3::types::PyByteArray::new(py, &keys).into_any().unbind(), refused))
    }

    fn __repr__(&self) -> &'static str {
        "ClientKey(...)"
    }
}

fn word(bad: BadMaterial) -> &'static str {
    match bad {
        BadMaterial::Length => "key material of another length than 528 bytes for each iv of 16",
        BadMaterial::Hostile => "the key service sent material with repeated blocks, as no honest one does",
    }
}

fn refusal(bad: BadMaterial) -> PyErr {
    PyValueError::new_err(word(bad))
}

/// The authority's key material: n times 528 bytes. `prefix` is what every message of the keyset begins with.
#[pyfunction]
pub fn materials<'py>(
    py: Python<'py>,
    share: (Vec<u8>, Vec<u8>, Vec<u8>),
    prefix: &[u8],
    ivs: Vec<PyBackedBytes>,
    descriptors: Vec<PyBackedBytes>,
    tags: Vec<PyBackedBytes>,
) -> PyResult<Bound<'py, PyBytes>> {
    const WHAT: &str = "a share has permutations of 16, 16 and 33";
    let share = Zeroizing::new(share);
    let opened = Share::new(&exactly(&share.0, WHAT)?, &exactly(&share.1, WHAT)?, &exactly(&share.2, WHAT)?, prefix)
        .ok_or_else(|| PyValueError::new_err(WHAT))?;
    let blocks = ivs.iter().map(|iv| exactly::<16>(iv, "an iv is 16 bytes")).collect::<PyResult<Vec<_>>>()?;
    if descriptors.len() != blocks.len() || tags.len() != blocks.len() {
        return Err(PyValueError::new_err("a descriptor and a tag for each iv"));
    }
    let made = py.detach(|| {
        let each = blocks.iter().zip(descriptors.iter().zip(&tags));
        opened.materials(each.map(|(iv, (descriptor, tag))| Item { iv, descriptor, tag }))
    });
    Ok(PyBytes::new(py, &made))
}
