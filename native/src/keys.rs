//! Data keys held together, zeroised one by one when they are used up and all when the last holder drops them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::aead::{cleanse, KEY_BYTES};
use crate::envelope::{KeyLabel, IV_BYTES, KEYSET_BYTES};
use crate::prefetch;
use crate::secrets::Secrets;
use crate::stretches::Stretch;

pub type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// n keys with what an envelope carries of each.
pub struct KeyBatch {
    held: Mutex<Held>,
    ivs: Vec<[u8; IV_BYTES]>,
    labels: Labels,
}

struct Held {
    secrets: Secrets<KEY_BYTES>,
    gone: Vec<bool>,
}

impl Held {
    fn secret(&self, index: usize) -> Result<Secret, Spent> {
        if self.gone.get(index) != Some(&false) {
            return Err(Spent);
        }
        Ok(Zeroizing::new(self.secrets[index]))
    }

    fn take(&mut self, start: usize, into: &mut [[u8; KEY_BYTES]]) -> Result<(), Spent> {
        let stop = start + into.len();
        if self.gone.get(start..stop).is_none_or(|gone| gone.contains(&true)) {
            return Err(Spent);
        }
        into.copy_from_slice(&self.secrets[start..stop]);
        self.wipe(start, stop);
        Ok(())
    }

    fn wipe(&mut self, start: usize, stop: usize) {
        let stop = stop.min(self.gone.len());
        if start < stop {
            cleanse(self.secrets[start..stop].as_flattened_mut());
            self.gone[start..stop].fill(true);
        }
    }
}

/// What envelopes carry of keys; the parts that neighbours share are held once.
#[derive(Default)]
pub struct Labels {
    pub tags: Strings,
    runs: Vec<Run>,
}

/// The keys up to a number, from the run before it on.
struct Run {
    until: usize,
    descriptor: Box<[u8]>,
    keyset: [u8; KEYSET_BYTES],
    policy: Box<[u8]>,
}

/// Strings of bytes in one buffer.
#[derive(Default)]
pub struct Strings {
    pub bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    /// Room for so many strings of so many bytes.
    pub fn with_room(count: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(count * bytes), ends: Vec::with_capacity(count) }
    }

    /// Takes what was appended to `bytes` as the next one.
    pub fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.end();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Lets the processor fetch a string that is as long as the others.
    #[inline]
    pub fn soon(&self, index: usize) {
        if let Some(end) = self.ends.get(index) {
            prefetch::fetch(end);
        }
        let each = self.bytes.len() / self.ends.len().max(1);
        if let Some(bytes) = self.bytes.get(each * index..each * (index + 1)) {
            prefetch::fetch_all(bytes);
        }
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..*self.ends.get(index)?)
    }
}

impl Labels {
    /// Labels whose tags are known, and which have their other parts from `share`.
    pub fn tagged(tags: Strings) -> Self {
        Self { tags, runs: Vec::new() }
    }

    /// Gives the next `count` keys their parts.
    pub fn share(&mut self, count: usize, descriptor: &[u8], keyset: &[u8; KEYSET_BYTES], policy: &[u8]) {
        let until = self.runs.last().map_or(0, |run| run.until) + count;
        match self.runs.last_mut() {
            Some(run) if *run.descriptor == *descriptor && run.keyset == *keyset && *run.policy == *policy => run.until = until,
            _ => self.runs.push(Run { until, descriptor: descriptor.into(), keyset: *keyset, policy: policy.into() }),
        }
    }

    fn run(&self, index: usize) -> Option<&Run> {
        self.runs.get(self.runs.partition_point(|run| run.until <= index))
    }

    fn are_for(&self, count: usize) -> bool {
        self.tags.len() == count && self.runs.last().map_or(0, |run| run.until) == count
    }
}

/// A key was used before or wiped, or there is none of that number.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent;

impl KeyBatch {
    /// Takes keys, and an iv and a label for each.
    pub fn new(secrets: Secrets<KEY_BYTES>, ivs: Vec<[u8; IV_BYTES]>, labels: Labels) -> Option<Self> {
        let count = labels.tags.len();
        let sound = labels.are_for(count) && secrets.len() == count && ivs.len() == count;
        let held = Mutex::new(Held { secrets, gone: vec![false; count] });
        sound.then_some(Self { held, ivs, labels })
    }

