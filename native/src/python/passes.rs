//! Passes over the leases of a batch.

use pyo3::buffer::{PyBuffer, ReadOnlyCell};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffers::{ints, of};
use super::words;
use crate::passes::{Ahead, Begun, Leases};
use crate::table::{NoSlot, Table};

fn no_slot(_: NoSlot) -> PyErr {
    PyIndexError::new_err("no such slot")
}

/// Calls a pass with the table, and the numbers of slots.
pub fn with<const W: usize, T>(
    py: Python<'_>,
    table: &PyBuffer<i64>,
    slots: &PyBuffer<i64>,
    pass: impl FnOnce(Table<'_, W>, &[ReadOnlyCell<i64>]) -> Result<T, NoSlot>,
) -> PyResult<T> {
    let words = table.as_mut_slice(py).ok_or_else(|| PyValueError::new_err("a table is words that can be written"))?;
    pass(Table(words), ints(slots, py)?).map_err(no_slot)
}

/// `now, max_age_s, gap, values, bytes` of `crate::passes::Ahead`.
pub type Due = (f64, f64, f64, f64, f64);

/// Notes the use of leases by a batch. Returns for each a byte, whether it had room for all that is wanted of it, which is
/// taken then; whether all can be used; and whether the next of one may be due.
#[pyfunction]
pub fn lease_begin<'py>(
    py: Python<'py>,
    table: PyBuffer<i64>,
    slots: PyBuffer<i64>,
    values: PyBuffer<i64>,
    bytes: PyBuffer<i64>,
    due: Due,
) -> PyResult<(Bound<'py, PyBytes>, bool, bool)> {
    let begun = begun(py, [&table, &slots, &values, &bytes], due, |_| ())?;
    Ok((PyBytes::new(py, &begun.whole), begun.fresh, begun.near))
}

pub fn begun(
    py: Python<'_>,
    [table, slots, values, bytes]: [&PyBuffer<i64>; 4],
    due: Due,
    told: impl FnMut(i32),
) -> PyResult<Begun> {
    let each = wanted(py, values, bytes)?;
    let due = ahead(due);
    with(py, table, slots, |table: Leases<'_>, slots| table.begin(of(slots).zip(each).map(flat), &due, told))
}

/// Values and bytes.
fn wanted<'b>(
    py: Python<'b>,
    values: &'b PyBuffer<i64>,
    bytes: &'b PyBuffer<i64>,
) -> PyResult<impl ExactSizeIterator<Item = (i64, i64)> + Clone + 'b> {
    Ok(of(ints(values, py)?).zip(of(ints(bytes, py)?)))
}

fn flat((slot, (values, bytes)): (i64, (i64, i64))) -> (i64, i64, i64) {
    (slot, values, bytes)
}

fn ahead((now, max_age_s, gap, values, bytes): Due) -> Ahead {
    Ahead { now, max_age_s, gap, values, bytes }
}

#[pyfunction]
pub fn lease_end(py: Python<'_>, table: PyBuffer<i64>, slots: PyBuffer<i64>) -> PyResult<()> {
    with(py, &table, &slots, |table: Leases<'_>, slots| table.end(of(slots)))
}

#[pyfunction]
pub fn lease_states<'py>(
    py: Python<'py>,
    table: PyBuffer<i64>,
    slots: PyBuffer<i64>,
    now: f64,
    max_age_s: f64,
) -> PyResult<Bound<'py, PyBytes>> {
    let states = with(py, &table, &slots, |table: Leases<'_>, slots| table.states(of(slots), now, max_age_s))?;
    Ok(PyBytes::new(py, &states))
}

/// For each lease a byte: whether it had room for all that is wanted of it, which is taken then.
#[pyfunction]
pub fn lease_take<'py>(
    py: Python<'py>,
    table: PyBuffer<i64>,
    slots: PyBuffer<i64>,
    values: PyBuffer<i64>,
    bytes: PyBuffer<i64>,
    now: f64,
    max_age_s: f64,
) -> PyResult<Bound<'py, PyBytes>> {
    taken(py, [&table, &slots, &values, &bytes], now, max_age_s, |_| ())
}

pub fn taken<'py>(
    py: Python<'py>,
    [table, slots, values, bytes]: [&PyBuffer<i64>; 4],
    now: f64,
    max_age_s: f64,
    told: impl FnMut(i32),
) -> PyResult<Bound<'py, PyBytes>> {
    let each = wanted(py, values, bytes)?;
    let whole = with(py, table, slots, |table: Leases<'_>, slots| table.take(of(slots).zip(each).map(flat), now, max_age_s, told))?;
    Ok(PyBytes::new(py, &whole))
}

/// Those of the slots whose next lease is due.
#[pyfunction]
pub fn lease_ahead<'py>(
    py: Python<'py>,
    table: PyBuffer<i64>,
    slots: PyBuffer<i64>,
    due: Due,
) -> PyResult<Bound<'py, PyBytes>> {
    let due = ahead(due);
    let found = with(py, &table, &slots, |table: Leases<'_>, slots| table.ahead(of(slots), &due))?;
    words::ints(py, &found)
}
