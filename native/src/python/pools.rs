//! Passes over the pools of a batch.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffers::{ints, of};
use super::passes::with;
use super::words;
use crate::pools::{Pools, Wanted};
use crate::table::NoSlot;

/// Slots, and how many keys for each.
type Asked<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

fn asked<'py>(py: Python<'py>, (slots, counts): &Wanted) -> PyResult<Asked<'py>> {
    Ok((words::ints(py, slots)?, words::ints(py, counts)?))
}

/// Calls a pass with the table, and with each slot and its number.
macro_rules! paired {
    ($py:ident, $table:ident, $slots:ident, $counts:ident, |$pools:ident, $each:ident| $pass:expr) => {{
        let numbers = ints(&$counts, $py)?;
        with($py, &$table, &$slots, |$pools: Pools<'_>, slots| {
            if slots.len() != numbers.len() {
                return Err(NoSlot);
            }
            let $each = of(slots).zip(of(numbers));
            $pass
        })
    }};
}

#[pyfunction]
pub fn pool_begin(py: Python<'_>, table: PyBuffer<i64>, slots: PyBuffer<i64>, counts: PyBuffer<i64>, now: f64, most: i64) -> PyResult<()> {
    paired!(py, table, slots, counts, |pools, each| pools.begin(each, now, most))
}

#[pyfunction]
pub fn pool_end(py: Python<'_>, table: PyBuffer<i64>, slots: PyBuffer<i64>) -> PyResult<()> {
    with(py, &table, &slots, |pools: Pools<'_>, slots| pools.end(of(slots)))
}

#[pyfunction]
pub fn pool_look<'py>(
    py: Python<'py>,
    table: PyBuffer<i64>,
    slots: PyBuffer<i64>,
    counts: PyBuffer<i64>,
    limit: f64,
) -> PyResult<Asked<'py>> {
    let (aged, has) = paired!(py, table, slots, counts, |pools, each| pools.look(each, limit))?;
    Ok((words::ints(py, &aged)?, PyBytes::new(py, &has)))
}

#[pyfunction]
pub fn pool_take(py: Python<'_>, table: PyBuffer<i64>, slots: PyBuffer<i64>, counts: PyBuffer<i64>) -> PyResult<()> {
    paired!(py, table, slots, counts, |pools, each| pools.take(each))
}

#[pyfunction]
pub fn pool_lacking<'py>(py: Python<'py>, table: PyBuffer<i64>, slots: PyBuffer<i64>) -> PyResult<Asked<'py>> {
    asked(py, &with(py, &table, &slots, |pools: Pools<'_>, slots| pools.lacking(of(slots)))?)
}

#[pyfunction]
pub fn pool_ahead<'py>(
    py: Python<'py>,
    table: PyBuffer<i64>,
    slots: PyBuffer<i64>,
    counts: PyBuffer<i64>,
    now: f64,
    full: i64,
    seconds: f64,
) -> PyResult<Asked<'py>> {
    if full < 1 {
        return Err(PyValueError::new_err("a full request has keys"));
    }
    asked(py, &paired!(py, table, slots, counts, |pools, each| pools.ahead(each, now, full, seconds))?)
}

/// Returns the pools' generations.
#[pyfunction]
pub fn pool_ask<'py>(py: Python<'py>, table: PyBuffer<i64>, slots: PyBuffer<i64>, counts: PyBuffer<i64>) -> PyResult<Bound<'py, PyBytes>> {
    words::ints(py, &paired!(py, table, slots, counts, |pools, each| pools.ask(each))?)
}

/// Returns for each slot a byte: whether its generation is the pool's still.
#[pyfunction]
pub fn pool_came<'py>(
    py: Python<'py>,
    table: PyBuffer<i64>,
    slots: PyBuffer<i64>,
    counts: PyBuffer<i64>,
    generations: PyBuffer<i64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let generations = ints(&generations, py)?;
    let current = paired!(py, table, slots, counts, |pools, each| {
        if generations.len() != each.len() {
            return Err(NoSlot);
        }
        let each = each.zip(of(generations)).map(|((slot, count), generation)| (slot, (count, generation)));
        pools.came(each)
    })?;
    Ok(PyBytes::new(py, &current))
}

#[pyfunction]
pub fn pool_put(py: Python<'_>, table: PyBuffer<i64>, slots: PyBuffer<i64>, counts: PyBuffer<i64>, born: f64) -> PyResult<()> {
    paired!(py, table, slots, counts, |pools, each| pools.put(each, born))
}

#[pyfunction]
pub fn pool_weigh(py: Python<'_>, table: PyBuffer<i64>, slots: PyBuffer<i64>, base: i64, key: i64) -> PyResult<(i64, i64)> {
    with(py, &table, &slots, |pools: Pools<'_>, slots| pools.weigh(of(slots), base, key))
}
