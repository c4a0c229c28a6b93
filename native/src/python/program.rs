//! A program out of tuples, as `worker/avro/native.py` writes them.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::program::{Beside, Bound as Bind, Covered, Kind, Node, Slot, Text, Wanting};
use crate::varint::Encoded;

#[pyclass(frozen, module = "worker._native")]
pub struct Program(pub Arc<crate::program::Program>);

#[pymethods]
impl Program {
    #[new]
    fn new(
        nodes: Vec<Bound<'_, PyTuple>>,
        slots: Vec<Bound<'_, PyTuple>>,
        root: u32,
        extracts: usize,
    ) -> PyResult<Self> {
        let nodes = nodes.iter().map(node).collect::<PyResult<Vec<_>>>()?;
        let slots = slots.iter().map(slot).collect::<PyResult<Vec<_>>>()?;
        crate::program::Program::new(nodes, slots, root, extracts)
            .map(|program| Self(Arc::new(program)))
            .map_err(PyValueError::new_err)
    }
}

fn encoded(bytes: &[u8]) -> PyResult<Encoded> {
    Encoded::from_slice(bytes).ok_or_else(|| PyValueError::new_err("a prefix is at most 10 bytes"))
}

fn node(spec: &Bound<'_, PyTuple>) -> PyResult<Node> {
    let word: String = spec.get_item(0)?.extract()?;
    Ok(match word.as_str() {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" => Node::Int,
        "long" => Node::Long,
        "bytes" => Node::Bytes,
        "string" => Node::Text,
        "fixed" => Node::Fixed(spec.get_item(1)?.extract()?),
        "enum" => Node::Enum(spec.get_item(1)?.extract()?),
        "union" => Node::Union(spec.get_item(1)?.extract::<Vec<u32>>()?.into()),
        "record" => Node::Record(spec.get_item(1)?.extract::<Vec<u32>>()?.into()),
        "blocks" => Node::Blocks {
            item: spec.get_item(1)?.extract()?,
            keyed: spec.get_item(2)?.extract()?,
            widthless: spec.get_item(3)?.extract()?,
            rewrite: spec.get_item(4)?.extract()?,
        },
        "covered" => {
            let null: Option<(i64, Vec<u8>)> = spec.get_item(3)?.extract()?;
            Node::Covered(Box::new(Covered {
                slot: spec.get_item(1)?.extract()?,
                node: spec.get_item(2)?.extract()?,
                null: null.map(|(branch, kept)| PyResult::Ok((branch, encoded(&kept)?))).transpose()?,
                prefix: encoded(spec.get_item(4)?.extract::<&[u8]>()?)?,
                sealed: spec.get_item(5)?.extract()?,
            }))
        }
        "beside" => Node::Beside(Box::new(Beside {
            fields: spec.get_item(1)?.extract::<Vec<u32>>()?.into(),
            wanting: spec.get_item(2)?.extract::<Vec<Bound<'_, PyTuple>>>()?.iter().map(wanting).collect::<PyResult<_>>()?,
            extract: spec
                .get_item(3)?
                .extract::<Vec<Option<Bound<'_, PyTuple>>>>()?
                .iter()
                .map(|asked| asked.as_ref().map(field_text).transpose())
                .collect::<PyResult<_>>()?,
        })),
        _ => return Err(PyValueError::new_err("the program has a node of a kind that is unknown")),
    })
}

fn field_text(spec: &Bound<'_, PyTuple>) -> PyResult<(u32, Text)> {
    Ok((spec.get_item(0)?.extract()?, text(&spec.get_item(1)?.cast_into()?)?))
}

fn wanting(spec: &Bound<'_, PyTuple>) -> PyResult<Wanting> {
    let context: Vec<Bound<'_, PyTuple>> = spec.get_item(2)?.extract()?;
    let bind: Vec<Option<u32>> = spec.get_item(3)?.extract()?;
    Ok(Wanting {
        field: spec.get_item(0)?.extract()?,
        slot: spec.get_item(1)?.extract()?,
        context: context.iter().map(field_text).collect::<PyResult<_>>()?,
        bind: bind.into_iter().map(|field| field.map_or(Bind::Key, Bind::Field)).collect(),
        repeats: false,
    })
}

fn text(spec: &Bound<'_, PyTuple>) -> PyResult<Text> {
    let word: String = spec.get_item(0)?.extract()?;
    Ok(match word.as_str() {
        "verbatim" => Text::Verbatim,
        "lower" => Text::LowerCase,
        "number" => Text::Number,
        "boolean" => Text::Boolean,
        "uuid" => Text::Uuid,
        "symbols" => Text::Symbols(spec.get_item(1)?.extract::<Vec<String>>()?.into()),
        "nullable" => Text::Nullable(spec.get_item(1)?.extract()?, Box::new(text(&spec.get_item(2)?.cast_into()?)?)),
        _ => return Err(PyValueError::new_err("the program has a text of a kind that is unknown")),
    })
}

pub fn slot(spec: &Bound<'_, PyTuple>) -> PyResult<Slot> {
    let kind: String = spec.get_item(1)?.extract()?;
    let symbols: Vec<String> = spec.get_item(2)?.extract()?;
    let fingerprint = spec.get_item(5)?;
    Ok(Slot {
        leased: spec.get_item(0)?.extract()?,
        kind: match kind.as_str() {
            "boolean" => Kind::Boolean,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "string" => Kind::Text,
            "enum" => Kind::Enum(symbols.into_iter().map(|symbol| symbol.into_bytes().into()).collect()),
            "date" => Kind::Date,
            "timestamp-millis" => Kind::TimestampMs,
            "avro" => Kind::Avro,
            _ => return Err(PyValueError::new_err("the program has a plaintext of a kind that is unknown")),
        },
        null_branch: spec.get_item(3)?.extract()?,
        hides_null: spec.get_item(4)?.extract()?,
        fingerprint: fingerprint
            .cast::<PyBytes>()?
            .as_bytes()
            .try_into()
            .map_err(|_| PyValueError::new_err("a fingerprint is 8 bytes"))?,
        context: names(&spec.get_item(6)?)?,
        bind: names(&spec.get_item(7)?)?,
    })
}

/// Names, each behind its length, as they stand in associated data.
fn names(list: &Bound<'_, PyAny>) -> PyResult<Box<[Box<[u8]>]>> {
    let names: Vec<String> = list.extract()?;
    Ok(names
        .into_iter()
        .map(|name| [&(name.len() as u32).to_be_bytes(), name.as_bytes()].concat().into_boxed_slice())
        .collect())
}
