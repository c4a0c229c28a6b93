//! Batches in native memory.

use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::sequence::{items, Sequence};
use crate::kafka::batch::{self, Part};
use crate::kafka::chunk::{Chunk, Headers, Place};

#[pyclass(frozen, module = "worker._native")]
pub struct Batch(pub Arc<batch::Batch>);

/// Topic, partition, start, stop.
type Run = (String, i32, usize, usize);
type HeaderList<'py> = Vec<(String, Option<Bound<'py, PyBytes>>)>;

fn part_of(word: &str) -> PyResult<Part> {
    match word {
        "key" => Ok(Part::Key),
        "value" => Ok(Part::Value),
        _ => Err(PyValueError::new_err("a part is key or value")),
    }
}

#[pymethods]
impl Batch {
    /// Records that Python holds, each column as long as the others; `headers` may be empty.
    #[new]
    fn new(
        places: Vec<(String, i32)>,
        offsets: Vec<i64>,
        keys: Vec<Option<PyBackedBytes>>,
        values: Vec<Option<PyBackedBytes>>,
        stamps: Vec<(u8, i64)>,
        headers: Vec<Headers>,
    ) -> PyResult<Self> {
        let count = offsets.len();
        let sound = [places.len(), keys.len(), values.len(), stamps.len()].iter().all(|&length| length == count);
        if !sound || !(headers.is_empty() || headers.len() == count) {
            return Err(PyValueError::new_err("the columns are not of one length"));
        }
        let mut chunk = Chunk { offsets, stamps, headers, ..Chunk::default() };
        for ((topic, partition), (key, value)) in places.into_iter().zip(keys.iter().zip(&values)) {
            let (key, value) = (chunk.push(key.as_deref()), chunk.push(value.as_deref()));
            chunk.keys.push(key);
            chunk.values.push(value);
            chunk.at.push(chunk.places.len() as u32);
            chunk.places.push(Place { topic: topic.into(), partition });
        }
        Ok(Self(Arc::new(batch::Batch::of(chunk))))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn runs(&self) -> Vec<Run> {
        self.0
            .runs()
            .iter()
            .map(|run| (run.place.topic.to_string(), run.place.partition, run.start, run.stop))
            .collect()
    }

    /// 64-bit numbers in native order.
    fn offsets<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes: Vec<u8> = (0..self.0.len()).flat_map(|index| self.0.offset(index).to_ne_bytes()).collect();
        PyBytes::new(py, &bytes)
    }

    fn offset(&self, index: usize) -> PyResult<i64> {
        self.known(index)?;
        Ok(self.0.offset(index))
    }

    fn stamp(&self, index: usize) -> PyResult<(u8, i64)> {
        self.known(index)?;
        Ok(self.0.stamp(index))
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    /// Bytes of the keys and values of a stretch.
    fn content_bytes(&self, start: usize, stop: usize) -> usize {
        self.0.content_bytes(start, stop)
    }

    /// Bytes of the keys of a stretch.
    fn key_bytes(&self, start: usize, stop: usize) -> usize {
        self.0.bytes_of(Part::Key, start, stop)
    }

    /// How many records are of each age, by ascending bounds in seconds, and the sum of their ages.
    fn ages(&self, now_ms: f64, bounds: Vec<f64>) -> (Vec<u64>, f64) {
        self.0.ages(now_ms, &bounds)
    }

    fn find(&self, start: usize, stop: usize, offset: i64) -> usize {
        self.0.find(start, stop, offset)
    }

    fn stretch(&self, start: usize, stop: usize) -> PyResult<Self> {
        let picked = self.0.select(start..stop);
        picked.map(|batch| Self(Arc::new(batch))).ok_or_else(|| PyIndexError::new_err("no such record"))
    }

    fn select(&self, indexes: Vec<usize>) -> PyResult<Self> {
        let picked = self.0.select(indexes.into_iter());
        picked.map(|batch| Self(Arc::new(batch))).ok_or_else(|| PyIndexError::new_err("no such record"))
    }

    fn concat(&self, others: Vec<PyRef<'_, Self>>) -> Self {
        Self(Arc::new(self.0.concat(others.iter().map(|other| &*other.0))))
    }

    fn column(&self, part: &str) -> PyResult<Column> {
        Ok(Column { batch: Arc::clone(&self.0), part: part_of(part)? })
    }

    fn has_headers(&self) -> bool {
        self.0.has_headers()
    }

    fn headers<'py>(&self, py: Python<'py>, index: usize) -> PyResult<HeaderList<'py>> {
        self.known(index)?;
        let each = self.0.headers(index).iter();
        Ok(each.map(|(name, value)| (name.clone(), value.as_ref().map(|v| PyBytes::new(py, v)))).collect())
    }

    /// Groups by their heads (`None` for the members stands for all records), named, bare, absent.
    #[allow(clippy::type_complexity)]
    fn frames<'py>(
        &self,
        py: Python<'py>,
        part: &str,
        header: &str,
    ) -> PyResult<(Vec<(Bound<'py, PyBytes>, Option<Vec<usize>>)>, Vec<usize>, Vec<usize>, Vec<usize>)> {
        let part = part_of(part)?;
        let frames = py.detach(|| self.0.frames(part, header));
        let every = self.0.len();
        let groups = frames
            .groups
            .into_iter()
            .map(|(head, members)| (PyBytes::new(py, &head), (members.len() < every).then_some(members)));
        Ok((groups.collect(), frames.named, frames.bare, frames.absent))
    }

    fn __repr__(&self) -> String {
        format!("Batch({} records)", self.0.len())
    }
}

impl Batch {
    fn known(&self, index: usize) -> PyResult<()> {
        if index < self.0.len() {
            Ok(())
        } else {
            Err(PyIndexError::new_err("no such record"))
        }
    }
}

/// The keys or values of a batch, a sequence of `bytes` or None, made when they are asked for.
#[pyclass(frozen, module = "worker._native", sequence)]
pub struct Column {
    pub batch: Arc<batch::Batch>,
    pub part: Part,
}

impl Sequence for Column {
    fn len(&self) -> usize {
        self.batch.len()
    }

    fn item<'py>(&self, py: Python<'py>, index: usize) -> Option<Bound<'py, PyBytes>> {
        self.batch.part(self.part, index).map(|data| PyBytes::new(py, data))
    }
}

#[pymethods]
impl Column {
    fn __len__(&self) -> usize {
        Sequence::len(self)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        items(self, py, index)
    }

    fn __repr__(&self) -> String {
        format!("Column({} records)", self.batch.len())
    }
}
