//! Plain Avro values gathered as the buffers of an Arrow array: its layout is the Arrow columnar format's.

use crate::varint;

/// How values lie in Arrow's memory; each is the Avro type of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    /// UTF-8 behind 32-bit offsets.
    Text,
    /// Bytes behind 32-bit offsets.
    Bytes,
}

impl Layout {
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "string" => Self::Text,
            "bytes" => Self::Bytes,
            _ => return None,
        })
    }
}

/// What values must be: of a layout, behind the branch of a union with null, and within bounds where they are numbers.
#[derive(Clone, Debug)]
pub struct Kind {
    pub layout: Layout,
    pub null_branch: Option<u8>,
    pub least: i64,
    pub most: i64,
}

/// A value is not plainly of its type.
#[derive(Debug, PartialEq, Eq)]
pub struct Odd;

/// An array under construction.
pub struct Builder {
    kind: Kind,
    count: usize,
    nulls: usize,
    /// A bit for each value that there is.
    pub validity: Vec<u8>,
    pub offsets: Vec<u8>,
    pub values: Vec<u8>,
}

impl Builder {
    pub fn with_room(kind: Kind, count: usize) -> Self {
        let mut offsets = Vec::new();
        if matches!(kind.layout, Layout::Text | Layout::Bytes) {
            offsets.reserve((count + 1) * 4);
            offsets.extend_from_slice(&0i32.to_le_bytes());
        }
        Self { kind, count: 0, nulls: 0, validity: Vec::with_capacity(count / 8 + 1), offsets, values: Vec::new() }
    }

    pub fn nulls(&self) -> usize {
        self.nulls
    }

    /// Takes a null, or what stands for a value that could not be had.
    pub fn null(&mut self) -> Result<(), Odd> {
        self.nulls += 1;
        match self.kind.layout {
            Layout::Boolean => self.bit(false),
            Layout::Int | Layout::Float => self.values.extend_from_slice(&[0; 4]),
            Layout::Long | Layout::Double => self.values.extend_from_slice(&[0; 8]),
            Layout::Text | Layout::Bytes => self.offset()?,
        }
        self.counted(false);
        Ok(())
    }

    /// Takes a value's Avro binary.
    pub fn push(&mut self, avro: &[u8]) -> Result<(), Odd> {
        let value = match self.kind.null_branch {
            None => avro,
            Some(null) => match avro.split_first().ok_or(Odd)? {
                (&branch, []) if branch == null * 2 => return self.null(),
                (&branch, value) if branch == (1 - null) * 2 => value,
                _ => return Err(Odd),
            },
        };
        match self.kind.layout {
            Layout::Boolean => match value {
                [byte @ (0 | 1)] => self.bit(*byte == 1),
                _ => return Err(Odd),
            },
            Layout::Int => {
                let number = i32::try_from(self.number(value)?).map_err(|_| Odd)?;
                self.values.extend_from_slice(&number.to_le_bytes());
            }
            Layout::Long => {
                let number = self.number(value)?;
                self.values.extend_from_slice(&number.to_le_bytes());
            }
            Layout::Float => self.values.extend_from_slice(&<[u8; 4]>::try_from(value).map_err(|_| Odd)?),
            Layout::Double => self.values.extend_from_slice(&<[u8; 8]>::try_from(value).map_err(|_| Odd)?),
            Layout::Text | Layout::Bytes => self.text(value)?,
        }
        self.counted(true);
        Ok(())
    }

    fn number(&self, value: &[u8]) -> Result<i64, Odd> {
        varint::whole(value).filter(|number| (self.kind.least..=self.kind.most).contains(number)).ok_or(Odd)
    }

    fn text(&mut self, value: &[u8]) -> Result<(), Odd> {
        let (length, start) = varint::read(value, 0).ok_or(Odd)?;
        let text = &value[start..];
        let is_whole = usize::try_from(length) == Ok(text.len());
        if !is_whole || (self.kind.layout == Layout::Text && std::str::from_utf8(text).is_err()) {
            return Err(Odd);
        }
        self.values.extend_from_slice(text);
        self.offset()
    }

    fn offset(&mut self) -> Result<(), Odd> {
        let end = i32::try_from(self.values.len()).map_err(|_| Odd)?;
        self.offsets.extend_from_slice(&end.to_le_bytes());
        Ok(())
    }

    fn bit(&mut self, set: bool) {
        push_bit(&mut self.values, self.count, set);
    }

    fn counted(&mut self, is_valid: bool) {
        push_bit(&mut self.validity, self.count, is_valid);
        self.count += 1;
    }
}

fn push_bit(bits: &mut Vec<u8>, at: usize, set: bool) {
    if at % 8 == 0 {
        bits.push(0);
    }
    if let Some(last) = bits.last_mut() {
        *last |= u8::from(set) << (at % 8);
    }
}

/// A binary array as it lies in memory.
pub struct Binary<'a> {
    pub validity: Option<&'a [u8]>,
    pub offsets: &'a [u8],
    pub data: &'a [u8],
    /// Of the first value, in the buffers.
    pub start: usize,
    pub count: usize,
    /// Whether offsets have 64 bits.
    pub large: bool,
}

