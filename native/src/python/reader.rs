//! Avro binary as Python's values, as the library in Python gives them; what is not of its type is refused.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::split::Output;
use crate::cursor::Cursor;
use crate::program::MAX_NODES;
use crate::walk::Refused;

enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<Py<PyString>>),
    /// Where a name is given, a branch's value stands under it in a dictionary.
    Union(Vec<(u32, Option<Py<PyString>>)>),
    Record(Vec<(Py<PyString>, u32)>),
    Array { item: u32, widthless: bool },
    Map(u32),
}

/// Reads values of one type.
#[pyclass(frozen, module = "worker._native")]
pub struct Reader {
    shapes: Vec<Shape>,
    root: u32,
}

struct State<'a, 'py> {
    py: Python<'py>,
    shapes: &'a [Shape],
    cursor: Cursor<'a>,
}

#[pymethods]
impl Reader {
    #[new]
    fn new(shapes: Vec<Bound<'_, PyTuple>>, root: u32) -> PyResult<Self> {
        let shapes = shapes.iter().map(shape).collect::<PyResult<Vec<_>>>()?;
        let known = |id: &u32| (*id as usize) < shapes.len();
        let sound = shapes.len() <= MAX_NODES
            && known(&root)
            && shapes.iter().all(|shape| match shape {
                Shape::Union(branches) => branches.iter().all(|(id, _)| known(id)),
                Shape::Record(fields) => fields.iter().all(|(_, id)| known(id)),
                Shape::Array { item: id, .. } | Shape::Map(id) => known(id),
                _ => true,
            });
        if sound { Ok(Self { shapes, root }) } else { Err(PyValueError::new_err("the reader refers to what it does not have")) }
    }

    /// Each value, and which were refused; `None` also where there is none to read.
    fn read<'py>(&self, py: Python<'py>, values: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyList>, Vec<usize>)> {
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        each(values, |index, data| {
            found.push(data.and_then(|data| {
                let value = self.one(py, data);
                if value.is_none() {
                    refused.push(index);
                }
                value
            }));
        })?;
        Ok((PyList::new(py, found)?, refused))
    }

    fn __repr__(&self) -> &'static str {
        "Reader(...)"
    }
}

impl Reader {
    fn one<'py>(&self, py: Python<'py>, data: &[u8]) -> Option<Bound<'py, PyAny>> {
        let mut state = State { py, shapes: &self.shapes, cursor: Cursor::new(data) };
        state.value(self.root).ok().filter(|_| state.cursor.is_at_end())
    }
}

/// Calls `take` with the number and the bytes of each of several values, `None` where there is none.
pub fn each(values: &Bound<'_, PyAny>, mut take: impl FnMut(usize, Option<&[u8]>)) -> PyResult<()> {
    if let Ok(output) = values.cast::<Output>() {
        let output = output.get();
        for (index, &left_out) in output.skip.iter().enumerate() {
            take(index, if left_out { None } else { output.output.get(index) });
        }
    } else {
        for (index, data) in values.extract::<Vec<Option<PyBackedBytes>>>()?.iter().enumerate() {
            take(index, data.as_deref());
        }
    }
    Ok(())
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
        "enum" => Shape::Enum(spec.get_item(1)?.extract()?),
        "union" => Shape::Union(spec.get_item(1)?.extract()?),
        "record" => Shape::Record(spec.get_item(1)?.extract()?),
        "array" => Shape::Array { item: spec.get_item(1)?.extract()?, widthless: spec.get_item(2)?.extract()? },
        "map" => Shape::Map(spec.get_item(1)?.extract()?),
        _ => return Err(PyValueError::new_err("the reader has a shape of a kind that is unknown")),
    })
}

impl<'py> State<'_, 'py> {
    fn value(&mut self, id: u32) -> Result<Bound<'py, PyAny>, Refused> {
        let (py, shapes) = (self.py, self.shapes);
        match &shapes[id as usize] {
            Shape::Null => Ok(py.None().into_bound(py)),
            Shape::Boolean => Ok(PyBool::new(py, self.cursor.boolean()?).to_owned().into_any()),
            Shape::Int => Ok(PyInt::new(py, self.cursor.int()?).into_any()),
            Shape::Long => Ok(PyInt::new(py, self.cursor.long()?).into_any()),
            Shape::Float => Ok(PyFloat::new(py, f64::from(f32::from_le_bytes(self.cursor.array()?))).into_any()),
            Shape::Double => Ok(PyFloat::new(py, f64::from_le_bytes(self.cursor.array()?)).into_any()),
            Shape::Bytes => Ok(PyBytes::new(py, self.cursor.span()?).into_any()),
            Shape::Text => Ok(PyString::new(py, self.cursor.text()?).into_any()),
            Shape::Fixed(size) => Ok(PyBytes::new(py, self.cursor.take(*size)?).into_any()),
            Shape::Enum(symbols) => Ok(symbols.get(self.cursor.index()?).ok_or(Refused)?.bind(py).clone().into_any()),
            Shape::Union(branches) => {
                let (branch, name) = branches.get(self.cursor.index()?).ok_or(Refused)?;
                let value = self.value(*branch)?;
                let Some(name) = name else { return Ok(value) };
                let tagged = PyDict::new(py);
                tagged.set_item(name, value).map_err(|_| Refused)?;
                Ok(tagged.into_any())
            }
            Shape::Record(fields) => {
                self.cursor.enter()?;
                let record = PyDict::new(py);
                for (name, field) in fields {
                    record.set_item(name, self.value(*field)?).map_err(|_| Refused)?;
                }
                self.cursor.leave();
                Ok(record.into_any())
            }
            Shape::Array { item, widthless } => {
                self.cursor.enter()?;
                let list = PyList::empty(py);
                self.blocks(*widthless, |state| list.append(state.value(*item)?).map_err(|_| Refused))?;
                self.cursor.leave();
                Ok(list.into_any())
            }
            Shape::Map(item) => {
                self.cursor.enter()?;
                let map = PyDict::new(py);
                self.blocks(false, |state| {
                    let key = PyString::new(py, state.cursor.text()?);
                    map.set_item(key, state.value(*item)?).map_err(|_| Refused)
                })?;
                self.cursor.leave();
                Ok(map.into_any())
            }
        }
    }

    fn blocks(&mut self, widthless: bool, mut item: impl FnMut(&mut Self) -> Result<(), Refused>) -> Result<(), Refused> {
        while let Some(block) = self.cursor.block(widthless)? {
            for _ in 0..block.count {
                item(self)?;
            }
            self.cursor.close(&block)?;
        }
        Ok(())
    }
}
