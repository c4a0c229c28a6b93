//! The authority's requests and answers as Python hands them on.

use std::borrow::Cow;
use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString};
use zeroize::Zeroizing;

use super::keys::exactly;
use crate::asked::Tagger;
use crate::lock::Claims;
use crate::shuffle::{Block, BLOCK};

const WHAT: &str = "a share has permutations of 16, 16 and 33, and its keyset an id of 16 bytes";
const MISMATCH: &str = "a nonce for each key, every claim that contexts name, and what each context adds";

#[pyclass(frozen, module = "worker._native")]
pub struct Share {
    share: crate::authority::Share,
    tagger: Tagger,
}

#[pymethods]
impl Share {
    #[new]
    fn new(share: (Vec<u8>, Vec<u8>, Vec<u8>), prefix: &[u8], k_tag: &[u8], keyset: &[u8]) -> PyResult<Self> {
        let parts = Zeroizing::new(share);
        let (p1, p2, p3) = (exactly(&parts.0, WHAT)?, exactly(&parts.1, WHAT)?, exactly(&parts.2, WHAT)?);
        let share = crate::authority::Share::new(&p1, &p2, &p3, prefix).ok_or_else(|| PyValueError::new_err(WHAT))?;
        Ok(Self { share, tagger: Tagger::new(k_tag, exactly(keyset, WHAT)?) })
    }

    fn __repr__(&self) -> &'static str {
        "Share(...)"
    }
}

#[pyclass(frozen, module = "worker._native")]
pub struct Asked(crate::asked::Asked);

#[pymethods]
impl Asked {
    /// Reads a body that came in parts; `None` leaves it to the twin.
    #[staticmethod]
    fn read(py: Python<'_>, parts: Vec<PyBackedBytes>, tagged: bool, most: usize) -> Option<Self> {
        py.detach(|| crate::asked::read(&whole(&parts), tagged, most)).map(Self)
    }

    /// See `crate::asked::split`; of more than `most` keys their number alone.
    #[staticmethod]
    fn split<'py>(py: Python<'py>, parts: Vec<PyBackedBytes>, most: usize) -> Option<Split<'py>> {
        let body = py.detach(|| whole(&parts));
        let (head, keys) = py.detach(|| crate::asked::split(&body))?;
        let shown = if keys.len() > most { &[] } else { &keys[..] };
        let shown = shown.iter().map(|key| PyBytes::new(py, key)).collect();
        Some((PyBytes::new(py, &head), keys.len(), shown))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn head<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.head)
    }

    #[getter]
    fn descriptors(&self) -> Vec<(String, usize)> {
        self.0.descriptors.clone()
    }

    /// The number of each key's context.
    fn numbers(&self) -> Vec<usize> {
        (0..self.0.len()).filter_map(|place| self.0.context(place)).collect()
    }

    /// The names and texts of each context's values.
    fn values(&self) -> Vec<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
        self.0.locks.iter().map(|lock| lock.values().collect()).collect()
    }

    /// See `crate::asked::Asked::hashes`; in hex.
    fn hashes<'py>(&self, py: Python<'py>, secret: &[u8]) -> PyResult<Hashes<'py>> {
        let (hashes, left) = py.detach(|| self.0.hashes(secret));
        let hashes = hashes.iter().map(|hash| PyString::from_bytes(py, &hex(hash))).collect::<PyResult<_>>()?;
        Ok((hashes, left.iter().map(|text| PyBytes::new(py, text)).collect()))
    }

    fn barred(&self, claims: Claims) -> Vec<usize> {
        self.0.barred(&claims)
    }

    fn generate<'py>(
        &self,
        py: Python<'py>,
        share: &Share,
        nonces: &[u8],
        claims: Claims,
        leaves: Option<Vec<PyBackedBytes>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let leaves = each(leaves.as_deref());
        let made = py.detach(|| self.0.generate(&share.share, &share.tagger, nonces, &claims, leaves.as_deref()));
        Ok(PyBytes::new(py, &made.ok_or_else(|| PyValueError::new_err(MISMATCH))?))
    }

    fn altered(&self, py: Python<'_>, share: &Share, claims: Claims) -> PyResult<Vec<usize>> {
        let found = py.detach(|| self.0.altered(&share.tagger, &claims));
        found.ok_or_else(|| PyValueError::new_err(MISMATCH))
    }

    fn retrieve<'py>(
        &self,
        py: Python<'py>,
        share: &Share,
        errors: HashMap<usize, String>,
        fallible: bool,
        leaves: Option<Vec<PyBackedBytes>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let leaves = each(leaves.as_deref());
        let made = py.detach(|| self.0.retrieve(&share.share, &errors, fallible, leaves.as_deref()));
        Ok(PyBytes::new(py, &made.ok_or_else(|| PyValueError::new_err(MISMATCH))?))
    }

    fn __repr__(&self) -> String {
        format!("Asked({} keys)", self.0.len())
    }
}

/// Hashes, and what has none yet.
type Hashes<'py> = (Vec<Bound<'py, PyString>>, Vec<Bound<'py, PyBytes>>);

type Split<'py> = (Bound<'py, PyBytes>, usize, Vec<Bound<'py, PyBytes>>);

fn whole(parts: &[PyBackedBytes]) -> Cow<'_, [u8]> {
    match parts {
        [one] => Cow::Borrowed(one),
        parts => Cow::Owned(parts.iter().map(|part| &part[..]).collect::<Vec<_>>().concat()),
    }
}

fn hex(hash: &Block) -> [u8; 2 * BLOCK] {
    let mut text = [0; 2 * BLOCK];
    for (pair, byte) in text.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&[byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
    text
}

fn each(leaves: Option<&[PyBackedBytes]>) -> Option<Vec<&[u8]>> {
    Some(leaves?.iter().map(|leaf| &leaf[..]).collect())
}
