//! Envelopes opened: which keys they ask for, and their values.

use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::keys::{KeyBatch, Lease};
use super::program::slot;
use crate::open::{Asked, Fault, Opener, Place, Source};
use crate::request;
use crate::typed;
use crate::contexts::NONE;

/// Keys in the order of the requests: whose, from which of its keys on, for how many requests; none for a refusal.
pub type Sources<'py> = Vec<(Option<Bound<'py, PyAny>>, usize, usize)>;
/// The keyset, iv, tag, descriptor, field and context of a request.
type Item<'py> = (Option<Bound<'py, PyBytes>>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, String, u32, u32);

/// What envelopes need to ask for their keys again; equal ones share a request where a key serves many values.
#[pyclass(frozen, module = "worker._native")]
pub struct Requests {
    pub asked: Arc<Asked>,
    /// By envelope: its request, or none.
    pub of: Arc<Vec<u32>>,
}

#[pymethods]
impl Requests {
    fn __len__(&self) -> usize {
        self.asked.requests.len()
    }

    /// Whether all are of one keyset, and which.
    fn keyset<'py>(&self, py: Python<'py>) -> (bool, Option<Bound<'py, PyBytes>>) {
        let mut each = self.asked.requests.iter().map(|request| request.keyset);
        let first = each.next().flatten();
        (each.all(|keyset| keyset == first), first.map(|keyset| PyBytes::new(py, &keyset)))
    }

    fn item<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Item<'py>> {
        let of = self.asked.requests.get(index).ok_or_else(|| PyIndexError::new_err("no such request"))?;
        let keyset = of.keyset.map(|keyset| PyBytes::new(py, &keyset));
        Ok((keyset, PyBytes::new(py, &of.iv), PyBytes::new(py, &of.tag), of.descriptor.to_string(), of.slot, of.group))
    }

    /// The type's fingerprint in a lease's header.
    fn fingerprint<'py>(&self, py: Python<'py>, index: usize) -> Option<Bound<'py, PyBytes>> {
        self.asked.requests.get(index)?.header.last_chunk::<8>().map(|print| PyBytes::new(py, print))
    }

    /// Some requests as the key service takes them; `contexts` are JSON, by field and number.
    fn items<'py>(&self, py: Python<'py>, start: usize, stop: usize, contexts: Vec<Vec<PyBackedBytes>>) -> PyResult<Bound<'py, PyBytes>> {
        let some = self.asked.requests.get(start..stop).ok_or_else(|| PyIndexError::new_err("no such requests"))?;
        let context = |slot: u32, group: u32| contexts.get(slot as usize).and_then(|each| each.get(group as usize)).map(|text| &text[..]);
        let body = request::retrieves(some, context).ok_or_else(|| PyValueError::new_err("a context for each request"))?;
        Ok(PyBytes::new(py, &body))
    }

    fn __repr__(&self) -> String {
        format!("Requests({})", self.asked.requests.len())
    }
}

/// Where each request's key is.
pub fn sources(given: &Sources<'_>) -> PyResult<Vec<Option<Source>>> {
    let mut out = Vec::new();
    for (holder, start, count) in given {
        match holder {
            None => out.extend((0..*count).map(|_| None)),
            Some(holder) => match holder.cast::<KeyBatch>() {
                Ok(batch) => out.extend((*start..start + count).map(|index| Some(Source::Held(Arc::clone(&batch.get().0), index)))),
                Err(_) => {
                    let lease = &holder.cast::<Lease>()?.get().0;
                    out.extend((0..*count).map(|_| Some(Source::Lease(Arc::clone(lease)))));
                }
            },
        }
    }
    Ok(out)
}

pub fn word(fault: Fault) -> &'static str {
    match fault {
        Fault::NoKey => "key",
        Fault::Shut => "shut",
        Fault::Unexpected => "unexpected",
    }
}

/// Envelopes of one place, as Python has them.
#[pyclass(frozen, module = "worker._native")]
pub struct Envelopes {
    values: Vec<Option<PyBackedBytes>>,
    asked: Arc<Asked>,
    of: Arc<Vec<u32>>,
}

