//! Keys of leases: those that a cache holds, and a batch's own copies of some of them.

use std::collections::HashMap;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::aead::KEY_BYTES;
use crate::envelope::{BadLabel, IV_BYTES, KEYSET_BYTES};
use crate::prefetch;
use crate::secrets::Secrets;

/// What stands before an envelope's iv.
pub const FRONT_BYTES: usize = 2 + KEYSET_BYTES;
const INLINE_TAG: usize = 32;

/// What the keys of one field and keyset share.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    /// An envelope's first bytes: version, flags, keyset.
    pub front: [u8; FRONT_BYTES],
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

/// What an envelope carries of a lease.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Mark {
    pub iv: [u8; IV_BYTES],
    tag: [u8; INLINE_TAG],
    pub label: u32,
    /// The request that brought it, by its number in the vault; `NONE` where that is not known.
    pub request: u32,
    length: u8,
}

/// One lease: the key of its cipher, and what an envelope carries of it. Whoever holds it overwrites it.
///
/// A batch copies thousands of these out of a large table: each lies in two lines of the processor's cache.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Key {
    cipher: [u8; KEY_BYTES],
    mark: Mark,
    is_held: bool,
}

impl Key {
    /// Takes a key without its tag, which `Vault::put` adds.
    pub fn new(cipher: [u8; KEY_BYTES], iv: [u8; IV_BYTES], label: u32, request: u32) -> Self {
        Self { cipher, mark: Mark { iv, tag: [0; INLINE_TAG], label, request, length: 0 }, is_held: true }
    }

    fn wipe(&mut self) {
        self.cipher.zeroize();
        self.is_held = false;
    }
}

/// Tags that are too long to lie with their keys.
type LongTags = HashMap<u32, Arc<[u8]>>;

fn tag_of<'k>(mark: &'k Mark, number: u32, long: &'k LongTags) -> &'k [u8] {
    match mark.tag.get(..usize::from(mark.length)) {
        Some(tag) => tag,
        None => long.get(&number).map(|tag| &**tag).unwrap_or_default(),
    }
}

/// A batch's own copies of leases: what becomes of the cache's own meanwhile does not concern it.
pub struct Granted {
    /// Beside the marks, so that all are overwritten in one go.
    ciphers: Secrets<KEY_BYTES>,
    pub marks: Vec<Mark>,
    pub labels: Vec<Arc<Label>>,
    long: LongTags,
    longest: u8,
}

impl Granted {
    /// Copies of keys by their numbers in a vault; `None` where there is none of a number.
    pub fn new(vault: &Vault, numbers: &[u32]) -> Option<Self> {
        let mut granted = Self {
            ciphers: Secrets::zeros(numbers.len()),
            marks: Vec::with_capacity(numbers.len()),
            labels: vault.labels.clone(),
            long: LongTags::new(),
            longest: 0,
        };
        let soon = |&number: &u32| {
            if let Some(key) = vault.keys.get(number as usize) {
                prefetch::fetch(key);
            }
        };
        for &number in prefetch::ahead(numbers.iter(), soon) {
            let Key { cipher, mark, .. } = vault.keys.get(number as usize).filter(|key| key.is_held)?;
            let at = granted.marks.len();
            if usize::from(mark.length) > INLINE_TAG {
                granted.long.insert(at as u32, tag_of(mark, number, &vault.long).into());
            }
            granted.longest = granted.longest.max(mark.length);
            granted.ciphers[at] = *cipher;
            granted.marks.push(*mark);
        }
        Some(granted)
    }

    pub fn cipher(&self, number: u32) -> &[u8; KEY_BYTES] {
        &self.ciphers[number as usize]
    }

    pub fn tag(&self, number: u32) -> &[u8] {
        tag_of(&self.marks[number as usize], number, &self.long)
    }

    pub fn longest_tag(&self) -> usize {
        usize::from(self.longest)
    }
}

/// The leases of a cache, by numbers that are used again.
#[derive(Default)]
pub struct Vault {
    keys: Vec<Key>,
    free: Vec<u32>,
    labels: Vec<Arc<Label>>,
    long: LongTags,
}

impl Vault {
    /// The number of what the keys of a field and keyset share, which is new at its first call.
    pub fn label(&mut self, keyset: &[u8; KEYSET_BYTES], descriptor: &[u8]) -> Result<u32, BadLabel> {
        let same = |held: &Arc<Label>| held.front[2..] == *keyset && held.back[1..] == *descriptor;
        if let Some(number) = self.labels.iter().rposition(same) {
            return Ok(number as u32);
        }
        self.labels.push(Arc::new(Label::new(keyset, descriptor)?));
        Ok(self.labels.len() as u32 - 1)
    }

    pub fn put(&mut self, mut key: Key, tag: &[u8]) -> Result<u32, BadLabel> {
        key.mark.length = u8::try_from(tag.len()).map_err(|_| BadLabel)?;
        let number = self.free.pop().unwrap_or(self.keys.len() as u32);
        match key.mark.tag.get_mut(..tag.len()) {
            Some(place) => place.copy_from_slice(tag),
            None => {
                self.long.insert(number, tag.into());
            }
        }
        if (number as usize) < self.keys.len() {
            self.keys[number as usize] = key;
        } else {
            self.grow();
            self.keys.push(key);
        }
        key.wipe();
        Ok(number)
    }

    /// Overwrites a key; returns the request that brought it.
    pub fn free(&mut self, number: u32) -> Option<u32> {
        let key = self.keys.get_mut(number as usize).filter(|key| key.is_held)?;
        key.wipe();
        if usize::from(key.mark.length) > INLINE_TAG {
            self.long.remove(&number);
        }
        self.free.push(number);
        Some(key.mark.request)
    }

    /// A vector that grows by itself leaves its old memory as it was.
    fn grow(&mut self) {
        if self.keys.len() < self.keys.capacity() {
            return;
        }
        let mut more = Vec::with_capacity((2 * self.keys.len()).max(64));
        more.extend_from_slice(&self.keys);
        self.keys.iter_mut().for_each(Key::wipe);
        self.keys = more;
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.keys.iter_mut().for_each(Key::wipe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new([byte; 32], [byte; 16], 0, u32::from(byte))
    }

    #[test]
    fn a_label_has_a_descriptor_and_fits_its_length() {
        assert_eq!(Label::new(&[0; 16], b"").err(), Some(BadLabel));
        assert_eq!(Label::new(&[0; 16], &[b'a'; 256]).err(), Some(BadLabel));
        assert_eq!(&*Label::new(&[0; 16], b"ab").unwrap().back, b"\x02ab");
        assert_eq!(Vault::default().put(key(1), &[0; 256]), Err(BadLabel));
    }

    #[test]
    fn copies_outlive_what_they_were_made_of() {
        let tag = |n: u8| vec![n; usize::from(n) % 41];
        let mut vault = Vault::default();
        let numbers: Vec<u32> = (0..200).map(|n| vault.put(key(n), &tag(n)).unwrap()).collect();
        let copies = Granted::new(&vault, &numbers).unwrap();
        assert_eq!(vault.free(7), Some(7));
        assert_eq!(vault.free(7), None);
        assert_eq!(vault.keys[7].cipher, [0; 32]);
        assert!(Granted::new(&vault, &[6, 7]).is_none());
        assert_eq!(vault.put(key(9), b"").unwrap(), 7);
        assert_eq!(copies.cipher(7), &[7; 32]);
        assert!((0..200).all(|n| copies.tag(n) == tag(n as u8)));
        assert_eq!(copies.longest_tag(), 40);
    }
}
