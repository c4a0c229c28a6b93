//! Keys that serve many values.

use super::chains::Chains;
use super::Unsealed;
use crate::aead::{Cipher, TAIL_BYTES};
use crate::contexts::NONE;
use crate::envelope::{FINGERPRINT_BYTES, IV_BYTES};
use crate::prefetch;
use crate::program::Slot;
use crate::vault::{Granted, Key, FRONT_BYTES, INLINE_TAG};

/// Ciphers are kept where a batch has at most so many leases: those of more take longer to come from memory than to be set
/// up anew for each value.
const KEPT: usize = 64;

/// How many contexts ahead what leads to keys is fetched: contexts mostly come by their numbers.
const FURTHER: usize = 16;

/// What a value is sealed with.
pub struct Sealing<'f> {
    pub cipher: &'f Cipher,
    /// How much of the associated data is the envelope's header.
    pub header: usize,
    /// The associated data up to what is bound.
    pub aad: &'f mut Vec<u8>,
}

#[derive(Clone, Copy)]
struct Lease<'k> {
    key: &'k Key,
    granted: u32,
    /// Its place among these.
    index: u32,
}

/// What the associated data at hand was made for.
struct Present<'k> {
    key: Option<&'k Key>,
    granted: u32,
    label: u32,
    tag: usize,
    header: usize,
    shared: usize,
}

pub struct Leases<'k> {
    /// What was granted, and how many leases came before it.
    granted: Vec<(&'k Granted, usize)>,
    chains: Chains<Lease<'k>>,
    count: usize,
    pub(super) growth: usize,
    present: Present<'k>,
    aad: Vec<u8>,
    /// Of each lease where there are few, else of the present one alone.
    ciphers: Vec<Option<Cipher>>,
}

impl<'k> Leases<'k> {
    /// Takes how many contexts the slot has.
    pub fn new(contexts: usize) -> Self {
        Self {
            granted: Vec::new(),
            chains: Chains::new(contexts),
            count: 0,
            growth: 0,
            present: Present { key: None, granted: NONE, label: NONE, tag: 0, header: 0, shared: 0 },
            aad: Vec::new(),
            ciphers: Vec::new(),
        }
    }

    /// Takes keys over: for each its context and how many values it serves.
    pub fn push(&mut self, granted: &'k Granted, each: impl ExactSizeIterator<Item = (u32, u32)>) -> Result<(), Unsealed> {
        if each.len() != granted.len() {
            return Err(Unsealed::Keys);
        }
        let number = self.granted.len() as u32;
        for (index, (context, values)) in each.enumerate() {
            let key = granted.key(index).ok_or(Unsealed::Keys)?;
            self.chains.push(context, values, Lease { key, granted: number, index: index as u32 })?;
        }
        let label = granted.labels.iter().map(|label| label.front.len() + label.back.len()).max().unwrap_or_default();
        // Around the label: iv, tag behind its length, fingerprint, and the value's own longer length.
        self.growth = self.growth.max(label + IV_BYTES + 1 + granted.longest_tag() + FINGERPRINT_BYTES + TAIL_BYTES + 4);
        self.granted.push((granted, self.count));
        self.count += granted.len();
        self.ciphers.resize_with(if self.are_far() { 1 } else { self.count }, || None);
        Ok(())
    }

    pub(super) fn are_far(&self) -> bool {
        self.count > KEPT
    }

    #[inline]
    pub(super) fn soon(&self, context: usize) {
        self.chains.soon(context.saturating_add(FURTHER));
        if let Some(lease) = self.chains.coming(context) {
            prefetch::fetch(lease.key);
        }
    }

    /// What a context's next value is sealed with.
    #[inline]
    pub fn next(&mut self, slot: &Slot, context: usize, framed: &[u8]) -> Result<Sealing<'_>, Unsealed> {
        let lease = *self.chains.next(context).ok_or(Unsealed::Keys)?;
        let are_kept = self.ciphers.len() > 1;
        let place = if are_kept { self.granted[lease.granted as usize].1 + lease.index as usize } else { 0 };
        if !self.present.key.is_some_and(|key| std::ptr::eq(key, lease.key)) {
            self.name(&lease, slot, framed)?;
            match &mut self.ciphers[place] {
                Some(_) if are_kept => (),
                Some(cipher) => cipher.set(&lease.key.cipher)?,
                none => *none = Some(Cipher::new(&lease.key.cipher)?),
            }
        }
        self.aad.truncate(self.present.shared);
        let cipher = self.ciphers[place].as_ref().ok_or(Unsealed::Keys)?;
        Ok(Sealing { cipher, header: self.present.header, aad: &mut self.aad })
    }

    /// Writes the associated data of a lease's values, as far as they share it.
    #[inline]
    fn name(&mut self, lease: &Lease<'k>, slot: &Slot, framed: &[u8]) -> Result<(), Unsealed> {
        let (present, key, tag) = (&mut self.present, lease.key, lease.key.tag_len());
        present.key = Some(key);
        let is_alike = (present.granted, present.label, present.tag) == (lease.granted, key.label, tag);
        match self.aad.get_mut(FRONT_BYTES..).and_then(|rest| rest.first_chunk_mut()) {
            // Leases of a field differ in these alone; of a length that is known it is a few stores.
            Some(named) if is_alike && tag == INLINE_TAG => {
                *named = key.named;
                self.aad.truncate(present.header);
            }
            _ => {
                (present.granted, present.label, present.tag) = (lease.granted, key.label, tag);
                let granted = self.granted[lease.granted as usize].0;
                let label = granted.labels.get(key.label as usize).ok_or(Unsealed::Keys)?;
                self.aad.clear();
                self.aad.extend_from_slice(&label.front);
                self.aad.extend_from_slice(&key.named[..=IV_BYTES]);
                self.aad.extend_from_slice(granted.tag(lease.index as usize).ok_or(Unsealed::Keys)?);
                self.aad.extend_from_slice(&label.back);
                self.aad.extend_from_slice(&slot.fingerprint);
                present.header = self.aad.len();
            }
        }
        self.aad.extend_from_slice(framed);
        if slot.bind.is_empty() {
            self.aad.extend_from_slice(&[0; 4]);
        }
        present.shared = self.aad.len();
        Ok(())
    }
}
