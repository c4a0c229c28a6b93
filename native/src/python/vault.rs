//! The leases of a key cache, and those that a batch was granted.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::buffers::{ints, of};
use super::passes::{begun, taken, Due};
use super::runs::{no_key, put, runs};
use super::words;
use crate::contexts::NONE;
use crate::slab;

/// The note of a key whose request is not known.
const UNKNOWN: u32 = NONE - 1;

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
        let runs = runs(keys, std::iter::repeat(-1))?;
        let numbers = put(keys.py(), &mut vault, &runs, &vec![UNKNOWN; runs.len()])?;
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
        let runs = runs(keys, of(at))?;
        let mut notes = Vec::with_capacity(runs.len());
        let mut last: Option<(Bound<'py, PyAny>, u32)> = None;
        for run in &runs {
            let id = run.key.getattr(pyo3::intern!(py, "request_id"))?;
            let request = match &last {
                Some((held, number)) if held.is(&id) => *number,
                _ if id.is_none() => UNKNOWN,
                _ => self.request(id.clone().unbind()),
            };
            last = Some((id, request));
            notes.push(request);
        }
        let put = put(py, &mut self.vault, &runs, &notes);
        let numbers = put.inspect_err(|_| notes.iter().for_each(|note| self.forget(*note)))?;
        for (run, note) in runs.iter().zip(notes) {
            if let Some(Some(request)) = self.requests.get_mut(note as usize) {
                request.keys += run.places.len();
            }
        }
        words::ints(py, &numbers.into_iter().map(i64::from).collect::<Vec<_>>())
    }

    /// Overwrites a key.
    fn free(&mut self, number: u32) -> PyResult<()> {
        let note = self.vault.free(number).ok_or_else(no_key)?;
        if let Some(Some(request)) = self.requests.get_mut(note as usize) {
            request.keys -= 1;
            self.forget(note);
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

    /// Lets a request go of which no key is left.
    fn forget(&mut self, note: u32) {
        if let Some(held) = self.requests.get_mut(note as usize) {
            if held.take_if(|request| request.keys == 0).is_some() {
                self.free.push(note);
            }
        }
    }

    fn request(&mut self, id: Py<PyAny>) -> u32 {
        let request = Some(Request { id, keys: 0, mark: 0 });
        slab::put(&mut self.requests, &mut self.free, request)
    }
}
