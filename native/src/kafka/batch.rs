//! Records in columns: what was received together is a chunk, and a batch is places in chunks.

use std::sync::Arc;

/// A stretch of a chunk's bytes; a length below zero stands for none at all.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub at: usize,
    pub len: i64,
}

impl Span {
    pub const NONE: Self = Self { at: 0, len: -1 };

    fn of(self, data: &[u8]) -> Option<&[u8]> {
        usize::try_from(self.len).ok().and_then(|len| data.get(self.at..self.at + len))
    }
}

pub type Headers = Vec<(String, Option<Vec<u8>>)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// Records that were received together; never changed once made.
#[derive(Debug, Default)]
pub struct Chunk {
    pub data: Vec<u8>,
    pub keys: Vec<Span>,
    pub values: Vec<Span>,
    pub offsets: Vec<i64>,
    pub stamps: Vec<(u8, i64)>,
    /// The place of each record, by its number in `places`.
    pub at: Vec<u32>,
    pub places: Vec<Place>,
    /// Empty where no record has any.
    pub headers: Vec<Headers>,
}

impl Chunk {
    pub fn push(&mut self, bytes: Option<&[u8]>) -> Span {
        bytes.map_or(Span::NONE, |bytes| {
            let at = self.data.len();
            self.data.extend_from_slice(bytes);
            Span { at, len: bytes.len() as i64 }
        })
    }
}

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

/// Which schema each key or value names, by what it begins with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frames {
    pub groups: Vec<(Vec<u8>, Vec<usize>)>,
    pub named: Vec<usize>,
    pub bare: Vec<usize>,
    pub absent: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Key,
    Value,
}

const ID_BYTES: usize = 5;
const GUID_BYTES: usize = 17;

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
            if self.offset(middle) < offset { low = middle + 1 } else { high = middle }
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

    /// Parts the records by the schema that their key or value names; `header` may name it instead.
    pub fn frames(&self, part: Part, header: &str) -> Frames {
        let mut found = Frames::default();
        for index in 0..self.len() {
            let Some(data) = self.part(part, index) else {
                found.absent.push(index);
                continue;
            };
            if self.headers(index).iter().any(|(name, _)| name == header) {
                found.named.push(index);
                continue;
            }
            let head = match data.first() {
                Some(0) if data.len() >= ID_BYTES => &data[..ID_BYTES],
                Some(1) if data.len() >= GUID_BYTES => &data[..GUID_BYTES],
                _ => {
                    found.bare.push(index);
                    continue;
                }
            };
            match found.groups.iter_mut().rev().find(|(known, _)| known == head) {
                Some((_, members)) => members.push(index),
                None => found.groups.push((head.to_vec(), vec![index])),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(records: &[(i32, i64, &[u8])]) -> Batch {
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

    #[test]
    fn runs_end_where_partition_or_order_does() {
        let batch = chunk(&[(0, 1, b"a"), (0, 2, b"b"), (1, 3, b"c"), (1, 3, b"d"), (0, 9, b"e")]);
        let runs: Vec<_> = batch.runs().iter().map(|run| (run.place.partition, run.start, run.stop)).collect();
        assert_eq!(runs, [(0, 0, 2), (1, 2, 3), (1, 3, 4), (0, 4, 5)]);
        assert_eq!(batch.find(0, 2, 2), 1);
        assert_eq!(batch.find(0, 2, 3), 2);
        let both = batch.concat([chunk(&[(0, 10, b"f")])].iter());
        assert_eq!(both.runs().last().map(|run| (run.start, run.stop)), Some((4, 6)));
        let picked = both.select([0, 5].into_iter()).unwrap();
        assert_eq!((picked.len(), picked.runs().len(), picked.part(Part::Value, 1)), (2, 1, Some(&b"f"[..])));
        assert!(both.select([6].into_iter()).is_none());
    }

    #[test]
    fn frames_are_told_by_their_first_bytes() {
        let guid = [1u8; 20];
        let batch = chunk(&[(0, 1, b"\0\0\0\0\x07x"), (0, 2, b"\0\0"), (0, 3, &guid), (0, 4, b"\0\0\0\0\x07"), (0, 5, b"")]);
        let frames = batch.frames(Part::Value, "h");
        assert_eq!(frames.groups, [(b"\0\0\0\0\x07".to_vec(), vec![0, 3]), (guid[..17].to_vec(), vec![2])]);
        assert_eq!((frames.bare, frames.absent.len()), (vec![1, 4], 0));
        assert_eq!(batch.frames(Part::Key, "h").absent.len(), 5);
    }
}
