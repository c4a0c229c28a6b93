//! The leases of a key cache: where contexts have their places, passes over a batch's, and the keys themselves.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::buffer::{PyBuffer, ReadOnlyCell};
use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::framed::Framed;
use super::keys::{exactly, secret, KeyBatch};
use super::split::Split;
use super::words;
use crate::aead::{leased, KEY_BYTES};
use crate::contexts::hash;
use crate::envelope::{BadLabel, IV_BYTES, KEYSET_BYTES};
use crate::keys::Spent;
use crate::passes::{Ahead, Begun, NoSlot, Table};
use crate::vault::Key;
use crate::walk::{frame, NONE};

const LABEL: &str = "a leased envelope holds 1-255 bytes of descriptor and at most 255 of tag";

/// The note of a key whose request is not known.
const UNKNOWN: u32 = NONE - 1;

fn label(_: BadLabel) -> PyErr {
    PyValueError::new_err(LABEL)
}

fn no_key() -> PyErr {
    PyIndexError::new_err("no such key")
}

fn no_slot(_: NoSlot) -> PyErr {
    PyIndexError::new_err("no such slot")
}

/// Reads a `DataKey` into a vault; where native memory has it, no copy of it is made in Python's.
fn put(vault: &mut crate::vault::Vault, key: &Bound<'_, PyAny>, request: u32) -> PyResult<u32> {
    let py = key.py();
    if let Some(part) = key.getattr_opt(pyo3::intern!(py, "part"))? {
        let (batch, at, _): (PyRef<'_, KeyBatch>, usize, usize) = part.extract()?;
        return put_held(vault, &batch, at, request);
    }
    let get = |name| key.getattr(name);
    let data_key = secret(py, &get(pyo3::intern!(py, "secret"))?.extract()?)?;
    let keyset = get(pyo3::intern!(py, "keyset"))?.getattr(pyo3::intern!(py, "bytes"))?;
    let keyset = exactly(keyset.extract()?, "a keyset is 16 bytes")?;
    let descriptor = get(pyo3::intern!(py, "descriptor"))?.extract::<String>()?;
    let iv = exactly(get(pyo3::intern!(py, "iv"))?.extract()?, "an iv is 16 bytes")?;
    let tag = get(pyo3::intern!(py, "tag"))?;
    store(vault, &data_key, (&keyset, descriptor.as_bytes()), &iv, tag.extract()?, request)
}

/// The same of a key that native memory has.
fn put_held(vault: &mut crate::vault::Vault, batch: &KeyBatch, at: usize, request: u32) -> PyResult<u32> {
    let data_key = batch.0.secret(at).map_err(|Spent| PyRuntimeError::new_err("this data key has been wiped"))?;
    let held = batch.0.label(at).ok_or_else(no_key)?;
    store(vault, &data_key, (held.keyset, held.descriptor), held.iv, held.tag, request)
}

fn store(
    vault: &mut crate::vault::Vault,
    data_key: &[u8; KEY_BYTES],
    (keyset, descriptor): (&[u8; KEYSET_BYTES], &[u8]),
    iv: &[u8; IV_BYTES],
    tag: &[u8],
    request: u32,
) -> PyResult<u32> {
    let cipher = leased(data_key).map_err(|_| PyRuntimeError::new_err("no cipher"))?;
    let number = vault.label(keyset, descriptor).map_err(label)?;
    vault.put(Key::new(*cipher, *iv, number), tag, request).map_err(label)
}

/// The leases of one batch; nothing of them can be read but what envelopes show.
#[pyclass(frozen, module = "worker._native")]
pub struct Granted {
    pub granted: crate::vault::Granted,
    requests: Vec<Py<PyAny>>,
}

#[pymethods]
impl Granted {
    /// Copies of `DataKey`s.
    #[new]
    fn new(keys: &Bound<'_, PyList>) -> PyResult<Self> {
        let mut vault = crate::vault::Vault::new();
        let numbers = keys.iter().map(|key| put(&mut vault, &key, UNKNOWN)).collect::<PyResult<_>>()?;
        let granted = vault.grant(numbers, |_| ()).ok_or_else(no_key)?;
        Ok(Self { granted, requests: Vec::new() })
    }

    fn __len__(&self) -> usize {
        self.granted.len()
    }

    /// The ids of the requests that brought the keys.
    #[getter]
    fn requests(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.requests.iter().map(|id| id.clone_ref(py)).collect()
    }

    /// The keyset and the descriptor of the first key, of which the others are too.
    #[getter]
    fn label<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let label = self.granted.key(0).and_then(|key| self.granted.labels.get(key.label as usize));
        let label = label.ok_or_else(|| PyIndexError::new_err("no keys"))?;
        Ok((PyBytes::new(py, &label.front[2..]), String::from_utf8_lossy(&label.back[1..]).into_owned()))
    }

    /// The iv of each key.
    #[getter]
    fn ivs<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        (0..self.granted.len()).filter_map(|index| self.granted.iv(index)).map(|iv| PyBytes::new(py, iv)).collect()
    }

    fn __repr__(&self) -> String {
        format!("Granted({} keys)", self.granted.len())
    }
}

