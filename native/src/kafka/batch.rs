//! The records of a batch: places in chunks.

use std::sync::Arc;

use super::chunk::{Chunk, Place};

/// A stretch of records from one partition with ascending offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub place: Place,
    pub start: usize,
    pub stop: usize,
    /// Bytes of its keys, and of its values.
    bytes: [usize; 2],
}

/// The records of a batch, in order; never changed once made.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    chunks: Vec<Arc<Chunk>>,
    rows: Vec<(u32, u32)>,
    runs: Vec<Run>,
    /// Bytes of all headers; `None` where there are none.
    header_bytes: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Key,
    Value,
}

impl Batch {
    pub fn of(chunk: Chunk) -> Self {
        let rows = (0..chunk.offsets.len() as u32).map(|row| (0, row)).collect();
        Self::made(vec![Arc::new(chunk)], rows)
    }

    fn made(chunks: Vec<Arc<Chunk>>, rows: Vec<(u32, u32)>) -> Self {
        let has_headers = chunks.iter().any(|chunk| !chunk.headers.is_empty());
        let mut batch = Self { chunks, rows, runs: Vec::new(), header_bytes: None };
        let mut runs: Vec<Run> = Vec::new();
        let (mut last, mut met) = (0, None);
        for index in 0..batch.rows.len() {
            let (chunk, row) = batch.row(index);
            let (number, offset) = ((batch.rows[index].0, chunk.at[row]), chunk.offsets[row]);
            let sizes = [chunk.keys[row], chunk.values[row]].map(|span| usize::try_from(span.len).unwrap_or(0));
            match runs.last_mut() {
                Some(run) if offset > last && (met == Some(number) || run.place == *batch.place(index)) => {
                    run.stop = index + 1;
                    run.bytes[0] += sizes[0];
                    run.bytes[1] += sizes[1];
                }
                _ => runs.push(Run { place: batch.place(index).clone(), start: index, stop: index + 1, bytes: sizes }),
            }
            (last, met) = (offset, Some(number));
        }
        batch.runs = runs;
        if has_headers {
            let every = (0..batch.len()).flat_map(|index| batch.headers(index));
            let sizes = every.map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
            batch.header_bytes = sizes.reduce(|total, size| total + size);
        }
        batch
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    #[inline]
    fn row(&self, index: usize) -> (&Chunk, usize) {
        let (chunk, row) = self.rows[index];
        (&self.chunks[chunk as usize], row as usize)
    }

    fn place(&self, index: usize) -> &Place {
        let (chunk, row) = self.row(index);
        &chunk.places[chunk.at[row] as usize]
    }

    pub fn offset(&self, index: usize) -> i64 {
        let (chunk, row) = self.row(index);
        chunk.offsets[row]
    }

    pub fn stamp(&self, index: usize) -> (u8, i64) {
        let (chunk, row) = self.row(index);
        chunk.stamps[row]
    }

    #[inline]
    pub fn part(&self, part: Part, index: usize) -> Option<&[u8]> {
        let (chunk, row) = self.row(index);
        match part {
            Part::Key => chunk.keys[row].of(&chunk.data),
            Part::Value => chunk.values[row].of(&chunk.data),
        }
    }

    pub fn has_headers(&self) -> bool {
        self.header_bytes.is_some()
    }

    pub fn headers(&self, index: usize) -> &[(String, Option<Vec<u8>>)] {
        let (chunk, row) = self.row(index);
        chunk.headers.get(row).map_or(&[], |headers| headers)
    }

    /// Bytes of keys, values and headers.
    pub fn size(&self) -> usize {
        self.runs.iter().flat_map(|run| run.bytes).sum::<usize>() + self.header_bytes.unwrap_or_default()
    }

    /// Bytes of the keys or values of a stretch.
    pub fn bytes_of(&self, part: Part, start: usize, stop: usize) -> usize {
        match self.runs.iter().find(|run| (run.start, run.stop) == (start, stop)) {
            Some(run) => run.bytes[part as usize],
            None => (start..stop.min(self.len())).filter_map(|index| self.part(part, index)).map(<[u8]>::len).sum(),
        }
    }

    pub fn content_bytes(&self, start: usize, stop: usize) -> usize {
        self.bytes_of(Part::Key, start, stop) + self.bytes_of(Part::Value, start, stop)
    }

    /// How many records with a timestamp fall below each bound (ascending, seconds), and the sum of their ages.
    pub fn ages(&self, now_ms: f64, bounds: &[f64]) -> (Vec<u64>, f64) {
        let (mut counts, mut total) = (vec![0; bounds.len()], 0.0);
        let (mut last, mut age, mut place) = (0, 0.0, bounds.len());
        for index in 0..self.len() {
            let (_, at_ms) = self.stamp(index);
            if at_ms <= 0 {
                continue;
            }
            // Many records were written in the same millisecond.
            if at_ms != last {
                age = ((now_ms - at_ms as f64) / 1000.0).max(0.0);
                (last, place) = (at_ms, bounds.partition_point(|&bound| bound < age));
            }
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
            total += age;
        }
        (counts, total)
    }

    /// The place of a run's first record at or after an offset.
    pub fn find(&self, start: usize, stop: usize, offset: i64) -> usize {
        let (mut low, mut high) = (start, stop.min(self.len()));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.offset(middle) < offset {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low
    }

    /// The records at some places.
    pub fn select(&self, indexes: impl Iterator<Item = usize>) -> Option<Self> {
        let rows = indexes.map(|index| self.rows.get(index).copied()).collect::<Option<Vec<_>>>()?;
        Some(Self::made(self.chunks.clone(), rows))
    }

    /// This batch's records and those of others behind them.
    pub fn concat<'a>(&'a self, others: impl Iterator<Item = &'a Self>) -> Self {
        let (mut chunks, mut rows): (Vec<Arc<Chunk>>, Vec<(u32, u32)>) = (Vec::new(), Vec::new());
        for batch in std::iter::once(self).chain(others) {
            let base = chunks.len() as u32;
            chunks.extend(batch.chunks.iter().cloned());
            rows.extend(batch.rows.iter().map(|&(chunk, row)| (chunk + base, row)));
        }
        Self::made(chunks, rows)
    }
}

#[cfg(test)]
pub(super) mod samples {
    use super::super::chunk::Span;
    use super::*;

