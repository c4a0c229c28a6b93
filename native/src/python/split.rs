//! A batch taken apart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::open::{sources, word, Requests, Sources};
use super::output::Output;
use super::program::Program;
use super::records::records_of;
use super::supplies::{leases, singles, Supply, KEYS};
use super::words::{ints, shorts};
use crate::aead::Nonces;
use crate::contexts::{Contexts, Directory, Rows, NONE};
use crate::feed::Unsealed;
use crate::open::Opener;
use crate::seal::{self, Records};
use crate::unseal;
use crate::walk::{BoundSpan, Found, Scratch};

#[pyclass(frozen, module = "worker._native")]
pub struct Split {
    program: Arc<crate::program::Program>,
    found: Found,
    records: Box<dyn Records + Send>,
    skip: Mutex<Vec<bool>>,
    counted: Mutex<Counted>,
    /// For each table of contexts, the rows that they had when they were last looked up.
    rows: Mutex<Vec<Rows>>,
}

/// How many values each slot has in a stretch of records; a batch is asked for all of its slots, several times.
struct Counted {
    of: Option<(usize, usize)>,
    values: Vec<usize>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers of contexts, 32 bits each, and numbers of values and bytes, 64 bits each, in native order.
type Asked<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

#[pymethods]
impl Split {
    /// Walks over values that begin at `start`; `keys` only where a field binds the record's key. A record of more than
    /// `most` replaced stretches is refused; `OverflowError` where all together have more than `every`.
    #[new]
    #[pyo3(signature = (program, values, keys, start, most=None, every=None))]
    fn new(
        py: Python<'_>,
        program: &Program,
        values: &Bound<'_, PyAny>,
        keys: Option<&Bound<'_, PyAny>>,
        start: usize,
        most: Option<usize>,
        every: Option<usize>,
    ) -> PyResult<Self> {
        let records = records_of(values, keys, start)?;
        if records.len() >= NONE as usize {
            return Err(PyValueError::new_err("too many values at once"));
        }
        let program = Arc::clone(&program.0);
        py.detach(|| {
            let mut found = Found::new(&program, records.len());
            let (mut scratch, most, every) = (Scratch::default(), most.unwrap_or(usize::MAX), every.unwrap_or(usize::MAX));
            for index in 0..records.len() {
                found.walk(&program, records.datum(index), records.key(index).is_some(), most, &mut scratch);
                if found.cuts.len() > every {
                    return Err(PyOverflowError::new_err("too many declared values at once"));
                }
            }
            let mut skip = vec![false; records.len()];
            for &index in &found.refused {
                skip[index as usize] = true;
            }
            let rows = found.contexts.iter().map(|_| Rows::default()).collect();
            // What was refused has no values.
            let counted = Counted { of: Some((0, records.len())), values: found.values.clone() };
            Ok(Self { program, found, records, skip: Mutex::new(skip), counted: Mutex::new(counted), rows: Mutex::new(rows) })
        })
    }

    fn __len__(&self) -> usize {
        self.records.len()
    }

    /// The records that the walk refuses: the twin reads them again and says why.
    #[getter]
    fn refused(&self) -> Vec<u32> {
        self.found.refused.clone()
    }

    /// Leaves records out of everything that follows.
    fn drop(&self, records: Vec<usize>) -> PyResult<()> {
        let (mut counted, mut skip) = (held(&self.counted), held(&self.skip));
        if !records.is_empty() {
            counted.of = None;
        }
        for index in records {
            *skip.get_mut(index).ok_or_else(|| PyIndexError::new_err("no such record"))? = true;
        }
        Ok(())
    }

