//! Keys as a cache hands them over, and the ciphers of leases that come of them.

use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::keys::{exactly, secret, KeyBatch};
use crate::aead::{leased, KEY_BYTES};
use crate::envelope::{BadLabel, IV_BYTES, KEYSET_BYTES};
use crate::keys::{KeyBatch as Keys, Spent};
use crate::secrets::Secrets;
use crate::vault::{Key, Vault};

const LABEL: &str = "a leased envelope holds 1-255 bytes of descriptor and at most 255 of tag";

/// So many keys take longer than the interpreter does to change hands.
const MANY: usize = 64;

fn label(_: BadLabel) -> PyErr {
    PyValueError::new_err(LABEL)
}

pub fn no_key() -> PyErr {
    PyIndexError::new_err("no such key")
}

/// Keys of one answer, or one key several times, as a cache hands them over.
pub struct Run<'py> {
    pub key: Bound<'py, PyAny>,
    /// Where native memory has them: no copy of them is made in Python's.
    held: Option<Arc<Keys>>,
    pub places: Vec<usize>,
}

impl<'py> Run<'py> {
    /// Of an object and the places in it, -1 where it is a key itself.
    fn of(same: &[(Bound<'py, PyAny>, i64)]) -> PyResult<Self> {
        let (key, first) = &same[0];
        let (py, key) = (key.py(), key.clone());
        if *first >= 0 {
            let batch: PyRef<'_, KeyBatch> = key.getattr(pyo3::intern!(py, "batch"))?.extract()?;
            let places = same.iter().map(|(_, at)| usize::try_from(*at).map_err(|_| no_key())).collect::<PyResult<_>>()?;
            return Ok(Self { held: Some(Arc::clone(&batch.0)), key, places });
        }
        let part = key.getattr_opt(pyo3::intern!(py, "part"))?.map(|part| part.extract()).transpose()?;
        let (held, place) = part.map_or((None, 0), |(batch, at, _): (PyRef<'_, KeyBatch>, usize, usize)| (Some(Arc::clone(&batch.0)), at));
        Ok(Self { key, held, places: vec![place; same.len()] })
    }

    fn copy(&self, into: &mut [[u8; KEY_BYTES]]) -> PyResult<()> {
        let py = self.key.py();
        if let Some(batch) = &self.held {
            for (place, to) in self.places.iter().zip(into) {
                *to = *batch.secret(*place).map_err(|Spent| PyRuntimeError::new_err("this data key has been wiped"))?;
            }
        } else {
            into.fill(*secret(py, &self.key.getattr(pyo3::intern!(py, "secret"))?.extract()?)?);
        }
        Ok(())
    }

    /// Puts the keys' ciphers into a vault, and adds their numbers.
    fn store(&self, vault: &mut Vault, ciphers: &[[u8; KEY_BYTES]], note: u32, numbers: &mut Vec<u32>) -> PyResult<()> {
        let mut put = |cipher: &[u8; KEY_BYTES], keyset: &[u8; KEYSET_BYTES], descriptor: &[u8], iv: &[u8; IV_BYTES], tag: &[u8]| {
            let number = vault.label(keyset, descriptor).map_err(label)?;
            numbers.push(vault.put(Key::new(*cipher, *iv, number), tag, note).map_err(label)?);
            Ok(())
        };
        if let Some(batch) = &self.held {
            return self.places.iter().zip(ciphers).try_for_each(|(place, cipher)| {
                let of = batch.label(*place).ok_or_else(no_key)?;
                put(cipher, of.keyset, of.descriptor, of.iv, of.tag)
            });
        }
        let (py, get) = (self.key.py(), |name| self.key.getattr(name));
        let keyset = get(pyo3::intern!(py, "keyset"))?.getattr(pyo3::intern!(py, "bytes"))?;
        let keyset = exactly(keyset.extract()?, "a keyset is 16 bytes")?;
        let descriptor = get(pyo3::intern!(py, "descriptor"))?.extract::<String>()?;
        let iv = exactly(get(pyo3::intern!(py, "iv"))?.extract()?, "an iv is 16 bytes")?;
        let tag = get(pyo3::intern!(py, "tag"))?;
        let tag = tag.extract()?;
        ciphers.iter().try_for_each(|cipher| put(cipher, &keyset, descriptor.as_bytes(), &iv, tag))
    }
}

pub fn runs<'py>(keys: &Bound<'py, PyList>, at: impl Iterator<Item = i64>) -> PyResult<Vec<Run<'py>>> {
    let each: Vec<_> = keys.iter().zip(at).collect();
    each.chunk_by(|(a, _), (b, _)| a.is(b)).map(Run::of).collect()
}

/// Puts all keys of some runs into a vault, each run with its note, or none; returns their numbers.
///
/// Answers are locked and the vault is changed under the interpreter's lock alone, so that no fork falls in between.
pub fn put(py: Python<'_>, vault: &mut Vault, runs: &[Run<'_>], notes: &[u32]) -> PyResult<Vec<u32>> {
    let mut secrets = Secrets::<KEY_BYTES>::zeros(runs.iter().map(|run| run.places.len()).sum());
    let mut from = 0;
    for run in runs {
        let until = from + run.places.len();
        run.copy(&mut secrets[from..until])?;
        from = until;
    }
    let mut derive = || secrets.iter_mut().try_for_each(|secret| leased(secret).map(|cipher| *secret = *cipher));
    // Whoever gets the interpreter meanwhile may keep it for longer than a few keys take.
    let derived = if from < MANY { derive() } else { py.detach(derive) };
    derived.map_err(|_| PyRuntimeError::new_err("no cipher"))?;
    let mut numbers = Vec::with_capacity(from);
    for (run, note) in runs.iter().zip(notes) {
        let ciphers = &secrets[numbers.len()..numbers.len() + run.places.len()];
        if let Err(refused) = run.store(vault, ciphers, *note, &mut numbers) {
            for number in numbers {
                vault.free(number);
            }
            return Err(refused);
        }
    }
    Ok(numbers)
}