    pub fn len(&self) -> usize {
        self.labels.tags.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A key that was not used up or wiped.
    pub fn secret(&self, index: usize) -> Result<Secret, Spent> {
        self.held().secret(index)
    }

    /// Overwrites some keys.
    pub fn wipe(&self, start: usize, stop: usize) {
        self.held().wipe(start, stop);
    }

    /// What an envelope carries of a key.
    pub fn label(&self, index: usize) -> Option<KeyLabel<'_>> {
        let run = self.labels.run(index)?;
        Some(KeyLabel {
            iv: self.ivs.get(index)?,
            tag: self.labels.tags.get(index)?,
            descriptor: &run.descriptor,
            keyset: &run.keyset,
            policy: &run.policy,
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys out of batches, for one value each, side by side in the order in which they serve.
pub struct Taken {
    batches: Vec<Arc<KeyBatch>>,
    /// For each key its batch and its place there.
    places: Vec<(u32, u32)>,
    secrets: Secrets<KEY_BYTES>,
}

impl Taken {
    /// Takes stretches of keys, each of a batch by its number; nothing of them stays there.
    pub fn of(batches: Vec<Arc<KeyBatch>>, parts: &[Stretch]) -> Result<Self, Spent> {
        let count = parts.iter().map(|part| part.count as usize).sum();
        let (mut places, mut secrets) = (Vec::with_capacity(count), Secrets::zeros(count));
        for parts in parts.chunk_by(|a, b| a.answer == b.answer) {
            let number = parts[0].answer;
            let mut held = batches.get(number as usize).ok_or(Spent)?.held();
            for part in parts {
                let at = places.len();
                held.take(part.start as usize, &mut secrets[at..at + part.count as usize])?;
                places.extend((part.start..part.start + part.count).map(|place| (number, place)));
            }
        }
        Ok(Self { batches, places, secrets })
    }

    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// A key, and what an envelope carries of it.
    #[inline]
    pub fn get(&self, index: usize) -> Option<(&[u8; KEY_BYTES], KeyLabel<'_>)> {
        let &(batch, place) = self.places.get(index)?;
        Some((self.secrets.get(index)?, self.batches.get(batch as usize)?.label(place as usize)?))
    }

    /// Lets the processor fetch what an envelope carries of a key.
    #[inline]
    pub fn soon(&self, index: usize) {
        let Some(&(batch, place)) = self.places.get(index) else { return };
        let Some(batch) = self.batches.get(batch as usize) else { return };
        if let Some(iv) = batch.ivs.get(place as usize) {
            prefetch::fetch(iv);
        }
        batch.labels.tags.soon(place as usize);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8; KEY_BYTES], KeyLabel<'_>)> {
        (0..self.len()).map_while(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(count: usize) -> Arc<KeyBatch> {
        let mut labels = Labels::default();
        for number in 0..count {
            labels.tags.push(&vec![7; number]);
            labels.share(1, if number < 2 { b"a" } else { b"b" }, &[0; 16], b"");
        }
        Arc::new(KeyBatch::new(Secrets::of(&vec![[1; 32]; count]), vec![[2; 16]; count], labels).unwrap())
    }

    #[test]
    fn each_key_has_its_own_label() {
        let keys = batch(4);
        assert_eq!(keys.labels.runs.len(), 2);
        let found: Vec<_> = (0..4).map(|index| keys.label(index).map(|label| (label.tag.len(), label.descriptor)).unwrap()).collect();
        assert_eq!(found, [(0, &b"a"[..]), (1, b"a"), (2, b"b"), (3, b"b")]);
        assert!(keys.label(4).is_none());
        let mut short = Labels::default();
        short.tags.push(b"t");
        assert!(KeyBatch::new(Secrets::zeros(1), vec![[2; 16]], short).is_none());
    }

    #[test]
    fn a_key_serves_once() {
        let keys = batch(4);
        let take = |start, count| Taken::of(vec![Arc::clone(&keys)], &[Stretch { answer: 0, start, count }]);
        let taken = take(1, 2).unwrap();
        assert_eq!((taken.len(), taken.get(1).map(|(secret, label)| (*secret, label.tag.len()))), (2, Some(([1; 32], 2))));
        assert!(taken.get(2).is_none());
        for (start, count) in [(1, 1), (0, 2), (2, 2), (3, 2), (4, 1), (u32::MAX, 2)] {
            assert_eq!(take(start, count).err(), Some(Spent), "{start} {count}");
        }
        assert!(keys.secret(2).is_err());
        assert!(Taken::of(vec![], &[Stretch { answer: 0, start: 3, count: 1 }]).is_err());
        let both = Taken::of(vec![batch(2), Arc::clone(&keys)], &[(1, 3), (0, 1), (1, 0)].map(|(answer, start)| Stretch { answer, start, count: 1 }));
        assert_eq!(both.unwrap().iter().map(|(_, label)| label.tag.len()).collect::<Vec<_>>(), [3, 1, 0]);
    }

    #[test]
    fn what_is_wiped_is_gone() {
        let keys = batch(4);
        assert_eq!(*keys.secret(3).unwrap(), [1; 32]);
        keys.wipe(1, 9);
        assert!(keys.secret(0).is_ok());
        assert!((1..5).all(|index| keys.secret(index).is_err()));
        assert_eq!(keys.held().secrets[1..], [[0; 32]; 3]);
    }
}
