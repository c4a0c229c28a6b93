//! Records as lines of JSON.

use std::io::Write;

use crate::json::{base64, text, whole};
use crate::kafka::batch::{Batch, Part};

/// Texts in one piece of memory, with holes.
#[derive(Default)]
pub struct Column {
    data: Vec<u8>,
    spans: Vec<Option<(usize, usize)>>,
}

impl Column {
    /// Appends what `write` writes, or a hole where that fails; says whether it was written.
    pub fn push<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> bool {
        let start = self.data.len();
        let done = write(&mut self.data).is_ok();
        if !done {
            self.data.truncate(start);
        }
        self.spans.push(done.then_some((start, self.data.len())));
        done
    }

    /// Appends a text.
    pub fn push_text(&mut self, text: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(text);
        self.spans.push(Some((start, self.data.len())));
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = (*self.spans.get(index)?)?;
        self.data.get(start..end)
    }
}

/// Each record's line: where it lies in the topic, its key, and what `tails` say of it behind that.
///
/// Each tail has the places of its texts, all places where there are none; a hole leaves to the next what stands there.
/// `None` where a record has no text or a place is none of the batch's.
pub fn lines(batch: &Batch, tails: &[(Option<&[usize]>, &Column)]) -> Option<Vec<u8>> {
    let mut found: Vec<Option<&[u8]>> = vec![None; batch.len()];
    let mut size = batch.len() * 96;
    for (places, column) in tails {
        for row in 0..column.len() {
            let place = places.map_or(Some(row), |places| places.get(row).copied())?;
            if let Some(text) = column.get(row) {
                *found.get_mut(place)? = Some(text);
                size += text.len();
            }
        }
    }
    let mut out = Vec::with_capacity(size);
    for run in batch.runs() {
        let mut head = b"{\"topic\":".to_vec();
        text(&run.place.topic, &mut head);
        write!(head, ",\"partition\":{},\"offset\":", run.place.partition).ok()?;
        for (index, tail) in (run.start..run.stop).zip(&found[run.start..run.stop]) {
            out.extend_from_slice(&head);
            whole(batch.offset(index), &mut out);
            out.extend_from_slice(b",\"timestamp_ms\":");
            whole(batch.stamp(index).1, &mut out);
            key(batch.part(Part::Key, index), &mut out);
            out.push(b',');
            out.extend_from_slice((*tail)?);
            out.extend_from_slice(b"}\n");
        }
    }
    Some(out)
}

fn key(key: Option<&[u8]>, out: &mut Vec<u8>) {
    match key.map(|data| (data, std::str::from_utf8(data))) {
        None => out.extend_from_slice(b",\"key\":null"),
        Some((_, Ok(words))) => {
            out.extend_from_slice(b",\"key\":");
            text(words, out);
        }
        Some((data, Err(_))) => {
            out.extend_from_slice(b",\"key_base64\":");
            base64(data, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::chunk::{Chunk, Place, Span};

    #[test]
    fn a_hole_leaves_its_place_to_the_next() {
        let mut chunk = Chunk::default();
        for (offset, bytes) in [(7, Some(&b"k"[..])), (8, Some(b"\xff")), (9, None)] {
            let key = chunk.push(bytes);
            chunk.keys.push(key);
            chunk.values.push(Span::NONE);
            chunk.offsets.push(offset);
            chunk.stamps.push((1, 5));
            chunk.at.push(0);
        }
        chunk.places.push(Place { topic: "t".into(), partition: 3 });
        let batch = Batch::of(chunk);
        let (mut first, mut rest) = (Column::default(), Column::default());
        first.push_text(b"\"value\":1");
        first.push(|out| {
            out.push(b'x');
            Err(())
        });
        first.push_text(b"\"value\":null");
        rest.push_text(b"\"error\":\"x\"");
        let made = lines(&batch, &[(None, &first), (Some(&[1]), &rest)]).unwrap();
        let wanted = concat!(
            "{\"topic\":\"t\",\"partition\":3,\"offset\":7,\"timestamp_ms\":5,\"key\":\"k\",\"value\":1}\n",
            "{\"topic\":\"t\",\"partition\":3,\"offset\":8,\"timestamp_ms\":5,\"key_base64\":\"/w==\",\"error\":\"x\"}\n",
            "{\"topic\":\"t\",\"partition\":3,\"offset\":9,\"timestamp_ms\":5,\"key\":null,\"value\":null}\n",
        );
        assert_eq!(String::from_utf8(made).unwrap(), wanted);
        assert!(lines(&batch, &[(None, &first)]).is_none());
        assert!(lines(&batch, &[(Some(&[3]), &rest)]).is_none());
    }
}
