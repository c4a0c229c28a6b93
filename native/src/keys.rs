//! Data keys that are each used for one value, held together and zeroised when the last holder drops them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::aead::KEY_BYTES;
use crate::envelope::{KeyLabel, IV_BYTES, KEYSET_BYTES};

/// n keys with what an envelope carries of each.
pub struct KeyBatch {
    secrets: Zeroizing<Vec<u8>>,
    ivs: Vec<u8>,
    labels: Vec<Label>,
    used: Vec<AtomicBool>,
}

/// The parts that keys often share.
#[derive(Clone)]
pub struct Label {
    pub tag: Box<[u8]>,
    pub descriptor: Arc<[u8]>,
    pub keyset: [u8; KEYSET_BYTES],
    pub policy: Arc<[u8]>,
}

/// A key was used before, or there is none of that number.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent;

impl KeyBatch {
    /// Takes keys and ivs, concatenated, and one label each.
    pub fn new(secrets: Zeroizing<Vec<u8>>, ivs: Vec<u8>, labels: Vec<Label>) -> Option<Self> {
        let count = labels.len();
        let used = (0..count).map(|_| AtomicBool::new(false)).collect();
        (secrets.len() == count * KEY_BYTES && ivs.len() == count * IV_BYTES).then_some(Self { secrets, ivs, labels, used })
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// A key for its one value.
    pub fn spend(&self, index: usize) -> Result<(&[u8], KeyLabel<'_>), Spent> {
        let used = self.used.get(index).ok_or(Spent)?;
        if used.swap(true, Ordering::Relaxed) {
            return Err(Spent);
        }
        Ok((&self.secrets[index * KEY_BYTES..][..KEY_BYTES], self.label(index).ok_or(Spent)?))
    }

    fn label(&self, index: usize) -> Option<KeyLabel<'_>> {
        let label = self.labels.get(index)?;
        Some(KeyLabel {
            iv: self.ivs.get(index * IV_BYTES..(index + 1) * IV_BYTES)?.try_into().ok()?,
            tag: &label.tag,
            descriptor: &label.descriptor,
            keyset: &label.keyset,
            policy: &label.policy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_serves_once() {
        let label = Label { tag: Box::new([]), descriptor: Arc::from(&b"a"[..]), keyset: [0; 16], policy: Arc::from(&b""[..]) };
        let keys = KeyBatch::new(Zeroizing::new(vec![1; 64]), vec![2; 32], vec![label.clone(), label]).unwrap();
        assert!(keys.spend(1).is_ok());
        assert_eq!(keys.spend(1).err(), Some(Spent));
        assert_eq!(keys.spend(2).err(), Some(Spent));
        assert!(keys.spend(0).is_ok());
    }
}
