//! Values sealed under a data key each.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::keys::{MISMATCH, WIPED};
use super::supplies::{apart, Portion};
use crate::envelope::RecordSealer;
use crate::keys::{Spent, Taken};
use crate::room;
use crate::typed::TEXT;

/// Seals each typed plaintext under a key of its own, as MessagePack; the keys are used up.
#[pyfunction]
pub fn seal_records<'py>(
    py: Python<'py>,
    keys: Vec<Portion<'_>>,
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
        keys: Vec<Portion<'_>>,
        start: usize,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let count = values(&keys);
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

/// How many values keys serve.
fn values(keys: &[Portion<'_>]) -> usize {
    keys.iter().map(|&(_, _, count)| count as usize).sum()
}

fn sealed<'py>(
    py: Python<'py>,
    keys: Vec<Portion<'_>>,
    count: usize,
    typed: impl Fn(usize, &mut Vec<u8>) + Sync,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    if values(&keys) != count {
        return Err(PyValueError::new_err(MISMATCH));
    }
    let (batches, parts) = apart(&keys);
    drop(keys);
    let sealed = py.detach(|| {
        let taken = Taken::of(batches, &parts).map_err(|Spent| WIPED)?;
        let (mut out, mut ends) = (room::take(count * ENVELOPE), Vec::with_capacity(count));
        let (mut sealer, mut room) = (RecordSealer::new(), Zeroizing::new(Vec::new()));
        for (at, (secret, label)) in taken.iter().enumerate() {
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
