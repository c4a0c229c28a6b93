//! What a batch becomes.

use crate::prefetch;
use crate::room;

/// How many datums ahead one is fetched that lies apart from the one before it.
const SOON: usize = 4;

/// Output datums in one buffer, in whatever order they were put there; one that was left out is empty.
#[derive(Debug, Default)]
pub struct Output {
    pub data: Vec<u8>,
    /// Where each datum begins and ends.
    spans: Vec<(usize, usize)>,
    /// Whether a datum lies elsewhere than behind the one before it.
    pub is_scattered: bool,
    /// Bytes of envelopes, by slot.
    pub sealed: Vec<u64>,
    /// Bytes of the largest datum.
    pub largest: usize,
    /// Whether what stands in the buffer is no secret, so that its memory is used again.
    pub is_sealed: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_sealed {
            room::give(std::mem::take(&mut self.data));
        }
    }
}

impl Output {
    /// Takes the buffer that so many datums will be put into.
    pub fn new(data: Vec<u8>, datums: usize) -> Self {
        Self { data, spans: vec![(0, 0); datums], sealed: Vec::new(), largest: 0, is_sealed: false, is_scattered: false }
    }

    /// What was put into the buffer from `start` on is a datum.
    #[inline]
    pub fn is_datum(&mut self, index: usize, start: usize) {
        let end = self.data.len();
        self.spans[index] = (start, end);
        self.largest = self.largest.max(end - start);
    }

    /// Lets the processor fetch where `is_datum` will write.
    #[inline]
    pub fn soon(&self, index: usize) {
        prefetch::fetch(&self.spans[index]);
    }

    /// Datums are mostly read one after the other.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if self.is_scattered {
            prefetch::fetch_all(self.at(index + SOON).unwrap_or_default());
        }
        self.at(index)
    }

    #[inline]
    fn at(&self, index: usize) -> Option<&[u8]> {
        let &(start, end) = self.spans.get(index)?;
        self.data.get(start..end)
    }

    /// Bytes of a stretch of datums.
    pub fn bytes_of(&self, start: usize, stop: usize) -> usize {
        let all = self.spans.get(start..stop.min(self.spans.len())).unwrap_or_default();
        all.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datums_come_in_any_order() {
        let mut out = Output::new(Vec::new(), 3);
        for (index, datum) in [(2, &b"third"[..]), (0, b"first one")] {
            let start = out.data.len();
            out.data.extend_from_slice(datum);
            out.is_datum(index, start);
        }
        assert_eq!((0..4).map(|index| out.get(index)).collect::<Vec<_>>(), [Some(&b"first one"[..]), Some(b""), Some(b"third"), None]);
        assert_eq!([(0, 3), (0, 1), (1, 9), (2, 2), (4, 9), (3, 1)].map(|(start, stop)| out.bytes_of(start, stop)), [14, 9, 5, 0, 0, 0]);
        assert_eq!(out.largest, 9);
    }
}
