//! The walk over a datum: where each declared value lies, and what its key and its envelope need from beside it.
//!
//! The readable twin is `worker/avro/batch.py`. A datum that the walk refuses is `Refused`, without a reason: the twin
//! reads it again and says why.

use crate::contexts::Contexts;
use crate::program::{
    Beside, Bound, Covered, Node, NodeId, Program, Text, Wanting, MAX_DATUM_BYTES, MAX_NESTING, MAX_WIDTHLESS_ITEMS,
};
use crate::varint::{self, Encoded};

/// No slot, no group, nothing bound.
pub const NONE: u32 = u32::MAX;

#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

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
    pub refused: Vec<u32>,
    pub bound: Vec<BoundSpan>,
    /// How many values each slot has.
    pub values: Vec<usize>,
    /// The tables of contexts; `Program::tables` says which is whose.
    pub contexts: Vec<Contexts>,
    /// For each datum, the texts asked for of its root.
    pub extracted: Vec<Option<String>>,
}

struct State<'a> {
    program: &'a Program,
    data: &'a [u8],
    has_key: bool,
    found: &'a mut Found,
    spans: &'a mut Vec<u32>,
    scratch: &'a mut Vec<u8>,
    depth: usize,
    widthless: u64,
    /// How many cuts there may be when the datum has been walked over.
    most: usize,
}

type Step = Result<usize, Refused>;

