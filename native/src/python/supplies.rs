//! The keys that a slot's values are sealed with.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::keys::KeyBatch;
use super::stretches::Drawn;
use super::vault::Granted;
use crate::feed::{Feed, Leases, Singles};
use crate::stretches::Stretch;

/// Leases or stretches of keys, the context of each (of leases) or of each run (of keys), and how many values those
/// serve.
pub type Supply<'py> = (Bound<'py, PyAny>, PyBuffer<u32>, PyBuffer<i64>);
/// Keys of a batch: the first, and how many.
pub type Portion<'py> = (PyRef<'py, KeyBatch>, u32, u32);
pub const KEYS: &str = "the keys do not add up to the values";

fn each(py: Python<'_>, contexts: &PyBuffer<u32>, counts: &PyBuffer<i64>) -> PyResult<impl ExactSizeIterator<Item = (u32, u32)>> {
    let (contexts, counts) = (contexts.to_vec(py)?, counts.to_vec(py)?);
    let counts = counts.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>()?;
    if contexts.len() != counts.len() {
        return Err(PyRuntimeError::new_err(KEYS));
    }
    Ok(contexts.into_iter().zip(counts))
}

/// Portions as stretches of batches by their numbers.
pub fn apart(portions: &[Portion<'_>]) -> (Vec<Arc<crate::keys::KeyBatch>>, Vec<Stretch>) {
    let parts = (0..).zip(portions).map(|(answer, &(_, start, count))| Stretch { answer, start, count });
    (portions.iter().map(|(batch, ..)| Arc::clone(&batch.0)).collect(), parts.collect())
}

pub fn leases<'s>(py: Python<'_>, contexts: usize, supplies: &'s [Supply<'_>]) -> PyResult<Feed<'s>> {
    let mut feed = Leases::new(contexts);
    for (keys, contexts, counts) in supplies {
        let granted = &keys.cast::<Granted>()?.get().granted;
        feed.push(granted, each(py, contexts, counts)?).map_err(|_| PyRuntimeError::new_err(KEYS))?;
    }
    Ok(Feed::Leased(feed))
}

pub fn singles<'s>(py: Python<'_>, contexts: usize, supplies: &[Supply<'_>]) -> PyResult<Feed<'s>> {
    let mut feed = Singles::new(contexts);
    for (keys, contexts, counts) in supplies {
        let each = each(py, contexts, counts)?;
        let pushed = match keys.cast::<Drawn>() {
            Ok(drawn) => feed.push(drawn.get().batches(), drawn.get().stretches(), each),
            Err(_) => {
                let portions: Vec<Portion<'_>> = keys.extract()?;
                let (batches, parts) = apart(&portions);
                feed.push(batches, &parts, each)
            }
        };
        pushed.map_err(|_| PyRuntimeError::new_err(KEYS))?;
    }
    Ok(Feed::Single(feed))
}
