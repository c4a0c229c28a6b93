//! Keys of leases: those that a cache holds, and those of them that a batch seals with.

use std::collections::HashMap;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::aead::KEY_BYTES;
use crate::arena::{Arena, Lent};
use crate::envelope::{BadLabel, IV_BYTES, KEYSET_BYTES};

/// What stands before an envelope's iv.
pub const FRONT_BYTES: usize = 2 + KEYSET_BYTES;
/// The length of a tag that lies with its key, as all but the public service's longer ones do.
pub const INLINE_TAG: usize = 32;
const NAMED_BYTES: usize = IV_BYTES + 1 + INLINE_TAG;

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

/// One lease: the key of its cipher, and what an envelope carries of it.
///
/// A batch reads thousands of these out of a large table: each lies in two lines of the processor's cache.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Key {
    pub cipher: [u8; KEY_BYTES],
    /// As they follow each other in an envelope: iv, length of the tag, tag where it is not longer than here is room.
    pub named: [u8; NAMED_BYTES],
    pub label: u32,
}

impl Key {
    /// Takes a key without its tag, which `Vault::put` adds.
    pub fn new(cipher: [u8; KEY_BYTES], iv: [u8; IV_BYTES], label: u32) -> Self {
        let mut named = [0; NAMED_BYTES];
        named[..IV_BYTES].copy_from_slice(&iv);
        Self { cipher, named, label }
    }

    pub fn tag_len(&self) -> usize {
        usize::from(self.named[IV_BYTES])
    }
}

impl Default for Key {
    fn default() -> Self {
        Self { cipher: [0; KEY_BYTES], named: [0; NAMED_BYTES], label: 0 }
    }
}

impl Zeroize for Key {
    fn zeroize(&mut self) {
        // The rest stands in envelopes.
        self.cipher.zeroize();
    }
}

/// Tags that are too long to lie with their keys.
type LongTags = HashMap<u32, Arc<[u8]>>;

/// The leases of one batch: what becomes of them in the cache meanwhile does not concern it.
pub struct Granted {
    keys: Lent<Key>,
    pub labels: Vec<Arc<Label>>,
    /// By the key's place among these.
    long: LongTags,
    longest: u8,
}

impl Granted {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    #[inline]
    pub fn key(&self, index: usize) -> Option<&Key> {
        self.keys.get(index)
    }

    pub fn iv(&self, index: usize) -> Option<&[u8; IV_BYTES]> {
        self.key(index)?.named.first_chunk()
    }

    pub fn tag(&self, index: usize) -> Option<&[u8]> {
        let key = self.key(index)?;
        match key.named.get(IV_BYTES + 1..IV_BYTES + 1 + key.tag_len()) {
            Some(tag) => Some(tag),
            None => self.long.get(&(index as u32)).map(|tag| &**tag),
        }
    }

    pub fn longest_tag(&self) -> usize {
        usize::from(self.longest)
    }
}

/// The leases of a cache, by numbers that are used again.
pub struct Vault {
    keys: Arc<Arena<Key>>,
    labels: Vec<Arc<Label>>,
    long: LongTags,
    longest: u8,
}

impl Vault {
    pub fn new() -> Self {
        Self { keys: Arena::new(), labels: Vec::new(), long: LongTags::new(), longest: 0 }
    }

    /// The number of what the keys of a field and keyset share, which is new at its first call.
    pub fn label(&mut self, keyset: &[u8; KEYSET_BYTES], descriptor: &[u8]) -> Result<u32, BadLabel> {
        let same = |held: &Arc<Label>| held.front[2..] == *keyset && held.back[1..] == *descriptor;
        if let Some(number) = self.labels.iter().rposition(same) {
            return Ok(number as u32);
        }
        self.labels.push(Arc::new(Label::new(keyset, descriptor)?));
        Ok(self.labels.len() as u32 - 1)
    }

    /// Takes a key over, which is overwritten where it was; its note is `Arena::put`'s.
    pub fn put(&mut self, mut key: Key, tag: &[u8], note: u32) -> Result<u32, BadLabel> {
        let length = u8::try_from(tag.len()).map_err(|_| BadLabel)?;
        key.named[IV_BYTES] = length;
        let place = key.named.get_mut(IV_BYTES + 1..IV_BYTES + 1 + tag.len());
        let is_long = place.is_none();
        if let Some(place) = place {
            place.copy_from_slice(tag);
        }
        let number = self.keys.put(&key, note);
        key.zeroize();
        if is_long {
            self.long.insert(number, tag.into());
        }
        self.longest = self.longest.max(length);
        Ok(number)
    }

    /// Gives a key up, which is overwritten when no batch has it; returns its note.
    pub fn free(&mut self, number: u32) -> Option<u32> {
        let note = self.keys.free(number)?;
        self.long.remove(&number);
        Some(note)
    }

    /// Keys by their numbers for a batch, and each one's note; `None` where there is none of a number.
    pub fn grant(&self, numbers: Vec<u32>, told: impl FnMut(u32)) -> Option<Granted> {
        let mut long = LongTags::new();
        if !self.long.is_empty() {
            let found = (0..).zip(&numbers).filter_map(|(index, number)| Some((index, Arc::clone(self.long.get(number)?))));
            long.extend(found);
        }
        let keys = self.keys.lend(numbers, told)?;
        Some(Granted { keys, labels: self.labels.clone(), long, longest: self.longest })
    }
}

impl Default for Vault {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new([byte; 32], [byte; 16], 0)
    }

    #[test]
    fn a_label_has_a_descriptor_and_fits_its_length() {
        assert_eq!(Label::new(&[0; 16], b"").err(), Some(BadLabel));
        assert_eq!(Label::new(&[0; 16], &[b'a'; 256]).err(), Some(BadLabel));
        assert_eq!(&*Label::new(&[0; 16], b"ab").unwrap().back, b"\x02ab");
        assert_eq!(Vault::new().put(key(1), &[0; 256], 0), Err(BadLabel));
    }

    #[test]
    fn a_batch_keeps_what_the_cache_gives_up() {
        let tag = |n: u8| vec![n; usize::from(n) % 41];
        let mut vault = Vault::new();
        let numbers: Vec<u32> = (0..200).map(|n| vault.put(key(n), &tag(n), u32::from(n)).unwrap()).collect();
        let granted = vault.grant(numbers, |_| ()).unwrap();
        assert_eq!((vault.free(7), vault.free(7), vault.free(40)), (Some(7), None, Some(40)));
        assert!(vault.grant(vec![6, 7], |_| ()).is_none());
        assert_eq!(vault.put(key(9), b"", 0).unwrap(), 200);
        assert!((0..200).all(|n| granted.key(n).unwrap().cipher == [n as u8; 32]));
        assert!((0..200).all(|n| granted.tag(n).unwrap() == tag(n as u8) && granted.iv(n) == Some(&[n as u8; 16])));
        assert_eq!((granted.longest_tag(), granted.len()), (40, 200));
        drop(granted);
        assert_eq!(vault.put(key(9), b"", 0).unwrap(), 40);
    }
}
