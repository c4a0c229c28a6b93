//! The leases of a key cache, and those that a batch was granted.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::buffers::{ints, of};
use super::keys::{exactly, secret, KeyBatch};
use super::passes::{begun, taken, Due};
use super::words;
use crate::aead::{leased, KEY_BYTES};
use crate::contexts::NONE;
use crate::envelope::{BadLabel, IV_BYTES, KEYSET_BYTES};
use crate::keys::{KeyBatch as Keys, Spent};
use crate::slab;
use crate::vault::Key;

const LABEL: &str = "a leased envelope holds 1-255 bytes of descriptor and at most 255 of tag";

/// The note of a key whose request is not known.
const UNKNOWN: u32 = NONE - 1;

fn label(_: BadLabel) -> PyErr {
    PyValueError::new_err(LABEL)
}

fn no_key() -> PyErr {
    PyIndexError::new_err("no such key")
}

/// Reads a `DataKey` into a vault; where native memory has it, no copy of it is made in Python's.
fn put(vault: &mut crate::vault::Vault, key: &Bound<'_, PyAny>, request: u32) -> PyResult<u32> {
    let py = key.py();
    if let Some(part) = key.getattr_opt(pyo3::intern!(py, "part"))? {
        let (batch, at, _): (PyRef<'_, KeyBatch>, usize, usize) = part.extract()?;
        return put_held(vault, &batch.0, at, request);
    }
    let get = |name| key.getattr(name);
    let data_key = secret(py, &get(pyo3::intern!(py, "secret"))?.extract()?)?;
    let keyset = get(pyo3::intern!(py, "keyset"))?.getattr(pyo3::intern!(py, "bytes"))?;
    let keyset = exactly(keyset.extract()?, "a keyset is 16 bytes")?;
    let descriptor = get(pyo3::intern!(py, "descriptor"))?.extract::<String>()?;
    let iv = exactly(get(pyo3::intern!(py, "iv"))?.extract()?, "an iv is 16 bytes")?;
    let tag = get(pyo3::intern!(py, "tag"))?;
    store(vault, &data_key, (&keyset, descriptor.as_bytes()), &iv, tag.extract()?, request)
}

/// The same of keys that native memory has, by their places.
fn put_all(vault: &mut crate::vault::Vault, batch: &Keys, places: &[i64], request: u32) -> PyResult<Vec<i64>> {
    let put = |at: &i64| put_held(vault, batch, usize::try_from(*at).map_err(|_| no_key())?, request).map(i64::from);
    places.iter().map(put).collect()
}

fn put_held(vault: &mut crate::vault::Vault, batch: &Keys, at: usize, request: u32) -> PyResult<u32> {
    let data_key = batch.secret(at).map_err(|Spent| PyRuntimeError::new_err("this data key has been wiped"))?;
    let held = batch.label(at).ok_or_else(no_key)?;
    store(vault, &data_key, (held.keyset, held.descriptor), held.iv, held.tag, request)
}

fn store(
    vault: &mut crate::vault::Vault,
    data_key: &[u8; KEY_BYTES],
    (keyset, descriptor): (&[u8; KEYSET_BYTES], &[u8]),
    iv: &[u8; IV_BYTES],
    tag: &[u8],
    request: u32,
) -> PyResult<u32> {
    let cipher = leased(data_key).map_err(|_| PyRuntimeError::new_err("no cipher"))?;
    let number = vault.label(keyset, descriptor).map_err(label)?;
    vault.put(Key::new(*cipher, *iv, number), tag, request).map_err(label)
}

/// The leases of one batch; nothing of them can be read but what envelopes show.
#[pyclass(frozen, module = "worker._native")]
pub struct Granted {
    pub granted: crate::vault::Granted,
    requests: Vec<Py<PyAny>>,
}

#[pymethods]
impl Granted {
    /// Copies of `DataKey`s.
    #[new]
    fn new(keys: &Bound<'_, PyList>) -> PyResult<Self> {
        let mut vault = crate::vault::Vault::new();
        let numbers = keys.iter().map(|key| put(&mut vault, &key, UNKNOWN)).collect::<PyResult<_>>()?;
        let granted = vault.grant(numbers, |_| ()).ok_or_else(no_key)?;
        Ok(Self { granted, requests: Vec::new() })
    }

    fn __len__(&self) -> usize {
        self.granted.len()
    }

    /// The ids of the requests that brought the keys.
    #[getter]
    fn requests(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.requests.iter().map(|id| id.clone_ref(py)).collect()
    }

    /// The keyset and the descriptor of the first key, of which the others are too.
    #[getter]
    fn label<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let label = self.granted.key(0).and_then(|key| self.granted.labels.get(key.label as usize));
        let label = label.ok_or_else(|| PyIndexError::new_err("no keys"))?;
        Ok((PyBytes::new(py, &label.front[2..]), String::from_utf8_lossy(&label.back[1..]).into_owned()))
    }

    /// The iv of each key.
    #[getter]
    fn ivs<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        (0..self.granted.len()).filter_map(|index| self.granted.iv(index)).map(|iv| PyBytes::new(py, iv)).collect()
    }

    fn __repr__(&self) -> String {
        format!("Granted({} keys)", self.granted.len())
    }
}