impl Found {
    pub fn new(program: &Program, records: usize) -> Self {
        Self {
            cuts: Vec::with_capacity(records * program.slots.len().min(8)),
            ends: Vec::with_capacity(records),
            refused: Vec::new(),
            bound: Vec::new(),
            values: vec![0; program.slots.len()],
            contexts: program.slots.iter().map(|_| Contexts::new(records)).collect(),
            extracted: Vec::new(),
        }
    }

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
        for cut in self.cuts[cuts..].iter().filter(|cut| cut.slot != NONE) {
            self.values[cut.slot as usize] += 1;
        }
        self.extracted.resize(extracted + program.extracts, None);
        self.ends.push(self.cuts.len() as u32);
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

/// Memory that walks use again.
#[derive(Default)]
pub struct Scratch {
    spans: Vec<u32>,
    bytes: Vec<u8>,
}

impl State<'_> {
    fn node(&mut self, id: NodeId, at: usize) -> Step {
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

    fn enter(&mut self) -> Result<(), Refused> {
        self.depth += 1;
        if self.depth > MAX_NESTING { Err(Refused) } else { Ok(()) }
    }

    #[inline]
    fn long(&self, at: usize) -> Result<(i64, usize), Refused> {
        varint::read(self.data, at).ok_or(Refused)
    }

    #[inline]
    fn within(&self, end: Option<usize>) -> Step {
        end.filter(|&end| end <= self.data.len()).ok_or(Refused)
    }

    #[inline]
    fn span(&self, at: usize) -> Result<(usize, usize), Refused> {
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

    fn beside(&mut self, beside: &Beside, at: usize) -> Step {
        self.enter()?;
        let (base, texts) = (self.spans.len(), self.found.extracted.len());
        let mut position = at;
        let mut wanting = beside.wanting.iter().peekable();
        let mut marks: [u32; 16] = [NONE; 16];
        let mut more: Vec<u32> = Vec::new();
        let mut met = 0;
        for (number, &field) in beside.fields.iter().enumerate() {
            self.spans.push(position as u32);
            let cut = self.found.cuts.len();
            position = self.node(field, position)?;
            if wanting.next_if(|w| w.field as usize == number).is_some() {
                let has_value = self.found.cuts[cut..].iter().any(|c| c.slot != NONE);
                let mark = if has_value { cut as u32 } else { NONE };
                if met < marks.len() { marks[met] = mark } else { more.push(mark) }
                met += 1;
            }
        }
        self.spans.push(position as u32);
        let mut context = None;
        for (number, wanted) in beside.wanting.iter().enumerate() {
            let mark = if number < marks.len() { marks[number] } else { more[number - marks.len()] };
            context = context.filter(|_| wanted.repeats);
            if mark != NONE {
                context = self.fill(wanted, mark as usize, base, context)?;
            }
        }
        // A record within itself left its own texts: the outermost one's count.
        self.found.extracted.truncate(texts);
        for asked in &beside.extract {
            let text = match asked {
                None => None,
                Some((field, text)) => self.written(text, self.place(base, *field))?,
            };
            self.found.extracted.push(text);
        }
        self.spans.truncate(base);
        self.depth -= 1;
        Ok(position)
    }

    fn place(&self, base: usize, field: u32) -> usize {
        self.spans[base + field as usize] as usize
    }

    /// Fills in what a value wants beside it; `known` is the number of its context where that was met just before.
    fn fill(&mut self, wanted: &Wanting, mark: usize, base: usize, known: Option<u32>) -> Result<Option<u32>, Refused> {
        let mut number = None;
        if !wanted.context.is_empty() {
            let context = match known {
                Some(number) => number,
                None => self.context(wanted, base)?,
            };
            self.found.cuts[mark].group = context;
            number = Some(context);
        }
        if !wanted.bind.is_empty() {
            let at = self.found.bound.len() as u32;
            for bound in &wanted.bind {
                let span = match bound {
                    Bound::Key if self.has_key => BoundSpan::Key,
                    Bound::Key => return Err(Refused),
                    Bound::Field(field) => {
                        let place = base + *field as usize;
                        BoundSpan::Datum(self.spans[place], self.spans[place + 1])
                    }
                };
                self.found.bound.push(span);
            }
            self.found.cuts[mark].bound = at;
        }
        Ok(number)
    }

    /// The number of a value's context, as `frame` writes it.
    fn context(&mut self, wanted: &Wanting, base: usize) -> Result<u32, Refused> {
        let names = &self.program.slots[wanted.slot as usize].context;
        let mut framed = std::mem::take(self.scratch);
        framed.clear();
        framed.extend_from_slice(&(names.len() as u32).to_be_bytes());
        for (name, (field, text)) in names.iter().zip(&wanted.context) {
            framed.extend_from_slice(name);
            let at = self.place(base, *field);
            if let Text::Verbatim = text {
                let (start, end) = self.span(at)?;
                framed.extend_from_slice(&((end - start) as u32).to_be_bytes());
                framed.extend_from_slice(&self.data[start..end]);
            } else {
                let written = self.written(text, at)?.ok_or(Refused)?;
                framed.extend_from_slice(&(written.len() as u32).to_be_bytes());
                framed.extend_from_slice(written.as_bytes());
            }
        }
        let number = self.found.contexts[self.program.tables[wanted.slot as usize]].number(&framed);
        *self.scratch = framed;
        Ok(number)
    }

    /// A field's text, `None` for a null. The field has been walked over before, so it is sound.
    fn written(&self, text: &Text, at: usize) -> Result<Option<String>, Refused> {
        Ok(Some(match text {
            Text::Nullable(null, inner) => {
                let (index, behind) = self.long(at)?;
                return if index == *null { Ok(None) } else { self.written(inner, behind) };
            }
            Text::Verbatim => self.string(at)?.to_owned(),
            Text::LowerCase => {
                let text = self.string(at)?;
                // Beyond ASCII the twin's tables of letters decide.
                if !text.is_ascii() {
                    return Err(Refused);
                }
                text.to_ascii_lowercase()
            }
            Text::Number => self.long(at)?.0.to_string(),
            Text::Boolean => if self.data.get(at).ok_or(Refused)? == &0 { "false" } else { "true" }.to_owned(),
            Text::Symbols(symbols) => {
                let (index, _) = self.long(at)?;
                usize::try_from(index).ok().and_then(|i| symbols.get(i)).ok_or(Refused)?.clone()
            }
            Text::Uuid => uuid_text(self.data.get(at..at + 16).ok_or(Refused)?),
        }))
    }

    fn string(&self, at: usize) -> Result<&str, Refused> {
        let (start, end) = self.span(at)?;
        std::str::from_utf8(&self.data[start..end]).map_err(|_| Refused)
    }
}

/// Appends `u32 n, n * (F(name) F(value))`; the names are framed already.
pub fn frame<'v>(out: &mut Vec<u8>, names: &[Box<[u8]>], values: impl Iterator<Item = &'v [u8]>) {
    out.extend_from_slice(&(names.len() as u32).to_be_bytes());
    for (name, value) in names.iter().zip(values) {
        out.extend_from_slice(name);
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value);
    }
}

fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}
