//! A batch taken apart, and what it was sealed to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::keys::{KeyBatch, Lease};
use super::open::{sources, word, Requests, Sources};
use super::program::Program;
use super::sequence::{items, Sequence};
use super::kafka::Column;
use crate::aead::Nonces;
use crate::kafka::batch::{self, Part};
use crate::open::Opener;
use crate::seal::{self, Records, Supply, Unsealed};
use crate::unseal;
use crate::walk::{BoundSpan, Found, Scratch, NONE};

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

fn records_of(values: &Bound<'_, PyAny>, keys: Option<&Bound<'_, PyAny>>, start: usize) -> PyResult<Box<dyn Records + Send>> {
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

#[pyclass(frozen, module = "worker._native")]
pub struct Split {
    program: Arc<crate::program::Program>,
    found: Found,
    records: Box<dyn Records + Send>,
    skip: Mutex<Vec<bool>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leases or batches of keys: from which of its keys on, and how many values each serves.
type Portions<'py> = Vec<(Bound<'py, PyAny>, u32, u32)>;
/// The texts of a context, how many values it has, and their bytes.
type Asked = (Vec<String>, u32, u64);

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
            Ok(Self { program, found, records, skip: Mutex::new(skip) })
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
        let mut skip = held(&self.skip);
        for index in records {
            *skip.get_mut(index).ok_or_else(|| PyIndexError::new_err("no such record"))? = true;
        }
        Ok(())
    }

    /// For each declared field, its contexts with their number of values and bytes.
    fn demands(&self, py: Python<'_>) -> Vec<Vec<Asked>> {
        let demands = py.detach(|| seal::demands(&self.program, &self.found, &held(&self.skip)));
        demands
            .into_iter()
            .zip(&self.found.groups)
            .map(|(slot, groups)| {
                let texts = |n: usize| groups.texts.get(n).cloned().unwrap_or_default();
                slot.into_iter().enumerate().map(|(n, asked)| (texts(n), asked.count, asked.bytes)).collect()
            })
            .collect()
    }

    /// The sizes of one field's values under one context, as 32-bit numbers in native order.
    fn sizes<'py>(&self, py: Python<'py>, slot: usize, group: usize) -> PyResult<Bound<'py, PyBytes>> {
        let demands = py.detach(|| seal::demands(&self.program, &self.found, &held(&self.skip)));
        let asked = demands.get(slot).and_then(|groups| groups.get(group)).ok_or_else(|| PyIndexError::new_err("no such context"))?;
        let bytes: Vec<u8> = asked.sizes.iter().flat_map(|size| size.to_ne_bytes()).collect();
        Ok(PyBytes::new(py, &bytes))
    }

    /// How many values of one field some records have that were not left out.
    fn count(&self, slot: u32, start: usize, stop: usize) -> usize {
        let skip = held(&self.skip);
        (start..stop.min(skip.len()))
            .filter(|&index| !skip[index])
            .map(|index| self.found.cuts_of(index).iter().filter(|cut| cut.slot == slot).count())
            .sum()
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
                    contexts.push(self.found.groups[slot as usize].texts[cut.group as usize].clone());
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
    fn seal(&self, py: Python<'_>, prefix: &[u8], supplies: Vec<Vec<Portions<'_>>>) -> PyResult<Output> {
        let mut given = Vec::with_capacity(supplies.len());
        for (slot, groups) in self.program.slots.iter().zip(supplies) {
            let supply = |portions: Portions<'_>| if slot.leased { leased(portions) } else { single(portions) };
            given.push(groups.into_iter().map(supply).collect::<PyResult<Vec<_>>>()?);
        }
        let sealed = py.detach(|| {
            let skip = held(&self.skip);
            let mut nonces = Nonces::new();
            seal::seal(&self.program, &self.found, &*self.records, &skip, prefix, given, &mut nonces)
                .map(|output| (output, skip.clone()))
        });
        match sealed {
            Ok((output, skip)) => Ok(Output { output: Arc::new(output), skip }),
            Err(Unsealed::Keys) => Err(PyRuntimeError::new_err("the keys do not add up to the values")),
            Err(Unsealed::Library) => Err(PyRuntimeError::new_err("the cipher failed")),
        }
    }
    /// The texts of one field's contexts.
    fn contexts(&self, slot: usize) -> PyResult<Vec<Vec<String>>> {
        let groups = self.found.groups.get(slot).ok_or_else(|| PyIndexError::new_err("no such field"))?;
        Ok(groups.texts.clone())
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
            let framed = |slot: u32, group: u32| self.found.groups.get(slot as usize)?.framed.get(group as usize).map(|text| &**text);
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

fn leased(portions: Portions<'_>) -> PyResult<Supply> {
    let each = portions.into_iter().map(|(lease, _, count)| Ok((Arc::clone(&lease.cast::<Lease>()?.get().0), count)));
    Ok(Supply::Leased(each.collect::<PyResult<_>>()?))
}

fn single(batches: Portions<'_>) -> PyResult<Supply> {
    let mut keys = Vec::new();
    for (batch, start, count) in batches {
        let batch = Arc::clone(&batch.cast::<KeyBatch>()?.get().0);
        keys.extend((start..start.saturating_add(count)).map(|index| (Arc::clone(&batch), index)));
    }
    Ok(Supply::Single(keys))
}

/// Framed output datums, a sequence of `bytes`, or of None where a record was left out.
#[pyclass(frozen, module = "worker._native", sequence)]
pub struct Output {
    pub output: Arc<seal::Output>,
    pub skip: Vec<bool>,
}

impl Sequence for Output {
    fn len(&self) -> usize {
        self.skip.len()
    }

    fn item<'py>(&self, py: Python<'py>, index: usize) -> Option<Bound<'py, PyBytes>> {
        if self.skip[index] { None } else { self.output.get(index).map(|data| PyBytes::new(py, data)) }
    }
}

#[pymethods]
impl Output {
    fn __len__(&self) -> usize {
        self.skip.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        items(self, py, index)
    }

    /// Bytes of envelopes, by slot.
    #[getter]
    fn sealed(&self) -> Vec<u64> {
        self.output.sealed.clone()
    }

    /// Bytes of a stretch of records.
    fn content_bytes(&self, start: usize, stop: usize) -> usize {
        (start..stop.min(self.skip.len())).filter_map(|index| self.output.get(index)).map(<[u8]>::len).sum()
    }

    /// Bytes of the largest record.
    #[getter]
    fn largest(&self) -> usize {
        (0..self.skip.len()).filter_map(|index| self.output.get(index)).map(<[u8]>::len).max().unwrap_or(0)
    }

    fn __repr__(&self) -> String {
        format!("Output({} records)", self.skip.len())
    }
}