/// Plaintexts, those of typed texts as text, and by envelope why there is none, with the number of its request.
type Opened<'py> = (Vec<Option<Bound<'py, PyAny>>>, Vec<(usize, &'static str, u32)>);

#[pymethods]
impl Envelopes {
    #[new]
    #[pyo3(signature = (values, descriptor, fingerprints, leased))]
    fn new(values: Vec<Bound<'_, PyAny>>, descriptor: Option<&str>, fingerprints: Vec<[u8; 8]>, leased: bool) -> Self {
        let values: Vec<Option<PyBackedBytes>> = values.iter().map(|value| value.extract().ok()).collect();
        let place = Place {
            leased: leased.then_some(true),
            descriptor: descriptor.map(Box::from),
            fingerprints: Some(fingerprints.into()),
        };
        let mut asked = Asked::default();
        let of = values.iter().map(|value| value.as_ref().and_then(|data| asked.ask(&place, 0, 0, data)).unwrap_or(NONE));
        let of = Arc::new(of.collect());
        Self { values, asked: Arc::new(asked), of }
    }

    #[getter]
    fn requests(&self) -> Requests {
        Requests { asked: Arc::clone(&self.asked), of: Arc::clone(&self.of) }
    }

    /// The number of each envelope's request; none for what the twin has to read.
    #[getter]
    fn numbers(&self) -> Vec<Option<u32>> {
        self.of.iter().map(|&number| (number != NONE).then_some(number)).collect()
    }

    /// Whether each envelope has a key of its own, and its request in their order.
    #[getter]
    fn is_one_each(&self) -> bool {
        let in_order = self.of.iter().enumerate().all(|(index, &number)| index == number as usize);
        in_order && self.asked.requests.iter().all(|request| request.header.is_empty())
    }

    /// Opens what was asked for. `context` and `bound` are framed; a `field` reads typed plaintexts as its Avro.
    ///
    /// A `part` is a stretch of envelopes that have a request each, of which `given` has the keys.
    #[pyo3(signature = (given, context, bound, field, part=None))]
    fn open<'py>(
        &self,
        py: Python<'py>,
        given: Sources<'py>,
        context: &[u8],
        bound: &[u8],
        field: Option<Bound<'py, PyTuple>>,
        part: Option<(usize, usize)>,
    ) -> PyResult<Opened<'py>> {
        let (sources, field) = (sources(&given)?, field.as_ref().map(slot).transpose()?);
        let (first, last) = part.unwrap_or((0, self.values.len()));
        let no_part = || PyIndexError::new_err("no such envelopes");
        let values = self.values.get(first..last).ok_or_else(no_part)?;
        let numbers = &self.of[first..last];
        let requests = if part.is_some() { self.asked.requests.get(first..last).ok_or_else(no_part)? } else { &self.asked.requests };
        let from = if part.is_some() { first as u32 } else { 0 };
        let opened = py.detach(|| {
            let mut opener = Opener::part(requests, from, sources.into_iter(), |_, _| Some(context))?;
            let (mut data, mut ends, mut faults) = (Vec::new(), Vec::with_capacity(values.len()), Vec::new());
            let mut typed_form = Vec::new();
            for (index, (value, &number)) in values.iter().zip(numbers).enumerate() {
                if let (Some(value), true) = (value, number != NONE) {
                    let leased = !self.asked.requests[number as usize].header.is_empty();
                    let done = match &field {
                        Some(field) if !leased => {
                            typed_form.clear();
                            opener.open(number, value, bound, &mut typed_form).and_then(|()| {
                                typed::read(field, &typed_form, &mut data).map_err(|_| Fault::Unexpected)
                            })
                        }
                        _ => opener.open(number, value, bound, &mut data),
                    };
                    if let Err(fault) = done {
                        data.truncate(ends.last().copied().unwrap_or(0));
                        faults.push((index, word(fault), number));
                    }
                }
                ends.push(data.len());
            }
            Some((zeroize::Zeroizing::new(data), ends, faults))
        });
        let (data, ends, faults) = opened.ok_or_else(|| PyValueError::new_err("a key, or none, for each request"))?;
        let plain = |index: usize, start: usize, end: usize| {
            // A text that is typed says so itself; whatever else is typed the twin reads.
            let is_typed = field.is_none() && self.asked.requests[numbers[index] as usize].header.is_empty();
            let text = if is_typed { data[start..end].strip_prefix(&typed::TEXT) } else { None };
            match text.and_then(|text| std::str::from_utf8(text).ok()) {
                Some(text) => PyString::new(py, text).into_any(),
                None => PyBytes::new(py, &data[start..end]).into_any(),
            }
        };
        let mut values = Vec::with_capacity(ends.len());
        let (mut start, mut failed) = (0, faults.iter().peekable());
        for (index, (&end, &number)) in ends.iter().zip(numbers).enumerate() {
            let has_value = number != NONE && failed.next_if(|fault| fault.0 == index).is_none();
            values.push(has_value.then(|| plain(index, start, end)));
            start = end;
        }
        Ok((values, faults))
    }

    fn __repr__(&self) -> String {
        format!("Envelopes({})", self.values.len())
    }
}
