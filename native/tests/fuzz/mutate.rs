//! Random numbers by a seed, and changes to an input.

/// What lengths and counts are often wrong at.
const NUMBERS: [i64; 12] = [0, 1, -1, 2, 63, 64, 0x7fff_ffff, -0x8000_0000, 1 << 20, 1 << 32, i64::MAX, i64::MIN];
const BYTES: [u8; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x95, 0xc4, 0xc5, 0xd9, b'"', b'\\'];

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, 0 where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound.max(1)
    }

    /// Changes an input in one way; `other` lends it a stretch.
    pub fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len());
        let end = (at + 1 + self.below(8)).min(input.len());
        match self.below(9) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = BYTES[self.below(BYTES.len())],
            2 if !input.is_empty() => input[at] = self.next() as u8,
            3 => drop(input.drain(at.min(end)..end)),
            4 => {
                let again = input[at.min(end)..end].to_vec();
                drop(input.splice(at..at, again));
            }
            5 => drop(input.splice(at..at, [self.next() as u8])),
            6 => input.truncate(at),
            7 => {
                let number = NUMBERS[self.below(NUMBERS.len())];
                let width = self.below(2).min(input.len() - at.min(input.len()));
                drop(input.splice(at..at + width, _native::varint::encode(number).as_slice().to_vec()));
            }
            _ => {
                let from = self.below(other.len());
                let until = from + self.below(other.len() - from + 1);
                drop(input.splice(at..at, other[from..until].to_vec()));
            }
        }
    }
}
