//! What walks over a batch's datums find.

use crate::contexts::Contexts;
use crate::program::Program;
use crate::varint::Encoded;

/// A stretch of a datum that is replaced: by `prefix` alone, or by it and the value of `slot`.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub start: u32,
    pub end: u32,
    /// Where the value, or the envelope, lies; unused without a slot.
    pub first: u32,
    pub last: u32,
    pub slot: u32,
    /// The value's context, by its number in the slot's table of contexts.
    pub group: u32,
    /// Where the value's bound stretches begin in `Found::bound`.
    pub bound: u32,
    pub prefix: Encoded,
}

/// A stretch of the datum, or the record's key.
#[derive(Debug, Clone, Copy)]
pub enum BoundSpan {
    Datum(u32, u32),
    Key,
}

/// What the walks over a batch's datums found.
#[derive(Debug)]
pub struct Found {
    pub cuts: Vec<Cut>,
    /// Where each datum's cuts end; they begin where the last one's end.
    pub ends: Vec<u32>,
    /// The context of each datum's values; `NONE` without values, the last one's where they have several.
    pub groups: Vec<u32>,
    /// Whether a datum has values of several contexts.
    pub are_mixed: bool,
    pub refused: Vec<u32>,
    pub bound: Vec<BoundSpan>,
    /// How many values each slot has.
    pub values: Vec<usize>,
    /// The tables of contexts; `Program::tables` says which is whose.
    pub contexts: Vec<Contexts>,
    /// For each datum, the texts asked for of its root.
    pub extracted: Vec<Option<String>>,
}

impl Found {
    pub fn new(program: &Program, records: usize) -> Self {
        Self {
            cuts: Vec::with_capacity(records * program.slots.len().min(8)),
            ends: Vec::with_capacity(records),
            groups: Vec::with_capacity(records),
            are_mixed: false,
            refused: Vec::new(),
            bound: Vec::new(),
            values: vec![0; program.slots.len()],
            contexts: program.slots.iter().map(|_| Contexts::new(records)).collect(),
            extracted: Vec::new(),
        }
    }

    /// The cuts of one datum.
    pub fn cuts_of(&self, index: usize) -> &[Cut] {
        &self.cuts[self.cuts_at(index)]
    }

    /// Where one datum's cuts lie in `cuts`.
    pub fn cuts_at(&self, index: usize) -> std::ops::Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        start..self.ends[index] as usize
    }
}
