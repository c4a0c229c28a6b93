//! Where contexts have their places in a key cache.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffers::{ints, of};
use super::framed::Framed;
use super::split::Split;
use super::words;
use crate::contexts::{frame, hash, NONE};

/// Where contexts have their places, family by family.
#[pyclass(module = "worker._native")]
pub struct Directory {
    directory: crate::contexts::Directory,
    /// Tells one directory from another that a batch was looked up in.
    id: u64,
}

#[pymethods]
impl Directory {
    #[new]
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { directory: crate::contexts::Directory::default(), id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The places of some contexts of a split, by their numbers there; -1 where a family does not hold one.
    fn find<'py>(&self, split: &Bound<'py, Split>, slot: usize, contexts: PyBuffer<u32>, family: u32) -> PyResult<Bound<'py, PyBytes>> {
        let py = split.py();
        let contexts = contexts.as_slice(py).ok_or_else(|| PyValueError::new_err("contexts follow each other in memory"))?;
        let mut places = Vec::with_capacity(contexts.len());
        split.get().with_rows(slot, self.id, &self.directory, |rows| {
            for context in contexts {
                places.push(signed(rows.place(&self.directory, context.get(), family)));
            }
        })?;
        words::ints(py, &places)
    }

    /// The same of contexts as texts under names.
    fn find_texts<'py>(&self, py: Python<'py>, names: Vec<String>, contexts: Vec<Vec<String>>, family: u32) -> PyResult<Bound<'py, PyBytes>> {
        let place = |framed: Vec<u8>| signed(self.directory.place(self.directory.row(&framed, hash(&framed)), family));
        words::ints(py, &framed(&names, &contexts).map(place).collect::<Vec<_>>())
    }

    /// Gives some contexts of a split places; returns their hashes, or None where one has a place already.
    fn put<'py>(
        &mut self,
        split: &Bound<'py, Split>,
        slot: usize,
        contexts: PyBuffer<u32>,
        family: u32,
        places: PyBuffer<i64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let py = split.py();
        let (numbers, places) = (contexts.to_vec(py)?, ints(&places, py)?);
        let split = split.get();
        let rows: Vec<u32> =
            split.with_rows(slot, self.id, &self.directory, |rows| numbers.iter().map(|number| rows.row(*number)).collect())?;
        self.directory.reserve(rows.iter().filter(|row| **row == NONE).count());
        let table = split.table(slot)?;
        let mut hashes = Vec::with_capacity(places.len());
        for ((number, row), place) in numbers.into_iter().zip(rows).zip(of(places)) {
            if number as usize >= table.len() {
                return Err(PyIndexError::new_err("no such context"));
            }
            let (framed, hash, place) = (table.framed(number), table.hash(number), u32::try_from(place)?);
            if !self.directory.put_at(row, framed, hash, family, place) {
                return Ok(None);
            }
            hashes.push(hash as i64);
        }
        words::ints(py, &hashes).map(Some)
    }

    /// The same of contexts as texts under names.
    fn put_texts<'py>(
        &mut self,
        py: Python<'py>,
        names: Vec<String>,
        contexts: Vec<Vec<String>>,
        family: u32,
        places: PyBuffer<i64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let mut hashes = Vec::with_capacity(contexts.len());
        for (framed, place) in framed(&names, &contexts).zip(of(ints(&places, py)?)) {
            let hash = hash(&framed);
            if !self.directory.put(&framed, hash, family, u32::try_from(place)?) {
                return Ok(None);
            }
            hashes.push(hash as i64);
        }
        words::ints(py, &hashes).map(Some)
    }

    /// The hash of a place's context.
    fn hash_of(&self, place: u32) -> PyResult<i64> {
        self.directory.hash_of(place).map(|hash| hash as i64).ok_or_else(|| PyIndexError::new_err("no such place"))
    }

    fn remove(&mut self, place: u32) {
        self.directory.remove(place);
    }

    /// The texts of the contexts of some places, without their names.
    fn texts(&self, py: Python<'_>, places: PyBuffer<i64>) -> PyResult<Framed> {
        let mut found = crate::request::Framed::default();
        for place in of(ints(&places, py)?) {
            let framed = self.directory.framed(u32::try_from(place)?).ok_or_else(|| PyIndexError::new_err("no such place"))?;
            found.push(framed);
        }
        Ok(Framed::new(found))
    }
}

fn framed<'t>(names: &[String], contexts: &'t [Vec<String>]) -> impl Iterator<Item = Vec<u8>> + 't {
    let names: Vec<Box<[u8]>> =
        names.iter().map(|name| [&(name.len() as u32).to_be_bytes(), name.as_bytes()].concat().into()).collect();
    contexts.iter().map(move |texts| {
        let mut out = Vec::new();
        frame(&mut out, &names, texts.iter().map(String::as_bytes));
        out
    })
}

fn signed(place: u32) -> i64 {
    if place == NONE { -1 } else { i64::from(place) }
}
