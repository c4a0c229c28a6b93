//! Numbers as Python's arrays read them: their bytes, one after the other, in native order.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Numbers of `N` bytes each.
pub fn words<'py, const N: usize>(py: Python<'py>, numbers: impl ExactSizeIterator<Item = [u8; N]>) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, N * numbers.len(), |bytes| {
        for (place, number) in bytes.chunks_exact_mut(N).zip(numbers) {
            place.copy_from_slice(&number);
        }
        Ok(())
    })
}

pub fn ints<'py>(py: Python<'py>, numbers: &[i64]) -> PyResult<Bound<'py, PyBytes>> {
    words(py, numbers.iter().map(|number| number.to_ne_bytes()))
}

pub fn shorts<'py>(py: Python<'py>, numbers: &[u32]) -> PyResult<Bound<'py, PyBytes>> {
    words(py, numbers.iter().map(|number| number.to_ne_bytes()))
}
