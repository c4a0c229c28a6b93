//! Records as lines of JSON, without a Python object for any.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::kafka::Batch;
use super::reader::each;
use super::shapes::shapes;
use crate::json::{self, Logical};
use crate::lines::{self, Column};

/// Writes values of one type as JSON.
#[pyclass(frozen, module = "worker._native")]
pub struct JsonWriter(json::Writer);

/// Texts side by side, with holes.
#[pyclass(frozen, module = "worker._native")]
pub struct JsonColumn(Column);

#[pymethods]
impl JsonWriter {
    #[new]
    fn new(specs: Vec<Bound<'_, PyTuple>>, root: u32) -> PyResult<Self> {
        let name = |text: &Bound<'_, PyString>| Ok(json::name(&text.to_cow()?));
        shapes(&specs, root, name, logical).map(|shapes| Self(json::Writer(shapes)))
    }

    /// Each value behind `before`, and which were refused; a hole also where there is none to write.
    fn write(&self, values: &Bound<'_, PyAny>, before: &[u8]) -> PyResult<(JsonColumn, Vec<usize>)> {
        let (mut column, mut refused) = (Column::default(), Vec::new());
        each(values, |index, data| {
            let written = column.push(|out| {
                out.extend_from_slice(before);
                data.ok_or(None).and_then(|data| self.0.write(data, out).map_err(Some))
            });
            if !written && data.is_some() {
                refused.push(index);
            }
        })?;
        Ok((JsonColumn(column), refused))
    }

    fn __repr__(&self) -> &'static str {
        "JsonWriter(...)"
    }
}

#[pymethods]
impl JsonColumn {
    #[new]
    fn new(texts: Vec<PyBackedBytes>) -> Self {
        let mut column = Column::default();
        for text in texts {
            column.push_text(&text);
        }
        Self(column)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("JsonColumn({} texts)", self.0.len())
    }
}

/// A line for each record of a batch: its place and key, and what the columns say of it; each has the places of its texts.
#[pyfunction]
pub fn json_lines<'py>(
    py: Python<'py>,
    batch: &Batch,
    columns: Vec<(Option<Vec<usize>>, PyRef<'py, JsonColumn>)>,
) -> PyResult<Bound<'py, PyBytes>> {
    let tails: Vec<_> = columns.iter().map(|(places, column)| (places.as_deref(), &column.0)).collect();
    let made = lines::lines(&batch.0, &tails).ok_or_else(|| PyValueError::new_err("a text for each record"))?;
    Ok(PyBytes::new(py, &made))
}

fn logical(word: &str, spec: &Bound<'_, PyTuple>) -> PyResult<Option<Logical>> {
    Ok(Some(match word {
        "date" => Logical::Date,
        "time-millis" => Logical::TimeMillis,
        "time-micros" => Logical::TimeMicros,
        "timestamp" => Logical::Timestamp(spec.get_item(1)?.extract()?, spec.get_item(2)?.extract::<String>()?.into()),
        "uuid" => Logical::Uuid,
        "uuid-bytes" => Logical::UuidBytes,
        "decimal" => Logical::Decimal(spec.get_item(1)?.extract()?, spec.get_item(2)?.extract()?),
        "twin" => Logical::Twin,
        _ => return Ok(None),
    }))
}
