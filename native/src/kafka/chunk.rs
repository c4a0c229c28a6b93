//! Records that were received together, in columns.

use std::sync::Arc;

/// A stretch of a chunk's bytes; a length below zero stands for none at all.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub at: usize,
    pub len: i64,
}

impl Span {
    pub const NONE: Self = Self { at: 0, len: -1 };

    pub(super) fn of(self, data: &[u8]) -> Option<&[u8]> {
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
