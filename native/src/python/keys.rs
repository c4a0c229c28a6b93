//! Keys as handles: what they hold never becomes a Python object.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyByteArray, PyBytes, PyList};
use zeroize::Zeroizing;

use super::framed::Framed;
use super::open::Requests;
use crate::authority::{Item, Share};
use crate::aead::{Cipher, KEY_BYTES};
use crate::derive::{BadMaterial, Derivation};
use crate::envelope::{BadLabel, RecordSealer, IV_BYTES};
use crate::keys::{Labels, Spent, Taken};
use crate::request;
use crate::room;
use crate::secrets::Secrets;
use crate::shuffle::{Block, BLOCKS, MATERIAL};
use crate::tree;
use crate::typed::TEXT;

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

const WIPED: &str = "this data key has been wiped";

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
        let cipher = Cipher::leased(&*secret).map_err(|_| PyRuntimeError::new_err("no cipher"))?;
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

#[pyclass(frozen, module = "worker._native")]
pub struct ClientKey(crate::derive::ClientKey);

/// A policy as claims and values.
type Conditions = Vec<(String, Option<String>)>;
const MISMATCH: &str = "the keys do not add up";

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

/// Seals each typed plaintext under a key of its own, as MessagePack; the keys are used up.
#[pyfunction]
pub fn seal_records<'py>(
    py: Python<'py>,
    keys: Vec<(PyRef<'_, KeyBatch>, usize, usize)>,
    typed: Vec<PyBackedBytes>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    sealed(py, keys, typed.len(), |at, room| room.extend_from_slice(&typed[at]))
}

/// Texts that wait for their keys.
#[pyclass(frozen, module = "worker._native")]
pub struct Texts(Vec<PyBackedStr>);

#[pymethods]
impl Texts {
    /// Takes values; raises `TypeError` or `UnicodeEncodeError` where one is no text.
    #[new]
    fn new(values: Vec<PyBackedStr>) -> Self {
        Self(values)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Seals the texts from `start` on, as `seal_records` their typed plaintexts.
    fn seal<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<(PyRef<'_, KeyBatch>, usize, usize)>,
        start: usize,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let count = keys.iter().map(|(_, _, count)| count).sum();
        let texts = self.0.get(start..start + count).ok_or_else(|| PyValueError::new_err(MISMATCH))?;
        sealed(py, keys, count, |at, room| {
            room.extend_from_slice(&TEXT);
            room.extend_from_slice(texts[at].as_bytes());
        })
    }

    fn __repr__(&self) -> String {
        format!("Texts({})", self.0.len())
    }
}

/// What an envelope of a short value takes, about.
const ENVELOPE: usize = 192;

fn sealed<'py>(
    py: Python<'py>,
    keys: Vec<(PyRef<'_, KeyBatch>, usize, usize)>,
    count: usize,
    typed: impl Fn(usize, &mut Vec<u8>) + Sync,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let held: Vec<_> = keys.iter().map(|(batch, start, count)| (Arc::clone(&batch.0), *start, *count)).collect();
    if keys.iter().map(|(_, _, count)| count).sum::<usize>() != count {
        return Err(PyValueError::new_err(MISMATCH));
    }
    drop(keys);
    let sealed = py.detach(|| {
        let taken = held.iter().map(|(batch, start, count)| batch.take(*start, *count)).collect::<Result<Vec<_>, _>>();
        let taken = taken.map_err(|Spent| WIPED)?;
        let (mut out, mut ends) = (room::take(count * ENVELOPE), Vec::with_capacity(count));
        let (mut sealer, mut room) = (RecordSealer::new(), Zeroizing::new(Vec::new()));
        for (at, (secret, label)) in taken.iter().flat_map(Taken::iter).enumerate() {
            room.clear();
            typed(at, &mut room);
            sealer.push(&mut out, secret, &label, &room).map_err(|_| "the cipher failed")?;
            ends.push(out.len());
        }
        Ok((out, ends))
    });
    let (out, ends) = sealed.map_err(PyRuntimeError::new_err::<&'static str>)?;
    let mut start = 0;
    let envelopes = ends.into_iter().map(|end| {
        let body = crate::varint::read(&out, start).map_or(end, |(_, body)| body);
        start = end;
        PyBytes::new(py, &out[body..end])
    });
    let envelopes = envelopes.collect();
    room::give(out);
    Ok(envelopes)
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

/// The authority's key material: n times 528 bytes. `prefix` is what every message of the keyset begins with, `secrets`
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
