//! Records as lines of JSON, without a Python object for any.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};

use super::kafka::Batch;
use super::reader::each;
use crate::json::{self, Shape};
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
    fn new(shapes: Vec<Bound<'_, PyTuple>>, root: u32) -> PyResult<Self> {
        let shapes = shapes.iter().map(shape).collect::<PyResult<Box<[_]>>>()?;
        let writer = json::Writer::new(shapes, root);
        writer.map(Self).ok_or_else(|| PyValueError::new_err("the writer refers to what it does not have"))
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

fn shape(spec: &Bound<'_, PyTuple>) -> PyResult<Shape> {
    let word: String = spec.get_item(0)?.extract()?;
    Ok(match word.as_str() {
        "null" => Shape::Null,
        "boolean" => Shape::Boolean,
        "int" => Shape::Int,
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes,
        "string" => Shape::Text,
        "fixed" => Shape::Fixed(spec.get_item(1)?.extract()?),
        "enum" => Shape::Enum(spec.get_item(1)?.extract::<Vec<String>>()?.iter().map(|symbol| name(symbol, "")).collect()),
        "union" => {
            let branches: Vec<(u32, Option<String>)> = spec.get_item(1)?.extract()?;
            Shape::Union(branches.into_iter().map(|(branch, _)| branch).collect())
        }
        "record" => {
            let fields: Vec<(String, u32)> = spec.get_item(1)?.extract()?;
            Shape::Record(fields.iter().map(|(field, id)| (name(field, ":"), *id)).collect())
        }
        "array" => Shape::Array { item: spec.get_item(1)?.extract()?, widthless: spec.get_item(2)?.extract()? },
        "map" => Shape::Map(spec.get_item(1)?.extract()?),
        "date" => Shape::Date,
        "time-millis" => Shape::TimeMillis,
        "time-micros" => Shape::TimeMicros,
        "timestamp" => Shape::Timestamp(spec.get_item(1)?.extract()?, spec.get_item(2)?.extract::<String>()?.into()),
        "uuid" => Shape::Uuid,
        "uuid-bytes" => Shape::UuidBytes,
        "decimal" => Shape::Decimal(spec.get_item(1)?.extract()?, spec.get_item(2)?.extract()?),
        "twin" => Shape::Twin,
        _ => return Err(PyValueError::new_err("the writer has a shape of a kind that is unknown")),
    })
}

fn name(text: &str, behind: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    json::text(text, &mut out);
    out.extend_from_slice(behind.as_bytes());
    out.into()
}
