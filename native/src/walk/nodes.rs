//! The walk from node to node.

use super::found::{Cut, Found};
use super::Refused;
use crate::contexts::NONE;
use crate::program::{Covered, Node, NodeId, Program, MAX_DATUM_BYTES, MAX_NESTING, MAX_WIDTHLESS_ITEMS};
use crate::varint::{self, Encoded};

/// Memory that walks use again.
#[derive(Default)]
pub struct Scratch {
    spans: Vec<u32>,
    bytes: Vec<u8>,
}

/// A walk over one datum.
pub(super) struct State<'a> {
    pub(super) program: &'a Program,
    pub(super) data: &'a [u8],
    pub(super) has_key: bool,
    pub(super) found: &'a mut Found,
    pub(super) spans: &'a mut Vec<u32>,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) depth: usize,
    widthless: u64,
    /// How many cuts there may be when the datum has been walked over.
    most: usize,
}

type Step = Result<usize, Refused>;

impl Found {
    /// Walks over the next datum; one that is refused leaves nothing behind but its number. A datum of more than `most`
    /// cuts is refused.
    pub fn walk(&mut self, program: &Program, data: &[u8], has_key: bool, most: usize, scratch: &mut Scratch) {
        let (cuts, bound, extracted) = (self.cuts.len(), self.bound.len(), self.extracted.len());
        scratch.spans.clear();
        let walked = data.len() <= MAX_DATUM_BYTES && {
            let mut state = State {
                program,
                data,
                has_key,
                found: self,
                spans: &mut scratch.spans,
                scratch: &mut scratch.bytes,
                depth: 0,
                widthless: 0,
                most: cuts.saturating_add(most),
            };
            state.node(program.root(), 0) == Ok(data.len())
        };
        if !walked || self.cuts.len() >= NONE as usize {
            self.cuts.truncate(cuts);
            self.bound.truncate(bound);
            self.extracted.truncate(extracted);
            self.refused.push(self.ends.len() as u32);
        }
        self.extracted.resize(extracted + program.extracts, None);
        self.end(cuts);
    }

    /// Ends the datum whose cuts begin at `start`.
    pub fn end(&mut self, start: usize) {
        let mut group = NONE;
        for cut in self.cuts[start..].iter().filter(|cut| cut.slot != NONE) {
            self.values[cut.slot as usize] += 1;
            self.are_mixed |= group != NONE && group != cut.group;
            group = cut.group;
        }
        self.groups.push(group);
        self.ends.push(self.cuts.len() as u32);
    }
}

