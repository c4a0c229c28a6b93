//! Numbers as they lie in memory that Python owns.

use pyo3::buffer::{PyBuffer, ReadOnlyCell};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

pub fn ints<'b>(buffer: &'b PyBuffer<i64>, py: Python<'b>) -> PyResult<&'b [ReadOnlyCell<i64>]> {
    buffer.as_slice(py).ok_or_else(|| PyValueError::new_err("numbers follow each other in memory"))
}

pub fn of(slots: &[ReadOnlyCell<i64>]) -> impl ExactSizeIterator<Item = i64> + Clone + '_ {
    slots.iter().map(ReadOnlyCell::get)
}