impl<'a> Binary<'a> {
    /// A value, none for null; `Odd` where the buffers do not hold together.
    pub fn get(&self, index: usize) -> Result<Option<&'a [u8]>, Odd> {
        let at = self.start + index;
        if let Some(bits) = self.validity {
            if bits.get(at / 8).ok_or(Odd)? >> (at % 8) & 1 == 0 {
                return Ok(None);
            }
        }
        let (from, to) = (self.offset(at)?, self.offset(at + 1)?);
        self.data.get(from..to).map(Some).ok_or(Odd)
    }

    fn offset(&self, at: usize) -> Result<usize, Odd> {
        let number = if self.large {
            i64::from_le_bytes(*self.offsets.get(at * 8..).and_then(<[u8]>::first_chunk).ok_or(Odd)?)
        } else {
            i64::from(i32::from_le_bytes(*self.offsets.get(at * 4..).and_then(<[u8]>::first_chunk).ok_or(Odd)?))
        };
        usize::try_from(number).map_err(|_| Odd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(layout: Layout, null_branch: Option<u8>) -> Builder {
        Builder::with_room(Kind { layout, null_branch, least: i64::MIN, most: i64::MAX }, 2)
    }

    #[test]
    fn texts_lie_behind_their_offsets() {
        let mut built = builder(Layout::Text, Some(0));
        assert_eq!(built.push(b"\x02\x04ab"), Ok(()));
        assert_eq!(built.push(b"\x00"), Ok(()));
        assert_eq!(built.push(b"\x02\x02c"), Ok(()));
        assert_eq!(built.values, b"abc");
        assert_eq!(built.offsets, [0i32, 2, 2, 3].map(i32::to_le_bytes).as_flattened());
        assert_eq!((built.validity, built.nulls), (vec![0b101], 1));
    }

    #[test]
    fn numbers_lie_one_behind_the_other() {
        let mut built = builder(Layout::Long, None);
        for _ in 0..9 {
            assert_eq!(built.push(b"\x01"), Ok(()));
        }
        assert_eq!(built.null(), Ok(()));
        assert_eq!(built.values, [-1i64, -1, -1, -1, -1, -1, -1, -1, -1, 0].map(i64::to_le_bytes).as_flattened());
        assert_eq!(built.validity, [0xff, 1]);
        let mut flags = builder(Layout::Boolean, Some(1));
        assert_eq!([flags.push(b"\x00\x01"), flags.push(b"\x02"), flags.push(b"\x00\x00")], [Ok(()), Ok(()), Ok(())]);
        assert_eq!((flags.values, flags.validity), (vec![1], vec![0b101]));
    }

    #[test]
    fn what_is_not_plainly_of_the_type_is_odd() {
        let odd: [(Layout, Option<u8>, &[u8]); 15] = [
            (Layout::Text, None, b""),
            (Layout::Text, None, b"\x04a"),
            (Layout::Text, None, b"\x02ab"),
            (Layout::Text, None, b"\x02\xff"),
            (Layout::Bytes, None, b"\x01a"),
            (Layout::Text, Some(0), b"\x00\x00"),
            (Layout::Text, Some(0), b"\x04\x02a"),
            (Layout::Text, Some(1), b""),
            (Layout::Boolean, None, b"\x02"),
            (Layout::Boolean, None, b""),
            (Layout::Int, None, &[0xfe, 0xff, 0xff, 0xff, 0x7f]),
            (Layout::Long, None, b"\x80\x00"),
            (Layout::Long, None, b"\x02\x02"),
            (Layout::Double, None, b"\x02"),
            (Layout::Float, None, b"12345"),
        ];
        for (layout, null_branch, avro) in odd {
            assert_eq!(builder(layout, null_branch).push(avro), Err(Odd), "{layout:?} {avro:?}");
        }
        let mut days = Builder::with_room(Kind { layout: Layout::Int, null_branch: None, least: 0, most: 2 }, 1);
        assert_eq!([days.push(b"\x04"), days.push(b"\x06"), days.push(b"\x01")], [Ok(()), Err(Odd), Err(Odd)]);
    }

    #[test]
    fn binaries_are_read_within_their_buffers() {
        let offsets = [9i32, 0, 2, 2, 5, -1, 3].map(i32::to_le_bytes);
        let of = |count| Binary { validity: Some(&[0b1011]), offsets: offsets.as_flattened(), data: b"abcde", start: 1, count, large: false };
        assert_eq!(of(3).get(0), Ok(Some(&b"ab"[..])));
        assert_eq!(of(3).get(1), Ok(None));
        assert_eq!(of(3).get(2), Ok(Some(&b"cde"[..])));
        for (start, index) in [(0, 0), (3, 1), (4, 1), (5, 1), (900, 0)] {
            assert_eq!(Binary { validity: None, start, ..of(1) }.get(index), Err(Odd), "{start}");
        }
        let wide = [0i64, 5].map(i64::to_le_bytes);
        let large = Binary { validity: None, offsets: wide.as_flattened(), data: b"abcde", start: 0, count: 1, large: true };
        assert_eq!(large.get(0), Ok(Some(&b"abcde"[..])));
    }
}
