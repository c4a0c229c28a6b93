//! What a batch was sealed to.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::sequence::{items, Sequence};
use crate::seal;

/// Framed output datums, a sequence of `bytes`, or of None where a record was left out.
#[pyclass(frozen, module = "worker._native", sequence)]
pub struct Output {
    pub output: Arc<seal::Output>,
    pub skip: Vec<bool>,
}

impl Sequence for Output {
    fn len(&self) -> usize {
        self.skip.len()
    }

    fn item<'py>(&self, py: Python<'py>, index: usize) -> Option<Bound<'py, PyBytes>> {
        if self.skip[index] { None } else { self.output.get(index).map(|data| PyBytes::new(py, data)) }
    }
}

#[pymethods]
impl Output {
    fn __len__(&self) -> usize {
        self.skip.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        items(self, py, index)
    }

    /// Bytes of envelopes, by slot.
    #[getter]
    fn sealed(&self) -> Vec<u64> {
        self.output.sealed.clone()
    }

    /// Bytes of a stretch of records.
    fn content_bytes(&self, start: usize, stop: usize) -> usize {
        self.output.bytes_of(start, stop)
    }

    /// Bytes of the largest record.
    #[getter]
    fn largest(&self) -> usize {
        self.output.largest
    }

    fn __repr__(&self) -> String {
        format!("Output({} records)", self.skip.len())
    }
}
