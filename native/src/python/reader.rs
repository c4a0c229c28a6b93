//! Avro binary as Python's values, as the library in Python gives them; what is not of its type is refused.

use std::convert::Infallible;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::shapes::shapes;
use super::output::Output;
use crate::cursor::Cursor;
use crate::shapes::{Shape, Shapes};
use crate::walk::Refused;

/// Reads values of one type.
#[pyclass(frozen, module = "worker._native")]
pub struct Reader(Table);

/// Where a branch has a name its value stands under it in a dictionary.
type Table = Shapes<Py<PyString>, Infallible>;

struct State<'a, 'py> {
    py: Python<'py>,
    shapes: &'a Table,
    cursor: Cursor<'a>,
}

#[pymethods]
impl Reader {
    #[new]
    fn new(specs: Vec<Bound<'_, PyTuple>>, root: u32) -> PyResult<Self> {
        shapes(&specs, root, |name| Ok(name.clone().unbind()), |_, _| Ok(None)).map(Self)
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
        let mut state = State { py, shapes: &self.0, cursor: Cursor::new(data) };
        state.value(self.0.root()).ok().filter(|_| state.cursor.is_at_end())
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

impl<'py> State<'_, 'py> {
    fn value(&mut self, id: u32) -> Result<Bound<'py, PyAny>, Refused> {
        let (py, shapes) = (self.py, self.shapes);
        match shapes.get(id) {
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
                for (name, field) in fields.iter() {
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
            Shape::Other(never) => match *never {},
        }
    }

    fn blocks(
        &mut self,
        widthless: bool,
        mut item: impl FnMut(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        while let Some(block) = self.cursor.block(widthless)? {
            for _ in 0..block.count {
                item(self)?;
            }
            self.cursor.close(&block)?;
        }
        Ok(())
    }
}
