//! Single-use keys that a cache holds, and those of them that a batch has drawn.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::keys::KeyBatch;
use super::words;
use crate::prefetch;
use crate::stretches::Stretch;

/// An answer as Python has it, and its keys.
struct Answer {
    object: Py<PyAny>,
    batch: Arc<crate::keys::KeyBatch>,
}

/// An answer, and the first and the end of some of its keys.
type Part = (Py<PyAny>, usize, usize);

/// Single-use keys by slot; an owner holds its own lock.
#[pyclass(module = "worker._native")]
#[derive(Default)]
pub struct Stretches(crate::stretches::Stretches<Arc<Answer>>);

#[pymethods]
impl Stretches {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Takes the keys of some parts of answers, slot after slot, so many each.
    fn put(
        &mut self,
        py: Python<'_>,
        slots: PyBuffer<i64>,
        counts: PyBuffer<i64>,
        parts: Vec<(Bound<'_, PyAny>, u32, u32)>,
        born: f64,
    ) -> PyResult<()> {
        let wanted: Vec<(usize, u32)> = wanted(py, &slots, &counts)?.collect();
        let (mut wanted, mut further) = (wanted.iter().copied(), wanted.iter().skip(prefetch::AHEAD));
        let mut next = wanted.next();
        for (object, mut start, stop) in parts {
            let batch: PyRef<'_, KeyBatch> = object.getattr(pyo3::intern!(py, "batch"))?.extract()?;
            let answer = self.0.add(Arc::new(Answer { object: object.unbind(), batch: Arc::clone(&batch.0) }));
            while start < stop {
                let Some((slot, left)) = next else { break };
                let count = left.min(stop - start);
                self.0.put(slot, Stretch { answer, start, count }, born);
                start += count;
                if let Some((slot, _)) = further.next() {
                    self.0.soon(*slot);
                }
                next = if count < left { Some((slot, left - count)) } else { wanted.next() };
            }
            self.0.settle(answer);
        }
        Ok(())
    }

    /// Draws so many keys of each slot; returns them, and when each slot's oldest key of the rest was asked for.
    fn draw<'py>(&mut self, py: Python<'py>, slots: PyBuffer<i64>, counts: PyBuffer<i64>) -> PyResult<(Drawn, Bound<'py, PyBytes>)> {
        let wanted: Vec<(usize, u32)> = wanted(py, &slots, &counts)?.collect();
        let drawn = self.0.draw(wanted.iter().copied()).ok_or_else(|| PyValueError::new_err("a slot has not so many keys"))?;
        let born = words::words(py, wanted.iter().map(|(slot, _)| self.0.born(*slot).to_ne_bytes()))?;
        Ok((Drawn(drawn), born))
    }

    /// Draws what a slot has that was asked for until `limit`; returns it, and when the oldest key of the rest was.
    fn lose(&mut self, slot: usize, limit: f64) -> (Drawn, f64) {
        (Drawn(self.0.lose(slot, limit)), self.0.born(slot))
    }

    /// What a slot has: when it was asked for, and where it is.
    fn held(&self, py: Python<'_>, slot: usize) -> Vec<(f64, Part)> {
        self.0.each(slot).map(|(born, answer, part)| (born, placed(py, answer, part))).collect()
    }
}

/// Keys that a batch alone has.
#[pyclass(frozen, module = "worker._native")]
pub struct Drawn(crate::stretches::Drawn<Arc<Answer>>);

#[pymethods]
impl Drawn {
    fn __len__(&self) -> usize {
        self.0.count()
    }

    /// Answers, and the first and the end of their keys that are meant.
    #[getter]
    fn parts(&self, py: Python<'_>) -> Vec<Part> {
        self.0.parts.iter().map(|part| placed(py, &self.0.answers[part.answer as usize], *part)).collect()
    }

    /// The answers that brought them, each once.
    #[getter]
    fn answers(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.0.answers.iter().map(|answer| answer.object.clone_ref(py)).collect()
    }

    /// The first key's answer, and its place there.
    #[getter]
    fn first(&self, py: Python<'_>) -> PyResult<(Py<PyAny>, usize)> {
        let part = self.0.parts.first().ok_or_else(|| PyIndexError::new_err("no such key"))?;
        let (answer, start, _) = placed(py, &self.0.answers[part.answer as usize], *part);
        Ok((answer, start))
    }

    /// Overwrites every key.
    fn wipe(&self) {
        for part in &self.0.parts {
            self.0.answers[part.answer as usize].batch.wipe(part.start as usize, (part.start + part.count) as usize);
        }
    }

    fn __repr__(&self) -> String {
        format!("Drawn({} keys)", self.0.count())
    }
}

impl Drawn {
    /// The batches that they are of, each once.
    pub fn batches(&self) -> Vec<Arc<crate::keys::KeyBatch>> {
        self.0.answers.iter().map(|answer| Arc::clone(&answer.batch)).collect()
    }

    /// The keys themselves, stretches of those batches.
    pub fn stretches(&self) -> &[Stretch] {
        &self.0.parts
    }
}

fn placed(py: Python<'_>, answer: &Answer, part: Stretch) -> Part {
    (answer.object.clone_ref(py), part.start as usize, (part.start + part.count) as usize)
}

fn wanted(py: Python<'_>, slots: &PyBuffer<i64>, counts: &PyBuffer<i64>) -> PyResult<impl ExactSizeIterator<Item = (usize, u32)>> {
    let (slots, counts) = (slots.to_vec(py)?, counts.to_vec(py)?);
    if slots.len() != counts.len() {
        return Err(PyValueError::new_err("a number of keys for each slot"));
    }
    let counts = counts.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>()?;
    let slots = slots.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(slots.into_iter().zip(counts))
}
