//! Data keys derived from both parties' halves, which never become Python objects.

use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

use super::keys::{exactly, KeyBatch, MISMATCH};
use super::open::Requests;
use crate::derive::{BadMaterial, Derivation};
use crate::envelope::IV_BYTES;
use crate::keys::Labels;
use crate::shuffle::{Block, BLOCKS};

#[pyclass(frozen, module = "worker._native")]
pub struct ClientKey(crate::derive::ClientKey);

/// A policy as claims and values.
type Conditions = Vec<(String, Option<String>)>;

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
    fn derive<'py>(&self, py: Python<'py>, ivs: &[u8], materials: &[u8]) -> PyResult<Bound<'py, PyByteArray>> {
        let keys = py.detach(|| self.0.derive(ivs, materials)).map_err(refusal)?;
        Ok(PyByteArray::new(py, keys.as_flattened()))
    }

    /// Reads the answer to `generate-data-key` and derives its keys; `descriptors` say for how many keys each stands.
    fn generate(
        &self,
        py: Python<'_>,
        ivs: &[u8],
        keyset: &[u8],
        descriptors: Vec<(String, usize)>,
        body: &[u8],
    ) -> PyResult<(KeyBatch, Option<Vec<Option<Conditions>>>)> {
        let keyset = exactly(keyset, "a keyset is 16 bytes")?;
        let (keys, policies) = py
            .detach(|| {
                let ivs: Result<Vec<Block>, _> = ivs.chunks(IV_BYTES).map(Block::try_from).collect();
                let ivs = ivs.map_err(|_| word(BadMaterial::Length))?;
                let mut derivation = Derivation::new(&self.0, ivs.len());
                let reply = crate::reply::generated(body, ivs.len(), |at, material| derivation.derive(at, &ivs[at], material))?;
                let secrets = derivation.keys().map_err(word)?;
                let mut labels = Labels::tagged(reply.tags);
                if reply.policies.iter().all(Option::is_none) {
                    for (descriptor, count) in &descriptors {
                        labels.share(*count, descriptor.as_bytes(), &keyset, b"");
                    }
                } else {
                    let each = descriptors.iter().flat_map(|(text, count)| std::iter::repeat_n(text.as_bytes(), *count));
                    for (descriptor, policy) in each.zip(&reply.policies) {
                        let policy = policy.as_ref().map(crate::reply::Policy::to_msgpack).unwrap_or_default();
                        labels.share(1, descriptor, &keyset, &policy);
                    }
                }
                let keys = crate::keys::KeyBatch::new(secrets, ivs, labels).ok_or(MISMATCH)?;
                Ok((keys, reply.policies))
            })
            .map_err(PyValueError::new_err::<&'static str>)?;
        let told = policies.iter().any(Option::is_some).then(|| {
            let conditions = |policy: crate::reply::Policy| policy.conditions.into_iter().map(|c| (c.claim, c.value)).collect();
            policies.into_iter().map(|policy| policy.map(conditions)).collect()
        });
        Ok((KeyBatch(Arc::new(keys)), told))
    }

    /// Reads the answer to `retrieve-data-key-fallible` for some requests: the keys, wiped where refused, and why.
    fn retrieve(
        &self,
        py: Python<'_>,
        requests: &Requests,
        start: usize,
        stop: usize,
        keyset: &[u8],
        body: &[u8],
    ) -> PyResult<(KeyBatch, Vec<(usize, String)>)> {
        let keyset = exactly(keyset, "a keyset is 16 bytes")?;
        let asked = requests.asked.requests.get(start..stop).ok_or_else(|| PyIndexError::new_err("no such requests"))?;
        let (keys, refused) = py
            .detach(|| {
                let mut derivation = Derivation::new(&self.0, asked.len());
                let refused =
                    crate::reply::retrieved(body, asked.len(), |at, material| derivation.derive(at, &asked[at].iv, material))?;
                let secrets = derivation.keys().map_err(word)?;
                let ivs = asked.iter().map(|request| request.iv).collect();
                let mut labels = Labels::default();
                for alike in asked.chunk_by(|one, next| Arc::ptr_eq(&one.descriptor, &next.descriptor)) {
                    labels.share(alike.len(), alike[0].descriptor.as_bytes(), &keyset, b"");
                    alike.iter().for_each(|request| labels.tags.push(&request.tag));
                }
                let keys = crate::keys::KeyBatch::new(secrets, ivs, labels).ok_or(MISMATCH)?;
                for (index, _) in &refused {
                    keys.wipe(*index, index + 1);
                }
                Ok((keys, refused))
            })
            .map_err(PyValueError::new_err::<&'static str>)?;
        Ok((KeyBatch(Arc::new(keys)), refused))
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
