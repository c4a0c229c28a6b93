//! Avro binary as Python's values, as the library in Python gives them; what is not of its type is refused.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::split::Output;
use crate::program::{MAX_NESTING, MAX_NODES, MAX_WIDTHLESS_ITEMS};
use crate::varint;

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

struct Refused;

struct State<'a, 'py> {
    py: Python<'py>,
    shapes: &'a [Shape],
    data: &'a [u8],
    at: usize,
    depth: usize,
    widthless: u64,
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
        let mut take = |index: usize, data: Option<&[u8]>| {
            found.push(data.and_then(|data| {
                let value = self.one(py, data);
                if value.is_none() {
                    refused.push(index);
                }
                value
            }));
        };
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
        Ok((PyList::new(py, found)?, refused))
    }

    fn __repr__(&self) -> &'static str {
        "Reader(...)"
    }
}

impl Reader {
    fn one<'py>(&self, py: Python<'py>, data: &[u8]) -> Option<Bound<'py, PyAny>> {
        let mut state = State { py, shapes: &self.shapes, data, at: 0, depth: 0, widthless: 0 };
        state.value(self.root).ok().filter(|_| state.at == data.len())
    }
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
            Shape::Boolean => match self.take(1)? {
                [0] => Ok(PyBool::new(py, false).to_owned().into_any()),
                [1] => Ok(PyBool::new(py, true).to_owned().into_any()),
                _ => Err(Refused),
            },
            Shape::Int => {
                let before = self.at;
                let number = i32::try_from(self.long()?).map_err(|_| Refused)?;
                if self.at - before > 5 {
                    return Err(Refused);
                }
                Ok(PyInt::new(py, number).into_any())
            }
            Shape::Long => Ok(PyInt::new(py, self.long()?).into_any()),
            Shape::Float => {
                let bytes = self.take(4)?.try_into().map_err(|_| Refused)?;
                Ok(PyFloat::new(py, f64::from(f32::from_le_bytes(bytes))).into_any())
            }
            Shape::Double => {
                let bytes = self.take(8)?.try_into().map_err(|_| Refused)?;
                Ok(PyFloat::new(py, f64::from_le_bytes(bytes)).into_any())
            }
            Shape::Bytes => Ok(PyBytes::new(py, self.span()?).into_any()),
            Shape::Text => self.text().map(Bound::into_any),
            Shape::Fixed(size) => Ok(PyBytes::new(py, self.take(*size)?).into_any()),
            Shape::Enum(symbols) => {
                let index = usize::try_from(self.long()?).map_err(|_| Refused)?;
                Ok(symbols.get(index).ok_or(Refused)?.bind(py).clone().into_any())
            }
            Shape::Union(branches) => {
                let index = usize::try_from(self.long()?).map_err(|_| Refused)?;
                let (branch, name) = branches.get(index).ok_or(Refused)?;
                let value = self.value(*branch)?;
                let Some(name) = name else { return Ok(value) };
                let tagged = PyDict::new(py);
                tagged.set_item(name, value).map_err(|_| Refused)?;
                Ok(tagged.into_any())
            }
            Shape::Record(fields) => {
                self.enter()?;
                let record = PyDict::new(py);
                for (name, field) in fields {
                    record.set_item(name, self.value(*field)?).map_err(|_| Refused)?;
                }
                self.depth -= 1;
                Ok(record.into_any())
            }
            Shape::Array { item, widthless } => {
                self.enter()?;
                let list = PyList::empty(py);
                self.blocks(*widthless, |state| list.append(state.value(*item)?).map_err(|_| Refused))?;
                self.depth -= 1;
                Ok(list.into_any())
            }
            Shape::Map(item) => {
                self.enter()?;
                let map = PyDict::new(py);
                self.blocks(false, |state| {
                    let key = state.text()?;
                    map.set_item(key, state.value(*item)?).map_err(|_| Refused)
                })?;
                self.depth -= 1;
                Ok(map.into_any())
            }
        }
    }

    fn blocks(&mut self, widthless: bool, mut item: impl FnMut(&mut Self) -> Result<(), Refused>) -> Result<(), Refused> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            let mut end = None;
            if count < 0 {
                let size = usize::try_from(self.long()?).map_err(|_| Refused)?;
                end = Some(self.at.checked_add(size).filter(|&end| end <= self.data.len()).ok_or(Refused)?);
            }
            let count = count.unsigned_abs();
            if widthless {
                self.widthless = self.widthless.saturating_add(count);
                if self.widthless > MAX_WIDTHLESS_ITEMS {
                    return Err(Refused);
                }
            } else if count > (self.data.len() - self.at) as u64 {
                return Err(Refused);
            }
            for _ in 0..count {
                item(self)?;
            }
            if end.is_some_and(|end| end != self.at) {
                return Err(Refused);
            }
        }
    }

    fn enter(&mut self) -> Result<(), Refused> {
        self.depth += 1;
        if self.depth > MAX_NESTING { Err(Refused) } else { Ok(()) }
    }

    fn long(&mut self) -> Result<i64, Refused> {
        let (value, end) = varint::read(self.data, self.at).ok_or(Refused)?;
        self.at = end;
        Ok(value)
    }

    fn take(&mut self, size: usize) -> Result<&[u8], Refused> {
        let end = self.at.checked_add(size).ok_or(Refused)?;
        let taken = self.data.get(self.at..end).ok_or(Refused)?;
        self.at = end;
        Ok(taken)
    }

    fn span(&mut self) -> Result<&[u8], Refused> {
        let size = usize::try_from(self.long()?).map_err(|_| Refused)?;
        self.take(size)
    }

    fn text(&mut self) -> Result<Bound<'py, PyString>, Refused> {
        let py = self.py;
        let text = std::str::from_utf8(self.span()?).map_err(|_| Refused)?;
        Ok(PyString::new(py, text))
    }
}