struct Request {
    id: Py<PyAny>,
    keys: usize,
    mark: u64,
}

/// The leases that a cache holds, by numbers; an owner holds its own lock.
#[pyclass(module = "worker._native")]
#[derive(Default)]
pub struct Vault {
    vault: crate::vault::Vault,
    requests: Vec<Option<Request>>,
    free: Vec<u32>,
    mark: u64,
}

#[pymethods]
impl Vault {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Takes copies of `DataKey`s, or of the keys at some places of answers; returns their numbers.
    fn put<'py>(&mut self, keys: &Bound<'py, PyList>, at: PyBuffer<i64>) -> PyResult<Bound<'py, PyBytes>> {
        let py = keys.py();
        let at = ints(&at, py)?;
        if at.len() != keys.len() {
            return Err(PyValueError::new_err("a place, or -1, for each key"));
        }
        let mut numbers = Vec::with_capacity(keys.len());
        let mut last: Option<(Bound<'py, PyAny>, u32)> = None;
        let mut answer: Option<(Bound<'py, PyAny>, PyRef<'py, KeyBatch>, u32)> = None;
        for (key, at) in keys.iter().zip(at) {
            if let Ok(at) = usize::try_from(at.get()) {
                if !answer.as_ref().is_some_and(|(held, ..)| held.is(&key)) {
                    let batch = key.getattr(pyo3::intern!(py, "batch"))?.extract()?;
                    let request = self.request(key.getattr(pyo3::intern!(py, "request_id"))?.unbind());
                    answer = Some((key, batch, request));
                }
                let (_, batch, request) = answer.as_ref().ok_or_else(no_key)?;
                let number = put_held(&mut self.vault, batch, at, *request)?;
                if let Some(Some(request)) = self.requests.get_mut(*request as usize) {
                    request.keys += 1;
                }
                numbers.push(i64::from(number));
                continue;
            }
            let id = key.getattr(pyo3::intern!(py, "request_id"))?;
            let request = match &last {
                Some((held, number)) if held.is(&id) => *number,
                _ if id.is_none() => UNKNOWN,
                _ => self.request(id.clone().unbind()),
            };
            last = Some((id, request));
            let number = put(&mut self.vault, &key, request)?;
            if let Some(Some(request)) = self.requests.get_mut(request as usize) {
                request.keys += 1;
            }
            numbers.push(i64::from(number));
        }
        words::ints(py, &numbers)
    }

    /// Overwrites a key.
    fn free(&mut self, number: u32) -> PyResult<()> {
        let request = self.vault.free(number).ok_or_else(no_key)?;
        if let Some(held) = self.requests.get_mut(request as usize) {
            if let Some(of) = held {
                of.keys -= 1;
                if of.keys == 0 {
                    *held = None;
                    self.free.push(request);
                }
            }
        }
        Ok(())
    }

    /// What `lease_begin` does, with the keys of those that had room, for a batch.
    fn begin<'py>(
        &mut self,
        py: Python<'py>,
        table: PyBuffer<i64>,
        slots: PyBuffer<i64>,
        values: PyBuffer<i64>,
        bytes: PyBuffer<i64>,
        due: Due,
    ) -> PyResult<(Bound<'py, PyBytes>, bool, bool, Granted)> {
        let mut numbers = Vec::with_capacity(slots.item_count());
        let begun = begun(py, [&table, &slots, &values, &bytes], due, |key| numbers.push(key as u32))?;
        Ok((PyBytes::new(py, &begun.whole), begun.fresh, begun.near, self.granted(py, numbers)?))
    }

    /// What `lease_take` does, with the keys of those that had room, for a batch.
    #[allow(clippy::too_many_arguments)]
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        table: PyBuffer<i64>,
        slots: PyBuffer<i64>,
        values: PyBuffer<i64>,
        bytes: PyBuffer<i64>,
        now: f64,
        max_age_s: f64,
    ) -> PyResult<(Bound<'py, PyBytes>, Granted)> {
        let mut numbers = Vec::with_capacity(slots.item_count());
        let whole = taken(py, [&table, &slots, &values, &bytes], now, max_age_s, |key| numbers.push(key as u32))?;
        Ok((whole, self.granted(py, numbers)?))
    }
}

