//! The contexts of keys that are asked for, each as texts only where somebody asks.

use std::ops::Range;
use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PySlice;

use crate::contexts::texts;
use crate::request;

/// A stretch of contexts, a sequence of the texts of each.
#[pyclass(frozen, module = "worker._native", sequence, from_py_object)]
#[derive(Clone)]
pub struct Framed {
    framed: Arc<request::Framed>,
    span: Range<usize>,
}

#[pymethods]
impl Framed {
    fn __len__(&self) -> usize {
        self.span.len()
    }

    /// The texts of one context, or the contexts of a slice without a step.
    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let length = isize::try_from(self.span.len())?;
        if let Ok(slice) = index.cast::<PySlice>() {
            let span = slice.indices(length)?;
            if span.step != 1 {
                return Err(PyValueError::new_err("contexts are cut without a step"));
            }
            let start = self.span.start + usize::try_from(span.start)?;
            let cut = Self { framed: Arc::clone(&self.framed), span: start..start + span.slicelength };
            return Ok(cut.into_pyobject(py)?.into_any());
        }
        let at: isize = index.extract()?;
        let at = usize::try_from(if at < 0 { at + length } else { at }).ok().filter(|at| *at < self.span.len());
        let framed = at.and_then(|at| self.framed.get(self.span.start + at));
        texts(framed.ok_or_else(|| PyIndexError::new_err("no such context"))?).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        format!("Framed({} contexts)", self.span.len())
    }
}

impl Framed {
    pub fn new(framed: request::Framed) -> Self {
        let span = 0..framed.len();
        Self { framed: Arc::new(framed), span }
    }

    pub fn contexts(&self) -> request::Contexts<'_> {
        request::Contexts::Framed(&self.framed, self.span.clone())
    }
}