struct Request {
    id: Py<PyAny>,
    keys: usize,
    mark: u64,
}

/// The leases that a cache holds, by numbers; an owner holds its own lock.
#[pyclass(module = "worker._native")]
#[derive(Default)]
pub struct Vault {
    vault: crate::vault::Vault,
    requests: Vec<Option<Request>>,
    free: Vec<u32>,
    mark: u64,
}

#[pymethods]
impl Vault {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Takes copies of `DataKey`s, or of the keys at some places of answers; returns their numbers.
    fn put<'py>(&mut self, keys: &Bound<'py, PyList>, at: PyBuffer<i64>) -> PyResult<Bound<'py, PyBytes>> {
        let py = keys.py();
        let at = ints(&at, py)?;
        if at.len() != keys.len() {
            return Err(PyValueError::new_err("a place, or -1, for each key"));
        }
        let mut numbers = Vec::with_capacity(keys.len());
        let mut last: Option<(Bound<'py, PyAny>, u32)> = None;
        let each: Vec<_> = keys.iter().zip(of(at)).collect();
        for same in each.chunk_by(|(a, _), (b, _)| a.is(b)) {
            let (key, first) = &same[0];
            let id = key.getattr(pyo3::intern!(py, "request_id"))?;
            let request = match &last {
                Some((held, number)) if held.is(&id) => *number,
                _ if id.is_none() => UNKNOWN,
                _ => self.request(id.clone().unbind()),
            };
            last = Some((id, request));
            if *first < 0 {
                for (key, _) in same {
                    numbers.push(i64::from(put(&mut self.vault, key, request)?));
                }
            } else {
                let batch: PyRef<'py, KeyBatch> = key.getattr(pyo3::intern!(py, "batch"))?.extract()?;
                let (vault, batch) = (&mut self.vault, Arc::clone(&batch.0));
                let places: Vec<_> = same.iter().map(|(_, at)| *at).collect();
                // A microsecond for two keys, which need nothing of the interpreter.
                numbers.extend(py.detach(|| put_all(vault, &batch, &places, request))?);
            }
            if let Some(Some(request)) = self.requests.get_mut(request as usize) {
                request.keys += same.len();
            }
        }
        words::ints(py, &numbers)
    }

    /// Overwrites a key.
    fn free(&mut self, number: u32) -> PyResult<()> {
        let request = self.vault.free(number).ok_or_else(no_key)?;
        if let Some(held) = self.requests.get_mut(request as usize) {
            if let Some(of) = held {
                of.keys -= 1;
                if of.keys == 0 {
                    *held = None;
                    self.free.push(request);
                }
            }
        }
        Ok(())
    }

    /// What `lease_begin` does, with the keys of those that had room, for a batch.
    fn begin<'py>(
        &mut self,
        py: Python<'py>,
        table: PyBuffer<i64>,
        slots: PyBuffer<i64>,
        values: PyBuffer<i64>,
        bytes: PyBuffer<i64>,
        due: Due,
    ) -> PyResult<(Bound<'py, PyBytes>, bool, bool, Granted)> {
        let mut numbers = Vec::with_capacity(slots.item_count());
        let begun = begun(py, [&table, &slots, &values, &bytes], due, |key| numbers.push(key as u32))?;
        Ok((PyBytes::new(py, &begun.whole), begun.fresh, begun.near, self.granted(py, numbers)?))
    }

    /// What `lease_take` does, with the keys of those that had room, for a batch.
    #[allow(clippy::too_many_arguments)]
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        table: PyBuffer<i64>,
        slots: PyBuffer<i64>,
        values: PyBuffer<i64>,
        bytes: PyBuffer<i64>,
        now: f64,
        max_age_s: f64,
    ) -> PyResult<(Bound<'py, PyBytes>, Granted)> {
        let mut numbers = Vec::with_capacity(slots.item_count());
        let whole = taken(py, [&table, &slots, &values, &bytes], now, max_age_s, |key| numbers.push(key as u32))?;
        Ok((whole, self.granted(py, numbers)?))
    }
}

impl Vault {
    /// Keys for a batch, and the requests that brought them.
    fn granted(&mut self, py: Python<'_>, numbers: Vec<u32>) -> PyResult<Granted> {
        self.mark += 1;
        let (mut requests, mut last) = (Vec::new(), UNKNOWN);
        let told = |note| {
            if std::mem::replace(&mut last, note) == note {
                return;
            }
            if let Some(Some(request)) = self.requests.get_mut(note as usize) {
                if request.mark != self.mark {
                    request.mark = self.mark;
                    requests.push(request.id.clone_ref(py));
                }
            }
        };
        let granted = self.vault.grant(numbers, told).ok_or_else(no_key)?;
        Ok(Granted { granted, requests })
    }

    fn request(&mut self, id: Py<PyAny>) -> u32 {
        let request = Some(Request { id, keys: 0, mark: 0 });
        slab::put(&mut self.requests, &mut self.free, request)
    }
}
