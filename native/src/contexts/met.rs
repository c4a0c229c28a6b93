//! The contexts of one batch.

use hashbrown::hash_table::Entry;
use hashbrown::HashTable;

use super::{hash, texts};

/// The distinct contexts of a batch, framed, by the order in which they were met.
#[derive(Debug, Default)]
pub struct Contexts {
    /// How many there may be.
    most: usize,
    table: HashTable<u32>,
    hashes: Vec<u64>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// A batch of more contexts than these is likely to have a different one for each record.
const MANY: usize = 256;

impl Contexts {
    /// Takes how many there may be.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// The number of a context, which is new at its first call.
    pub fn number(&mut self, framed: &[u8]) -> u32 {
        let hash = hash(framed);
        let Self { most, table, hashes, bytes, ends } = self;
        if ends.len() == MANY && table.capacity() < *most {
            // At once, and not at each doubling: every entry would move anew.
            table.reserve(*most - MANY, |&number| hashes[number as usize]);
            hashes.reserve(*most - MANY);
            ends.reserve(*most - MANY);
        }
        let same = |&number: &u32| hashes[number as usize] == hash && framed_of(bytes, ends, number) == framed;
        match table.entry(hash, same, |&number| hashes[number as usize]) {
            Entry::Occupied(held) => *held.get(),
            Entry::Vacant(free) => {
                let number = ends.len() as u32;
                free.insert(number);
                hashes.push(hash);
                bytes.extend_from_slice(framed);
                ends.push(bytes.len());
                number
            }
        }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn framed(&self, number: u32) -> &[u8] {
        framed_of(&self.bytes, &self.ends, number)
    }

    pub fn hash(&self, number: u32) -> u64 {
        self.hashes[number as usize]
    }

    /// The texts of a context, without their names.
    pub fn texts(&self, number: u32) -> Vec<String> {
        texts(self.framed(number))
    }
}

fn framed_of<'b>(bytes: &'b [u8], ends: &[usize], number: u32) -> &'b [u8] {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &bytes[start..ends[number]]
}

#[cfg(test)]
mod tests {
    use super::super::samples::framed;
    use super::*;

    #[test]
    fn each_context_has_one_number() {
        let mut contexts = Contexts::default();
        let met: Vec<u32> = ["a", "b", "a", "", "b"].iter().map(|text| contexts.number(&framed(text))).collect();
        assert_eq!(met, [0, 1, 0, 2, 1]);
        assert_eq!(contexts.texts(1), ["b"]);
        assert_eq!(contexts.texts(2), [""]);
        assert_eq!(contexts.len(), 3);
    }
}
