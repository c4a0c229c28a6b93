//! Data keys held together, zeroised one by one when they are used up and all when the last holder drops them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::{Zeroize, Zeroizing};

use crate::aead::KEY_BYTES;
use crate::envelope::{KeyLabel, IV_BYTES, KEYSET_BYTES};

pub type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// n keys with what an envelope carries of each.
pub struct KeyBatch {
    held: Mutex<Held>,
    ivs: Vec<u8>,
    labels: Vec<Label>,
}

struct Held {
    secrets: Zeroizing<Vec<u8>>,
    gone: Vec<bool>,
}

/// The parts that keys often share.
#[derive(Clone)]
pub struct Label {
    pub tag: Box<[u8]>,
    pub descriptor: Arc<[u8]>,
    pub keyset: [u8; KEYSET_BYTES],
    pub policy: Arc<[u8]>,
}

/// A key was used before or wiped, or there is none of that number.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent;

impl KeyBatch {
    /// Takes keys and ivs, concatenated, and one label each.
    pub fn new(secrets: Zeroizing<Vec<u8>>, ivs: Vec<u8>, labels: Vec<Label>) -> Option<Self> {
        let count = labels.len();
        let held = Mutex::new(Held { secrets, gone: vec![false; count] });
        let batch = Self { held, ivs, labels };
        let sound = batch.held().secrets.len() == count * KEY_BYTES && batch.ivs.len() == count * IV_BYTES;
        sound.then_some(batch)
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// A key for its one value; nothing of it stays here.
    pub fn spend(&self, index: usize) -> Result<(Secret, KeyLabel<'_>), Spent> {
        let secret = self.secret(index)?;
        self.wipe(index, index + 1);
        Ok((secret, self.label(index).ok_or(Spent)?))
    }

    /// A key that was not used up or wiped.
    pub fn secret(&self, index: usize) -> Result<Secret, Spent> {
        let held = self.held();
        if held.gone.get(index) != Some(&false) {
            return Err(Spent);
        }
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        secret.copy_from_slice(&held.secrets[index * KEY_BYTES..][..KEY_BYTES]);
        Ok(secret)
    }

    /// Overwrites some keys.
    pub fn wipe(&self, start: usize, stop: usize) {
        let mut held = self.held();
        let stop = stop.min(held.gone.len());
        if start < stop {
            held.secrets[start * KEY_BYTES..stop * KEY_BYTES].zeroize();
            held.gone[start..stop].fill(true);
        }
    }

    /// What an envelope carries of a key.
    pub fn label(&self, index: usize) -> Option<KeyLabel<'_>> {
        let label = self.labels.get(index)?;
        Some(KeyLabel {
            iv: self.ivs.get(index * IV_BYTES..(index + 1) * IV_BYTES)?.try_into().ok()?,
            tag: &label.tag,
            descriptor: &label.descriptor,
            keyset: &label.keyset,
            policy: &label.policy,
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(count: usize) -> KeyBatch {
        let label = Label { tag: Box::new([]), descriptor: Arc::from(&b"a"[..]), keyset: [0; 16], policy: Arc::from(&b""[..]) };
        KeyBatch::new(Zeroizing::new(vec![1; count * 32]), vec![2; count * 16], vec![label; count]).unwrap()
    }

    #[test]
    fn a_key_serves_once() {
        let keys = batch(2);
        assert!(keys.spend(1).is_ok());
        assert_eq!(keys.spend(1).err(), Some(Spent));
        assert_eq!(keys.spend(2).err(), Some(Spent));
        assert!(keys.spend(0).is_ok());
    }

    #[test]
    fn what_is_wiped_is_gone() {
        let keys = batch(4);
        assert_eq!(*keys.secret(3).unwrap(), [1; 32]);
        keys.wipe(1, 9);
        assert!(keys.secret(0).is_ok());
        assert!((1..5).all(|index| keys.secret(index).is_err()));
        assert_eq!(keys.held().secrets[32..], [0; 96]);
    }
}