    /// For each declared field, its contexts that have values.
    fn demands<'py>(&self, py: Python<'py>) -> PyResult<Vec<Asked<'py>>> {
        let demands = py.detach(|| seal::demands(&self.program, &self.found, &held(&self.skip)));
        let asked = |each: seal::Demand| Ok((shorts(py, &each.contexts)?, ints(py, &each.counts)?, ints(py, &each.bytes)?));
        demands.into_iter().map(asked).collect()
    }

    /// The texts of one field's context, without their names.
    fn texts(&self, slot: usize, context: u32) -> PyResult<Vec<String>> {
        let contexts = self.table(slot)?;
        if context as usize >= contexts.len() {
            return Err(PyIndexError::new_err("no such context"));
        }
        Ok(contexts.texts(context))
    }

    /// The sizes of one field's values under one context, as 32-bit numbers in native order.
    fn sizes<'py>(&self, py: Python<'py>, slot: u32, context: u32) -> PyResult<Bound<'py, PyBytes>> {
        shorts(py, &py.detach(|| seal::sizes(&self.found, &held(&self.skip), slot, context)))
    }

    /// How many values of one field some records have that were not left out.
    fn count(&self, py: Python<'_>, slot: usize, start: usize, stop: usize) -> usize {
        py.detach(|| {
            let mut counted = held(&self.counted);
            if counted.of != Some((start, stop)) {
                counted.values = seal::counts(&self.program, &self.found, &held(&self.skip), start, stop);
                counted.of = Some((start, stop));
            }
            counted.values.get(slot).copied().unwrap_or_default()
        })
    }

    /// The number-th text asked for of each record's root.
    fn extracted(&self, number: usize) -> PyResult<Vec<Option<String>>> {
        let each = self.program.extracts;
        if number >= each {
            return Err(PyIndexError::new_err("no such text"));
        }
        Ok(self.found.extracted.iter().skip(number).step_by(each).cloned().collect())
    }

    /// One field's values as Python's: bytes, records, texts of the context, bound bytes.
    #[allow(clippy::type_complexity)]
    fn column<'py>(
        &self,
        py: Python<'py>,
        slot: u32,
    ) -> PyResult<(Vec<Bound<'py, PyBytes>>, Vec<usize>, Vec<Vec<String>>, Vec<Vec<Bound<'py, PyBytes>>>)> {
        let shape = self.program.slots.get(slot as usize).ok_or_else(|| PyIndexError::new_err("no such field"))?;
        let skip = held(&self.skip);
        let (mut values, mut records, mut contexts, mut binds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, _) in skip.iter().enumerate().filter(|(_, &left_out)| !left_out) {
            let data = self.records.datum(index);
            for cut in self.found.cuts_of(index).iter().filter(|cut| cut.slot == slot) {
                values.push(PyBytes::new(py, &data[cut.first as usize..cut.last as usize]));
                records.push(index);
                if cut.group != NONE {
                    contexts.push(self.table(slot as usize)?.texts(cut.group));
                }
                if cut.bound != NONE {
                    let spans = &self.found.bound[cut.bound as usize..][..shape.bind.len()];
                    binds.push(spans.iter().map(|span| PyBytes::new(py, match span {
                        BoundSpan::Datum(start, end) => &data[*start as usize..*end as usize],
                        BoundSpan::Key => self.records.key(index).unwrap_or_default(),
                    })).collect());
                }
            }
        }
        Ok((values, records, contexts, binds))
    }

    /// The envelopes of one field within what `seal` returned behind a prefix of `frame` bytes.
    fn envelopes<'py>(&self, py: Python<'py>, output: &Output, frame: usize, slot: u32) -> Vec<Bound<'py, PyBytes>> {
        let found = seal::envelopes(&self.found, &output.output, &output.skip, frame, slot);
        found.into_iter().map(|envelope| PyBytes::new(py, envelope)).collect()
    }

    /// Seals everything that was not left out, each datum behind `prefix`; `supplies` follow `demands`.
    fn seal(&self, py: Python<'_>, prefix: &[u8], supplies: Vec<Vec<Supply<'_>>>) -> PyResult<Output> {
        let mut feeds = Vec::with_capacity(supplies.len());
        for (number, supplies) in supplies.iter().enumerate().take(self.program.slots.len()) {
            let contexts = self.table(number)?.len().max(1);
            let leased = self.program.slots[number].leased;
            feeds.push(if leased { leases(py, contexts, supplies)? } else { singles(py, contexts, supplies)? });
        }
        let sealed = py.detach(|| {
            let skip = held(&self.skip);
            let mut nonces = Nonces::new();
            seal::seal(&self.program, &self.found, &*self.records, &skip, prefix, feeds, &mut nonces)
                .map(|output| (output, skip.clone()))
        });
        match sealed {
            Ok((output, skip)) => Ok(Output { output: Arc::new(output), skip }),
            Err(Unsealed::Keys) => Err(PyRuntimeError::new_err(KEYS)),
            Err(Unsealed::Library) => Err(PyRuntimeError::new_err("the cipher failed")),
        }
    }

    /// The texts of one field's contexts.
    fn contexts(&self, slot: usize) -> PyResult<Vec<Vec<String>>> {
        let contexts = self.table(slot)?;
        Ok((0..contexts.len() as u32).map(|number| contexts.texts(number)).collect())
    }

    /// Which keys the envelopes ask for, `descriptors` by field; records that the twin has to read are left out.
    fn requests(&self, py: Python<'_>, descriptors: Vec<String>) -> (Requests, Vec<usize>) {
        let (asked, of, refused) = py.detach(|| unseal::ask(&self.program, &self.found, &*self.records, &mut held(&self.skip), &descriptors));
        (Requests { asked: Arc::new(asked), of: Arc::new(of) }, refused)
    }

    /// Opens every envelope that was asked for and puts the records together, each behind `prefix`.
    fn open(&self, py: Python<'_>, requests: &Requests, given: Sources<'_>, prefix: &[u8]) -> PyResult<Restored> {
        let sources = sources(&given)?;
        let opened = py.detach(|| {
            let mut skip = held(&self.skip).clone();
            let framed = |slot: u32, number: u32| {
                let contexts = self.table(slot as usize).ok()?;
                ((number as usize) < contexts.len()).then(|| contexts.framed(number))
            };
            let mut opener = Opener::new(&requests.asked, sources.into_iter(), framed)?;
            let (output, faults) = unseal::open(&self.program, &self.found, &*self.records, &mut skip, &requests.of, &mut opener, prefix)?;
            Some((Output { output: Arc::new(output), skip }, faults))
        });
        let (output, faults) = opened.ok_or_else(|| PyValueError::new_err("a key, or none, for each request"))?;
        Ok((output, faults.into_iter().map(|f| (f.record, f.slot, word(f.fault), f.request)).collect()))
    }
}

/// Records put together, and why others were not: record, field, the reason, the number of the request.
type Restored = (Output, Vec<(usize, u32, &'static str, u32)>);

impl Split {
    /// The contexts of a field.
    pub fn table(&self, slot: usize) -> PyResult<&Contexts> {
        let table = self.program.tables.get(slot).ok_or_else(|| PyIndexError::new_err("no such field"))?;
        Ok(&self.found.contexts[*table])
    }

    /// Calls `then` with the rows that a field's contexts have in a directory.
    pub fn with_rows<T>(&self, slot: usize, id: u64, directory: &Directory, then: impl FnOnce(&Rows) -> T) -> PyResult<T> {
        let contexts = self.table(slot)?;
        let mut tables = held(&self.rows);
        let rows = &mut tables[self.program.tables[slot]];
        rows.look_up(id, directory, contexts);
        Ok(then(rows))
    }
}