impl Vault {
    /// Keys for a batch, and the requests that brought them.
    fn granted(&mut self, py: Python<'_>, numbers: Vec<u32>) -> PyResult<Granted> {
        self.mark += 1;
        let (mut requests, mut last) = (Vec::new(), UNKNOWN);
        let told = |note| {
            if std::mem::replace(&mut last, note) == note {
                return;
            }
            if let Some(Some(request)) = self.requests.get_mut(note as usize) {
                if request.mark != self.mark {
                    request.mark = self.mark;
                    requests.push(request.id.clone_ref(py));
                }
            }
        };
        let granted = self.vault.grant(numbers, told).ok_or_else(no_key)?;
        Ok(Granted { granted, requests })
    }

    fn request(&mut self, id: Py<PyAny>) -> u32 {
        let request = Some(Request { id, keys: 0, mark: 0 });
        match self.free.pop() {
            Some(number) => {
                self.requests[number as usize] = request;
                number
            }
            None => {
                self.requests.push(request);
                self.requests.len() as u32 - 1
            }
        }
    }
}

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
                let row = rows.get(context.get() as usize).copied().unwrap_or(NONE);
                places.push(signed(self.directory.place(row, family)));
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
        let (table, places) = (split.get().table(slot)?, ints(&places, py)?);
        let mut hashes = Vec::with_capacity(places.len());
        for (number, place) in contexts.to_vec(py)?.into_iter().zip(of(places)) {
            if number as usize >= table.len() {
                return Err(PyIndexError::new_err("no such context"));
            }
            let (framed, hash, place) = (table.framed(number), table.hash(number), u32::try_from(place)?);
            if !self.directory.put(framed, hash, family, place) {
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

fn ints<'b>(buffer: &'b PyBuffer<i64>, py: Python<'b>) -> PyResult<&'b [ReadOnlyCell<i64>]> {
    buffer.as_slice(py).ok_or_else(|| PyValueError::new_err("numbers follow each other in memory"))
}

/// Calls a pass with the table, and the numbers of slots.
fn with<T>(
    py: Python<'_>,
    table: &PyBuffer<i64>,
    slots: &PyBuffer<i64>,
    pass: impl FnOnce(Table<'_>, &[ReadOnlyCell<i64>]) -> Result<T, NoSlot>,
) -> PyResult<T> {
    let words = table.as_mut_slice(py).ok_or_else(|| PyValueError::new_err("a table is words that can be written"))?;
    pass(Table(words), ints(slots, py)?).map_err(no_slot)
}

fn of(slots: &[ReadOnlyCell<i64>]) -> impl ExactSizeIterator<Item = i64> + Clone + '_ {
    slots.iter().map(ReadOnlyCell::get)
}

/// `now, max_age_s, gap, values, bytes` of `crate::passes::Ahead`.
type Due = (f64, f64, f64, f64, f64);

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

fn begun(
    py: Python<'_>,
    [table, slots, values, bytes]: [&PyBuffer<i64>; 4],
    due: Due,
    told: impl FnMut(i32),
) -> PyResult<Begun> {
    let each = wanted(py, values, bytes)?;
    let due = ahead(due);
    with(py, table, slots, |table, slots| table.begin(of(slots).zip(each).map(flat), &due, told))
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
    with(py, &table, &slots, |table, slots| table.end(of(slots)))
}

#[pyfunction]
pub fn lease_fresh<'py>(
    py: Python<'py>,
    table: PyBuffer<i64>,
    slots: PyBuffer<i64>,
    now: f64,
    max_age_s: f64,
) -> PyResult<Bound<'py, PyBytes>> {
    let fresh = with(py, &table, &slots, |table, slots| table.fresh(of(slots), now, max_age_s))?;
    Ok(PyBytes::new(py, &fresh))
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

fn taken<'py>(
    py: Python<'py>,
    [table, slots, values, bytes]: [&PyBuffer<i64>; 4],
    now: f64,
    max_age_s: f64,
    told: impl FnMut(i32),
) -> PyResult<Bound<'py, PyBytes>> {
    let each = wanted(py, values, bytes)?;
    let whole = with(py, table, slots, |table, slots| table.take(of(slots).zip(each).map(flat), now, max_age_s, told))?;
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
    let found = with(py, &table, &slots, |table, slots| table.ahead(of(slots), &due))?;
    words::ints(py, &found)
}
