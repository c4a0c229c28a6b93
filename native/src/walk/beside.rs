//! What a value needs from beside it: its context, and what it is bound to.

use super::found::BoundSpan;
use super::nodes::State;
use super::Refused;
use crate::contexts::NONE;
use crate::program::{Beside, Bound, Text, Wanting};

impl State<'_> {
    pub(super) fn beside(&mut self, beside: &Beside, at: usize) -> Result<usize, Refused> {
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
                if met < marks.len() {
                    marks[met] = mark
                } else {
                    more.push(mark)
                }
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
