//! What makes bytes in native memory a Python sequence.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySlice};

pub trait Sequence {
    fn len(&self) -> usize;
    fn item<'py>(&self, py: Python<'py>, index: usize) -> Option<Bound<'py, PyBytes>>;
}

/// One item, or those of a slice.
pub fn items<'py>(of: &impl Sequence, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let length = isize::try_from(of.len())?;
    if let Ok(slice) = index.cast::<PySlice>() {
        let span = slice.indices(length)?;
        let mut found = Vec::with_capacity(span.slicelength);
        let mut at = span.start;
        for _ in 0..span.slicelength {
            found.push(of.item(py, usize::try_from(at)?));
            at += span.step;
        }
        return Ok(PyList::new(py, found)?.into_any());
    }
    let at: isize = index.extract()?;
    let at = if at < 0 { at + length } else { at };
    match usize::try_from(at) {
        Ok(at) if at < of.len() => Ok(of.item(py, at).into_pyobject(py)?),
        _ => Err(PyIndexError::new_err("no such record")),
    }
}