    /// A batch of one chunk: partition, offset and value of each record.
    pub fn batch(records: &[(i32, i64, &[u8])]) -> Batch {
        let mut chunk = Chunk::default();
        for (partition, offset, value) in records {
            let value = chunk.push(Some(value));
            chunk.values.push(value);
            chunk.keys.push(Span::NONE);
            chunk.offsets.push(*offset);
            chunk.stamps.push((1, 5));
            chunk.at.push(chunk.places.len() as u32);
            chunk.places.push(Place { topic: Arc::from("t"), partition: *partition });
        }
        Batch::of(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::samples::batch as made;
    use super::*;

    #[test]
    fn runs_end_where_partition_or_order_does() {
        let batch = made(&[(0, 1, b"a"), (0, 2, b"b"), (1, 3, b"c"), (1, 3, b"d"), (0, 9, b"e")]);
        let runs: Vec<_> = batch.runs().iter().map(|run| (run.place.partition, run.start, run.stop)).collect();
        assert_eq!(runs, [(0, 0, 2), (1, 2, 3), (1, 3, 4), (0, 4, 5)]);
        assert_eq!(batch.find(0, 2, 2), 1);
        assert_eq!(batch.find(0, 2, 3), 2);
        let both = batch.concat([made(&[(0, 10, b"f")])].iter());
        assert_eq!(both.runs().last().map(|run| (run.start, run.stop)), Some((4, 6)));
        let picked = both.select([0, 5].into_iter()).unwrap();
        assert_eq!((picked.len(), picked.runs().len(), picked.part(Part::Value, 1)), (2, 1, Some(&b"f"[..])));
        assert!(both.select([6].into_iter()).is_none());
    }
}
