//! Rows for PostgreSQL, put together from a batch.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::kafka::Batch;
use super::output::Output;
use crate::kafka::batch::{self, Part};
use crate::rows::{copied, Beside, Field, Form, Kind, Record, Shape};

/// Width, factor, offset, lowest, highest.
type Whole = (usize, i64, i64, i64, i64);
/// The word for it, and of a whole number what becomes of it.
type FormOf = (String, Option<Whole>);
/// Branches, kind, size, symbols, form.
type FieldOf = (Option<Vec<bool>>, String, usize, Vec<String>, Option<FormOf>);

fn form((word, whole): FormOf) -> PyResult<Form> {
    Ok(match (word.as_str(), whole) {
        ("boolean", None) => Form::Boolean,
        ("whole", Some((width, factor, offset, low, high))) => Form::Whole { width, factor, offset, low, high },
        ("float", None) => Form::Float,
        ("double", None) => Form::Double,
        ("text", None) => Form::Text,
        ("uuid", None) => Form::Uuid,
        ("bytes", None) => Form::Bytes,
        _ => return Err(PyValueError::new_err("no such form")),
    })
}

fn field((branches, kind, size, symbols, put): FieldOf) -> PyResult<Field> {
    let kind = match kind.as_str() {
        "boolean" => Kind::Boolean,
        "int" | "long" => Kind::Number,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "string" | "bytes" => Kind::Sized,
        "fixed" => Kind::Fixed(size),
        "enum" => Kind::Symbols(symbols.into()),
        _ => return Err(PyValueError::new_err("no such kind")),
    };
    Ok(Field { branches: branches.map(Into::into), kind, form: put.map(form).transpose()? })
}

/// How a schema's output becomes rows of a table.
#[pyclass(frozen, module = "worker._native")]
pub struct Rows(Shape);

#[pymethods]
impl Rows {
    /// `beside`: the forms of topic, partition, offset and timestamp, or of a key.
    #[new]
    fn new(fields: Vec<FieldOf>, beside: Vec<FormOf>) -> PyResult<Self> {
        let fields = fields.into_iter().map(field).collect::<PyResult<_>>()?;
        let beside = beside.into_iter().map(form).collect::<PyResult<Vec<_>>>()?;
        let beside = match beside[..] {
            [key] => Beside::Key(key),
            [topic, partition, offset, stamp] => Beside::Coordinates([topic, partition, offset, stamp]),
            _ => return Err(PyValueError::new_err("a key, or four coordinates")),
        };
        Ok(Self(Shape { fields, beside }))
    }

    /// The data of a binary COPY, and where there are keys the records that are in it as 32-bit numbers; None where a
    /// value is not held exactly. `rows` as `Client.produce`, `start` where datums begin in the output's values.
    fn copy<'py>(
        &self,
        py: Python<'py>,
        source: &Batch,
        output: &Output,
        rows: Option<Vec<(usize, i64, usize)>>,
        start: usize,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let every = source.0.len();
        let rows = rows.unwrap_or_else(|| (0..every).map(|record| (record, 0, record)).collect());
        let is_sound = |&(record, number, index): &(usize, i64, usize)| {
            record < every && (number < 0 || (number == 0 && output.skip.get(index) == Some(&false)))
        };
        if !rows.iter().all(is_sound) {
            return Err(PyValueError::new_err("a record has no value in the output"));
        }
        let (source, values) = (Arc::clone(&source.0), Arc::clone(&output.output));
        let made = py.detach(|| {
            let places = places(&source);
            let records = rows.iter().map(|&(record, number, index)| {
                let (kind, at_ms) = source.stamp(record);
                let place = &source.runs()[places[record] as usize].place;
                Record {
                    key: source.part(Part::Key, record),
                    datum: (number == 0).then(|| values.get(index).and_then(|value| value.get(start..)).unwrap_or(&[])),
                    topic: &place.topic,
                    partition: place.partition,
                    offset: source.offset(record),
                    at_ms: (kind != 0).then_some(at_ms),
                }
            });
            copied(&self.0, records)
        });
        Ok(made.ok().map(|(data, kept)| {
            let kept: Vec<u8> = kept.iter().flat_map(|place| place.to_ne_bytes()).collect();
            (PyBytes::new(py, &data), PyBytes::new(py, &kept))
        }))
    }

    fn __repr__(&self) -> String {
        format!("Rows({} fields)", self.0.fields.len())
    }
}

/// Of which run each record is.
fn places(source: &batch::Batch) -> Vec<u32> {
    source.runs().iter().enumerate().flat_map(|(n, run)| std::iter::repeat_n(n as u32, run.stop - run.start)).collect()
}