impl State<'_> {
    pub(super) fn node(&mut self, id: NodeId, at: usize) -> Step {
        let program = self.program;
        match program.node(id) {
            Node::Null => Ok(at),
            Node::Boolean => match self.data.get(at) {
                Some(0 | 1) => Ok(at + 1),
                _ => Err(Refused),
            },
            Node::Int => {
                let (value, end) = self.long(at)?;
                if i32::try_from(value).is_err() || end - at > 5 {
                    return Err(Refused);
                }
                Ok(end)
            }
            Node::Long => Ok(self.long(at)?.1),
            Node::Bytes => Ok(self.span(at)?.1),
            Node::Text => self.text(at),
            Node::Fixed(size) => self.within(at.checked_add(*size)),
            Node::Enum(count) => {
                let (index, end) = self.long(at)?;
                if index < 0 || index >= *count {
                    return Err(Refused);
                }
                Ok(end)
            }
            Node::Union(branches) => {
                let (index, end) = self.long(at)?;
                let branch = usize::try_from(index).ok().and_then(|i| branches.get(i)).ok_or(Refused)?;
                self.node(*branch, end)
            }
            Node::Record(fields) => {
                self.enter()?;
                let mut position = at;
                for &field in fields {
                    position = self.node(field, position)?;
                }
                self.depth -= 1;
                Ok(position)
            }
            Node::Beside(beside) => self.beside(beside, at),
            Node::Blocks { item, keyed, widthless, rewrite } => {
                self.enter()?;
                let end = self.blocks(*item, *keyed, *widthless, *rewrite, at)?;
                self.depth -= 1;
                Ok(end)
            }
            Node::Covered(covered) => self.covered(covered, at),
        }
    }

    pub(super) fn enter(&mut self) -> Result<(), Refused> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            Err(Refused)
        } else {
            Ok(())
        }
    }

    #[inline]
    pub(super) fn long(&self, at: usize) -> Result<(i64, usize), Refused> {
        varint::read(self.data, at).ok_or(Refused)
    }

    #[inline]
    fn within(&self, end: Option<usize>) -> Step {
        end.filter(|&end| end <= self.data.len()).ok_or(Refused)
    }

    #[inline]
    pub(super) fn span(&self, at: usize) -> Result<(usize, usize), Refused> {
        let (length, start) = self.long(at)?;
        let length = usize::try_from(length).map_err(|_| Refused)?;
        Ok((start, self.within(start.checked_add(length))?))
    }

    fn text(&self, at: usize) -> Step {
        let (start, end) = self.span(at)?;
        std::str::from_utf8(&self.data[start..end]).map(|_| end).map_err(|_| Refused)
    }

    fn blocks(&mut self, item: NodeId, keyed: bool, widthless: bool, rewrite: bool, at: usize) -> Step {
        let mut position = at;
        loop {
            let start = position;
            let (count, after) = self.long(position)?;
            position = after;
            if count == 0 {
                return Ok(position);
            }
            let mut end = None;
            if count < 0 {
                let (size, after) = self.long(position)?;
                position = after;
                let size = usize::try_from(size).map_err(|_| Refused)?;
                end = Some(self.within(position.checked_add(size))?);
                if rewrite {
                    // No datum has 2^63 items: the count is checked against its length below.
                    let plain = varint::encode(count.checked_neg().ok_or(Refused)?);
                    self.cut(start, position, plain)?;
                }
            }
            let count = count.unsigned_abs();
            if widthless {
                self.widthless = self.widthless.saturating_add(count);
                if self.widthless > MAX_WIDTHLESS_ITEMS {
                    return Err(Refused);
                }
            } else {
                if count > (self.data.len() - position) as u64 {
                    return Err(Refused);
                }
                for _ in 0..count {
                    if keyed {
                        position = self.text(position)?;
                    }
                    position = self.node(item, position)?;
                }
            }
            if end.is_some_and(|end| end != position) {
                return Err(Refused);
            }
        }
    }

    fn cut(&mut self, start: usize, end: usize, prefix: Encoded) -> Result<(), Refused> {
        let (start, end) = (start as u32, end as u32);
        self.keep(Cut { start, end, first: end, last: end, slot: NONE, group: NONE, bound: NONE, prefix })
    }

    #[inline]
    fn keep(&mut self, cut: Cut) -> Result<(), Refused> {
        if self.found.cuts.len() >= self.most {
            return Err(Refused);
        }
        self.found.cuts.push(cut);
        Ok(())
    }

    fn covered(&mut self, covered: &Covered, at: usize) -> Step {
        let end = self.node(covered.node, at)?;
        let mut first = at;
        if let Some((null, kept)) = covered.null {
            let (index, behind) = self.long(at)?;
            if index == null {
                self.cut(at, behind, kept)?;
                return Ok(end);
            }
            if covered.sealed {
                first = behind;
            }
        }
        let mut last = end;
        if covered.sealed {
            (first, last) = self.span(first)?;
            if first == last {
                return Err(Refused);
            }
        }
        self.keep(Cut {
            start: at as u32,
            end: end as u32,
            first: first as u32,
            last: last as u32,
            slot: covered.slot,
            group: NONE,
            bound: NONE,
            prefix: covered.prefix,
        })?;
        Ok(end)
    }
}
