//! Records as Python and native memory hold them.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use super::kafka::Column;
use crate::kafka::batch::{self, Part};
use crate::seal::Records;

/// Values and keys that Python owns.
struct Objects {
    values: Vec<PyBackedBytes>,
    keys: Option<Vec<Option<PyBackedBytes>>>,
    start: usize,
}

impl Records for Objects {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn datum(&self, index: usize) -> &[u8] {
        self.values[index].get(self.start..).unwrap_or_default()
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.keys.as_ref()?.get(index)?.as_deref()
    }
}

/// A batch in native memory.
struct Native {
    batch: Arc<batch::Batch>,
    start: usize,
    keyed: bool,
}

impl Records for Native {
    fn len(&self) -> usize {
        self.batch.len()
    }

    fn datum(&self, index: usize) -> &[u8] {
        self.batch.part(Part::Value, index).and_then(|value| value.get(self.start..)).unwrap_or_default()
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        if self.keyed { self.batch.part(Part::Key, index) } else { None }
    }
}

/// Keys that Python owns, beside values in native memory.
struct Mixed {
    values: Native,
    keys: Vec<Option<PyBackedBytes>>,
}

impl Records for Mixed {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn datum(&self, index: usize) -> &[u8] {
        self.values.datum(index)
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.keys.get(index)?.as_deref()
    }
}

/// A batch's values from `start` on, and its keys.
pub fn records_of(values: &Bound<'_, PyAny>, keys: Option<&Bound<'_, PyAny>>, start: usize) -> PyResult<Box<dyn Records + Send>> {
    let Ok(column) = values.cast::<Column>() else {
        let values: Vec<PyBackedBytes> = values.extract()?;
        let keys = keys.map(|keys| keys.extract::<Vec<Option<PyBackedBytes>>>()).transpose()?;
        if keys.as_ref().is_some_and(|keys| keys.len() != values.len()) {
            return Err(PyValueError::new_err("a key, or none, for each value"));
        }
        return Ok(Box::new(Objects { values, keys, start }));
    };
    let column = column.get();
    if column.part != Part::Value {
        return Err(PyValueError::new_err("a batch's values are asked for"));
    }
    let own = |keys: &Column| keys.part == Part::Key && Arc::ptr_eq(&keys.batch, &column.batch);
    let keyed = keys.is_some_and(|keys| keys.cast::<Column>().is_ok_and(|keys| own(keys.get())));
    let values = Native { batch: Arc::clone(&column.batch), start, keyed };
    match keys {
        Some(keys) if !keyed => {
            let keys: Vec<Option<PyBackedBytes>> = keys.extract()?;
            if keys.len() != values.len() {
                return Err(PyValueError::new_err("a key, or none, for each value"));
            }
            Ok(Box::new(Mixed { values, keys }))
        }
        _ => Ok(Box::new(values)),
    }
}
