//! Keys of leases: those that a cache holds, and a batch's own copies of some of them.

use std::sync::Arc;

use zeroize::Zeroize;

use crate::aead::KEY_BYTES;
use crate::envelope::{BadLabel, IV_BYTES, KEYSET_BYTES};

const INLINE_TAG: usize = 32;

/// What the keys of one field and keyset share.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    /// An envelope's first bytes: version, flags, keyset.
    pub front: [u8; 2 + KEYSET_BYTES],
    /// The descriptor behind its length.
    pub back: Box<[u8]>,
}

impl Label {
    pub fn new(keyset: &[u8; KEYSET_BYTES], descriptor: &[u8]) -> Result<Self, BadLabel> {
        let length = u8::try_from(descriptor.len()).map_err(|_| BadLabel)?;
        if length == 0 {
            return Err(BadLabel);
        }
        let mut front = [1, 0].into_iter().chain(*keyset);
        let back = [&[length], descriptor].concat().into();
        Ok(Self { front: std::array::from_fn(|_| front.next().unwrap_or_default()), back })
    }
}

/// One lease: the key of its cipher, and what an envelope carries of it. Overwritten when it is dropped.
#[derive(Clone)]
pub struct Key {
    pub cipher: [u8; KEY_BYTES],
    pub iv: [u8; IV_BYTES],
    tag: [u8; INLINE_TAG],
    long: Option<Arc<[u8]>>,
    length: u8,
    pub label: u32,
    /// The request that brought it, by its number in the vault; `NONE` where that is not known.
    pub request: u32,
}

impl Key {
    pub fn new(cipher: [u8; KEY_BYTES], iv: [u8; IV_BYTES], tag: &[u8], label: u32, request: u32) -> Result<Self, BadLabel> {
        let length = u8::try_from(tag.len()).map_err(|_| BadLabel)?;
        let mut inline = [0; INLINE_TAG];
        let long = match inline.get_mut(..tag.len()) {
            Some(place) => {
                place.copy_from_slice(tag);
                None
            }
            None => Some(tag.into()),
        };
        Ok(Self { cipher, iv, tag: inline, long, length, label, request })
    }

    pub fn tag(&self) -> &[u8] {
        self.long.as_deref().unwrap_or(&self.tag[..usize::from(self.length).min(INLINE_TAG)])
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.cipher.zeroize();
    }
}

/// A batch's own copies of leases: what becomes of the cache's own meanwhile does not concern it.
#[derive(Default)]
pub struct Granted {
    pub keys: Vec<Key>,
    pub labels: Vec<Arc<Label>>,
}

/// The leases of a cache, by numbers that are used again.
#[derive(Default)]
pub struct Vault {
    keys: Vec<Option<Key>>,
    free: Vec<u32>,
    labels: Vec<Arc<Label>>,
}

impl Vault {
    /// The number of a label, which is new at its first call.
    pub fn label(&mut self, label: Label) -> u32 {
        number_of(&mut self.labels, label)
    }

    pub fn put(&mut self, key: Key) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.keys[number as usize] = Some(key);
                number
            }
            None => {
                if self.keys.len() == self.keys.capacity() {
                    self.grow();
                }
                self.keys.push(Some(key));
                self.keys.len() as u32 - 1
            }
        }
    }

    /// Overwrites a key; returns the request that brought it.
    pub fn free(&mut self, number: u32) -> Option<u32> {
        let key = self.keys.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(key.request)
    }

    pub fn get(&self, number: u32) -> Option<&Key> {
        self.keys.get(number as usize)?.as_ref()
    }

    /// Copies for a batch; `None` where one of the numbers has no key.
    pub fn copies(&self, numbers: impl ExactSizeIterator<Item = u32>) -> Option<Granted> {
        let mut keys = Vec::with_capacity(numbers.len());
        for number in numbers {
            keys.push(self.get(number)?.clone());
        }
        Some(Granted { keys, labels: self.labels.clone() })
    }

    /// A vector that grows by itself leaves its old memory as it was.
    fn grow(&mut self) {
        let mut more = Vec::with_capacity((2 * self.keys.len()).max(64));
        more.extend(self.keys.iter_mut().map(Option::take));
        self.keys = more;
    }
}

/// The number of a label in a list of them, at whose end it is put where it is new.
pub fn number_of(labels: &mut Vec<Arc<Label>>, label: Label) -> u32 {
    let known = labels.iter().rposition(|held| **held == label);
    known.unwrap_or_else(|| {
        labels.push(Arc::new(label));
        labels.len() - 1
    }) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8, tag: &[u8]) -> Key {
        Key::new([byte; 32], [byte; 16], tag, 0, u32::from(byte)).unwrap()
    }

    #[test]
    fn a_label_has_a_descriptor_and_fits_its_length() {
        assert_eq!(Label::new(&[0; 16], b"").err(), Some(BadLabel));
        assert_eq!(Label::new(&[0; 16], &[b'a'; 256]).err(), Some(BadLabel));
        assert_eq!(&*Label::new(&[0; 16], b"ab").unwrap().back, b"\x02ab");
        assert!(Key::new([0; 32], [0; 16], &[0; 256], 0, 0).is_err());
    }

    #[test]
    fn copies_outlive_what_they_were_made_of() {
        let mut vault = Vault::default();
        let numbers: Vec<u32> = (0..200).map(|n| vault.put(key(n, &[n; 40][..usize::from(n % 41)]))).collect();
        let copies = vault.copies(numbers.iter().copied()).unwrap();
        assert_eq!(vault.free(7), Some(7));
        assert_eq!(vault.free(7), None);
        assert!(vault.copies([7].into_iter()).is_none());
        assert_eq!(vault.put(key(9, b"")), 7);
        assert_eq!(copies.keys[7].cipher, [7; 32]);
        assert!(copies.keys.iter().enumerate().all(|(n, key)| key.tag() == [n as u8; 40][..n % 41].to_vec()));
    }
}
