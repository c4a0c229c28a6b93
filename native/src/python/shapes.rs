//! Shapes out of tuples, as `worker/avro/native.py` writes them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::shapes::{Shape, Shapes};

/// The table; `name` makes a name or symbol, `other` a shape of a kind that is not Avro's own, `None` where there is none.
pub fn shapes<N, L>(
    specs: &[Bound<'_, PyTuple>],
    root: u32,
    name: impl Fn(&Bound<'_, PyString>) -> PyResult<N>,
    other: impl Fn(&str, &Bound<'_, PyTuple>) -> PyResult<Option<L>>,
) -> PyResult<Shapes<N, L>> {
    let table = specs.iter().map(|spec| shape(spec, &name, &other)).collect::<PyResult<_>>()?;
    Shapes::new(table, root).ok_or_else(|| PyValueError::new_err("a shape refers to one that is not there"))
}

fn shape<N, L>(
    spec: &Bound<'_, PyTuple>,
    name: &impl Fn(&Bound<'_, PyString>) -> PyResult<N>,
    other: &impl Fn(&str, &Bound<'_, PyTuple>) -> PyResult<Option<L>>,
) -> PyResult<Shape<N, L>> {
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
        "enum" => {
            let symbols: Vec<Bound<'_, PyString>> = spec.get_item(1)?.extract()?;
            Shape::Enum(symbols.iter().map(name).collect::<PyResult<_>>()?)
        }
        "union" => {
            let branches: Vec<(u32, Option<Bound<'_, PyString>>)> = spec.get_item(1)?.extract()?;
            let branch =
                |(id, told): &(u32, Option<Bound<'_, PyString>>)| Ok((*id, told.as_ref().map(name).transpose()?));
            Shape::Union(branches.iter().map(branch).collect::<PyResult<_>>()?)
        }
        "record" => {
            let fields: Vec<(Bound<'_, PyString>, u32)> = spec.get_item(1)?.extract()?;
            Shape::Record(fields.iter().map(|(field, id)| Ok((name(field)?, *id))).collect::<PyResult<_>>()?)
        }
        "array" => Shape::Array { item: spec.get_item(1)?.extract()?, widthless: spec.get_item(2)?.extract()? },
        "map" => Shape::Map(spec.get_item(1)?.extract()?),
        word => {
            let made = other(word, spec)?;
            Shape::Other(made.ok_or_else(|| PyValueError::new_err("a shape is of a kind that is unknown"))?)
        }
    })
}
