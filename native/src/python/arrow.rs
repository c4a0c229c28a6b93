//! Columns of envelopes in Arrow's memory, opened into Arrow's memory: no object for a value.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use zeroize::{Zeroize, Zeroizing};

use super::open::{sources, word, Requests, Sources};
use super::program::slot;
use crate::arrow::{Binary, Builder, Kind, Layout, Odd};
use crate::open::{Asked, Fault, Opener, Place, Source};
use crate::program::Slot;
use crate::typed;
use crate::contexts::NONE;

/// Arrow's buffers say that they hold signed bytes. Validity, offsets, data, the place of the first value in them, how many there are, whether offsets have 64 bits.
type Given = (Option<PyBuffer<i8>>, PyBuffer<i8>, Option<PyBuffer<i8>>, usize, usize, bool);
/// Validity, offsets, values, and how many nulls.
type Made<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, usize);
/// A row, why it has no value, and the number of its request.
type Fault_ = (usize, &'static str, u32);

struct Chunk {
    validity: Option<PyBuffer<i8>>,
    offsets: PyBuffer<i8>,
    data: Option<PyBuffer<i8>>,
    start: usize,
    count: usize,
    large: bool,
}

impl Chunk {
    fn binary(&self) -> Binary<'_> {
        Binary {
            validity: self.validity.as_ref().map(bytes),
            offsets: bytes(&self.offsets),
            data: self.data.as_ref().map(bytes).unwrap_or_default(),
            start: self.start,
            count: self.count,
            large: self.large,
        }
    }
}

/// An Arrow buffer's memory.
fn bytes(buffer: &PyBuffer<i8>) -> &[u8] {
    // SAFETY: the buffer was taken as contiguous, is held as long as the slice, and an array in Arrow never changes.
    unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) }
}

/// The chunks of a binary column.
#[pyclass(frozen, module = "worker._native")]
pub struct EnvelopeArrays {
    chunks: Vec<Chunk>,
    asked: Arc<Asked>,
    of: Arc<Vec<u32>>,
}

#[pymethods]
impl EnvelopeArrays {
    /// Reads a column's envelopes; `None` where one of them is for the twin.
    #[staticmethod]
    fn read(py: Python<'_>, chunks: Vec<Given>, descriptor: &str, fingerprint: [u8; 8]) -> PyResult<Option<Self>> {
        let chunk = |(validity, offsets, data, start, count, large): Given| {
            let buffers = [validity.as_ref(), Some(&offsets), data.as_ref()];
            let is_plain = buffers.into_iter().flatten().all(|buffer| buffer.is_c_contiguous());
            is_plain.then_some(Chunk { validity, offsets, data, start, count, large })
        };
        let chunks: Option<Vec<Chunk>> = chunks.into_iter().map(chunk).collect();
        let chunks = chunks.ok_or_else(|| PyValueError::new_err("Arrow's buffers are contiguous"))?;
        let place = Place { leased: None, descriptor: Some(descriptor.into()), fingerprints: Some([fingerprint].into()) };
        let found = py.detach(|| {
            let (mut asked, mut of) = (Asked::default(), Vec::with_capacity(chunks.iter().map(|chunk| chunk.count).sum()));
            for binary in chunks.iter().map(Chunk::binary) {
                for index in 0..binary.count {
                    of.push(match binary.get(index).ok()? {
                        Some(data) => asked.ask(&place, 0, 0, data)?,
                        None => NONE,
                    });
                }
            }
            Some((asked, of))
        });
        Ok(found.map(|(asked, of)| Self { chunks, asked: Arc::new(asked), of: Arc::new(of) }))
    }

    #[getter]
    fn requests(&self) -> Requests {
        Requests { asked: Arc::clone(&self.asked), of: Arc::clone(&self.of) }
    }

    /// Opens all, a fault's value being null; `None` where a value is for the twin. `field` reads typed plaintexts as its
    /// Avro, `kind` says how that lies in Arrow's memory: a layout, and between which numbers.
    fn open<'py>(
        &self,
        py: Python<'py>,
        given: Sources<'py>,
        field: &Bound<'py, PyTuple>,
        kind: (String, Option<u8>, i64, i64),
    ) -> PyResult<Option<(Vec<Made<'py>>, Vec<Fault_>)>> {
        let (sources, field) = (sources(&given)?, slot(field)?);
        let (layout, null_branch, least, most) = kind;
        let layout = Layout::named(&layout).filter(|_| null_branch.is_none_or(|branch| branch < 2));
        let layout = layout.ok_or_else(|| PyValueError::new_err("no such layout"))?;
        let opened = py.detach(|| self.opened(sources, &field, &Kind { layout, null_branch, least, most }));
        Ok(opened.ok().map(|(mut built, faults)| {
            let made = built.iter_mut().map(|each| {
                let bytes = |of: &[u8]| PyBytes::new(py, of);
                let made = (bytes(&each.validity), bytes(&each.offsets), bytes(&each.values), each.nulls());
                each.values.zeroize();
                made
            });
            (made.collect(), faults)
        }))
    }

    fn __len__(&self) -> usize {
        self.of.len()
    }

    fn __repr__(&self) -> String {
        format!("EnvelopeArrays({})", self.of.len())
    }
}

impl EnvelopeArrays {
    fn opened(&self, sources: Vec<Option<Source>>, field: &Slot, kind: &Kind) -> Result<(Vec<Builder>, Vec<Fault_>), Odd> {
        let mut opener = Opener::new(&self.asked, sources.into_iter(), |_, _| Some(&[0; 4])).ok_or(Odd)?;
        let (mut built, mut faults, mut row) = (Vec::with_capacity(self.chunks.len()), Vec::new(), 0);
        let (mut plain, mut typed_form) = (Zeroizing::new(Vec::new()), Zeroizing::new(Vec::new()));
        for binary in self.chunks.iter().map(Chunk::binary) {
            let mut builder = Builder::with_room(kind.clone(), binary.count);
            for index in 0..binary.count {
                let number = self.of[row];
                match binary.get(index)? {
                    Some(data) if number != NONE => {
                        plain.clear();
                        typed_form.clear();
                        let done = if self.asked.requests[number as usize].header.is_empty() {
                            let opened = opener.open(number, data, &[0; 4], &mut typed_form);
                            opened.and_then(|()| typed::read(field, &typed_form, &mut plain).map_err(|_| Fault::Unexpected))
                        } else {
                            opener.open(number, data, &[0; 4], &mut plain)
                        };
                        match done {
                            Ok(()) => builder.push(&plain)?,
                            Err(fault) => {
                                faults.push((row, word(fault), number));
                                builder.null()?;
                            }
                        }
                    }
                    _ => builder.null()?,
                }
                row += 1;
            }
            built.push(builder);
        }
        Ok((built, faults))
    }
}
