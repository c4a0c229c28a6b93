//! Avro binary as JSON. The twin is `worker/jsonform.py`; what it says in another way than
//! that of the value's type, or with marks beside it, is `Refused`.

use std::collections::HashSet;
use std::io::Write;

use crate::cursor::Cursor;
use crate::moment;
use crate::program::MAX_NODES;
use crate::walk::Refused;

pub enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// Symbols as JSON.
    Enum(Box<[Box<[u8]>]>),
    Union(Box<[u32]>),
    /// Names as JSON, each with its colon.
    Record(Box<[(Box<[u8]>, u32)]>),
    Array { item: u32, widthless: bool },
    Map(u32),
    Date,
    TimeMillis,
    TimeMicros,
    /// How many microseconds its unit is, and what stands behind it.
    Timestamp(i64, Box<str>),
    Uuid,
    UuidBytes,
    /// The bytes of a fixed, and the scale.
    Decimal(Option<usize>, i64),
    /// What the twin alone writes.
    Twin,
}

/// Writes values of one type.
pub struct Writer {
    shapes: Box<[Shape]>,
    root: u32,
}

type Step = Result<(), Refused>;

impl Writer {
    /// `None` where a shape refers to one that is not there.
    pub fn new(shapes: Box<[Shape]>, root: u32) -> Option<Self> {
        let known = |id: &u32| (*id as usize) < shapes.len();
        let sound = shapes.len() <= MAX_NODES
            && known(&root)
            && shapes.iter().all(|shape| match shape {
                Shape::Union(branches) => branches.iter().all(known),
                Shape::Record(fields) => fields.iter().all(|(_, id)| known(id)),
                Shape::Array { item: id, .. } | Shape::Map(id) => known(id),
                _ => true,
            });
        sound.then_some(Self { shapes, root })
    }

    /// Appends a datum's JSON; of one that is refused nothing stays.
    pub fn write(&self, data: &[u8], out: &mut Vec<u8>) -> Step {
        let start = out.len();
        let mut state = State { shapes: &self.shapes, cursor: Cursor::new(data), out };
        let written = state.value(self.root).and_then(|()| if state.cursor.is_at_end() { Ok(()) } else { Err(Refused) });
        if written.is_err() {
            out.truncate(start);
        }
        written
    }
}

struct State<'a> {
    shapes: &'a [Shape],
    cursor: Cursor<'a>,
    out: &'a mut Vec<u8>,
}

impl State<'_> {
    fn value(&mut self, id: u32) -> Step {
        let shapes = self.shapes;
        match &shapes[id as usize] {
            Shape::Null => self.out.extend_from_slice(b"null"),
            Shape::Boolean => {
                let word: &[u8] = if self.cursor.boolean()? { b"true" } else { b"false" };
                self.out.extend_from_slice(word);
            }
            Shape::Int => whole(i64::from(self.cursor.int()?), self.out),
            Shape::Long => whole(self.cursor.long()?, self.out),
            Shape::Float => real(f64::from(f32::from_le_bytes(self.cursor.array()?)), self.out),
            Shape::Double => real(f64::from_le_bytes(self.cursor.array()?), self.out),
            Shape::Bytes => base64(self.cursor.span()?, self.out),
            Shape::Text => text(self.cursor.text()?, self.out),
            Shape::Fixed(size) => base64(self.cursor.take(*size)?, self.out),
            Shape::Enum(symbols) => {
                let symbol = symbols.get(self.cursor.index()?).ok_or(Refused)?;
                self.out.extend_from_slice(symbol);
            }
            Shape::Union(branches) => {
                let branch = *branches.get(self.cursor.index()?).ok_or(Refused)?;
                self.value(branch)?;
            }
            Shape::Record(fields) => self.record(fields)?,
            Shape::Array { item, widthless } => self.array(*item, *widthless)?,
            Shape::Map(item) => self.map(*item)?,
            logical => {
                self.out.push(b'"');
                self.logical(logical)?;
                self.out.push(b'"');
            }
        }
        Ok(())
    }

    fn record(&mut self, fields: &[(Box<[u8]>, u32)]) -> Step {
        self.cursor.enter()?;
        self.out.push(b'{');
        for (number, (name, field)) in fields.iter().enumerate() {
            self.comma(number == 0);
            self.out.extend_from_slice(name);
            self.value(*field)?;
        }
        self.out.push(b'}');
        self.cursor.leave();
        Ok(())
    }

    fn array(&mut self, item: u32, widthless: bool) -> Step {
        self.cursor.enter()?;
        self.out.push(b'[');
        let mut is_first = true;
        while let Some(block) = self.cursor.block(widthless)? {
            for _ in 0..block.count {
                self.comma(is_first);
                is_first = false;
                self.value(item)?;
            }
            self.cursor.close(&block)?;
        }
        self.out.push(b']');
        self.cursor.leave();
        Ok(())
    }

    /// Of a key that comes twice the twin keeps the last value, at the place of the first.
    fn map(&mut self, item: u32) -> Step {
        self.cursor.enter()?;
        self.out.push(b'{');
        let mut known = HashSet::new();
        while let Some(block) = self.cursor.block(false)? {
            for _ in 0..block.count {
                let key = self.cursor.text()?;
                self.comma(known.is_empty());
                if !known.insert(key) {
                    return Err(Refused);
                }
                text(key, self.out);
                self.out.push(b':');
                self.value(item)?;
            }
            self.cursor.close(&block)?;
        }
        self.out.push(b'}');
        self.cursor.leave();
        Ok(())
    }

    fn comma(&mut self, is_first: bool) {
        if !is_first {
            self.out.push(b',');
        }
    }

    /// What is a text in quotes that needs no escape.
    fn logical(&mut self, shape: &Shape) -> Step {
        match shape {
            Shape::Date => moment::date(i64::from(self.cursor.int()?), self.out),
            Shape::TimeMillis => moment::time(i64::from(self.cursor.int()?) * 1000, self.out),
            Shape::TimeMicros => moment::time(self.cursor.long()?, self.out),
            Shape::Timestamp(unit, behind) => {
                moment::timestamp(self.cursor.long()?.checked_mul(*unit).ok_or(Refused)?, self.out)?;
                self.out.extend_from_slice(behind.as_bytes());
                Ok(())
            }
            Shape::Uuid => {
                let found = self.cursor.span()?;
                if !is_uuid(found) {
                    return Err(Refused);
                }
                self.out.extend_from_slice(found);
                Ok(())
            }
            Shape::UuidBytes => {
                for (place, byte) in self.cursor.take(16)?.iter().enumerate() {
                    if matches!(place, 4 | 6 | 8 | 10) {
                        self.out.push(b'-');
                    }
                    write!(self.out, "{byte:02x}").map_err(|_| Refused)?;
                }
                Ok(())
            }
            Shape::Decimal(size, scale) => {
                let data = match size {
                    Some(size) => self.cursor.take(*size)?,
                    None => self.cursor.span()?,
                };
                decimal(data, *scale, self.out)
            }
            _ => Err(Refused),
        }
    }
}

/// Appends a number as JSON.
pub fn whole(number: i64, out: &mut Vec<u8>) {
    // Nothing that is written to memory fails.
    let _ = serde_json::to_writer(out, &number);
}

fn real(number: f64, out: &mut Vec<u8>) {
    if number.is_finite() {
        let _ = serde_json::to_writer(out, &number);
    } else {
        let word: &[u8] = if number.is_nan() { b"\"NaN\"" } else if number > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" };
        out.extend_from_slice(word);
    }
}

/// Appends a text as JSON.
pub fn text(text: &str, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, text);
}

/// Appends bytes as JSON: base64.
pub fn base64(data: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    base64_simd::STANDARD.encode_append(data, out);
    out.push(b'"');
}

/// Whether it is a uuid in its one canonical form.
fn is_uuid(data: &[u8]) -> bool {
    data.len() == 36
        && data.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// The number of an unscaled value as Python's `Decimal` writes it; one of more than 128 bits is the twin's.
fn decimal(data: &[u8], scale: i64, out: &mut Vec<u8>) -> Step {
    let first = *data.first().ok_or(Refused)?;
    let mut wide = [if first & 0x80 == 0 { 0 } else { 0xff }; 16];
    wide.get_mut(16usize.checked_sub(data.len()).ok_or(Refused)?..).ok_or(Refused)?.copy_from_slice(data);
    let number = i128::from_be_bytes(wide);
    if number < 0 {
        out.push(b'-');
    }
    let digits = number.unsigned_abs().to_string();
    let count = digits.len() as i64;
    let left = count - scale;
    let shown = |digits: &str, point: usize, out: &mut Vec<u8>| {
        out.extend_from_slice(&digits.as_bytes()[..point]);
        if point < digits.len() {
            out.push(b'.');
            out.extend_from_slice(&digits.as_bytes()[point..]);
        }
    };
    if left > 0 {
        shown(&digits, left.min(count) as usize, out);
    } else if left > -6 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', left.unsigned_abs() as usize));
        out.extend_from_slice(digits.as_bytes());
    } else {
        shown(&digits, 1, out);
        write!(out, "E{:+}", left - 1).map_err(|_| Refused)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(shapes: Vec<Shape>, data: &[u8]) -> Option<String> {
        let mut out = b"before".to_vec();
        let done = Writer::new(shapes.into(), 0).unwrap().write(data, &mut out);
        if done.is_err() {
            assert_eq!(out, b"before");
        }
        done.ok().map(|()| String::from_utf8(out.split_off(6)).unwrap())
    }

    #[test]
    fn decimals_are_written_as_python_writes_them() {
        for (data, scale, wanted) in [
            (&b"\0"[..], 2, "0.00"),
            (b"\0", 10, "0E-10"),
            (b"\x7b", 0, "123"),
            (b"\x7b", 2, "1.23"),
            (b"\x85", 3, "-0.123"),
            (b"\x85", 8, "-0.00000123"),
            (b"\x01", 6, "0.000001"),
            (b"\x01", 7, "1E-7"),
            (b"\x7b", 12, "1.23E-10"),
            (&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, "-170141183460469231731687303715884105728"),
        ] {
            let mut out = Vec::new();
            assert_eq!(decimal(data, scale, &mut out), Ok(()));
            assert_eq!(String::from_utf8(out).unwrap(), wanted);
        }
        for other in [&b""[..], &[1; 17]] {
            assert_eq!(decimal(other, 0, &mut Vec::new()), Err(Refused));
        }
    }

    #[test]
    fn what_json_has_no_type_for_is_text() {
        assert_eq!(written(vec![Shape::Double], &f64::NAN.to_le_bytes()).as_deref(), Some("\"NaN\""));
        assert_eq!(written(vec![Shape::Float], &f32::NEG_INFINITY.to_le_bytes()).as_deref(), Some("\"-Infinity\""));
        assert_eq!(written(vec![Shape::Float], &0.1f32.to_le_bytes()).as_deref(), Some("0.10000000149011612"));
        assert_eq!(written(vec![Shape::Bytes], b"\x04\xff\0").as_deref(), Some("\"/wA=\""));
        assert_eq!(written(vec![Shape::Text], b"\x06\"\n\x01").as_deref(), Some("\"\\\"\\n\\u0001\""));
        let stamp = || vec![Shape::Timestamp(1000, "+00:00".into())];
        assert_eq!(written(stamp(), b"\x02").as_deref(), Some("\"1970-01-01T00:00:00.001000+00:00\""));
        assert_eq!(written(vec![Shape::UuidBytes], &[0xab; 16]).as_deref(), Some("\"abababab-abab-abab-abab-abababababab\""));
    }

    #[test]
    fn what_the_twin_says_otherwise_is_refused() {
        let map = || vec![Shape::Map(1), Shape::Int];
        assert_eq!(written(map(), b"\x04\x02a\x02\x02b\x04\0").as_deref(), Some("{\"a\":1,\"b\":2}"));
        assert_eq!(written(map(), b"\x04\x02a\x02\x02a\x04\0"), None);
        assert_eq!(written(vec![Shape::Uuid], &[b"\x48", &[b'A'; 36][..]].concat()), None);
        assert_eq!(written(vec![Shape::Twin], b""), None);
        assert_eq!(written(vec![Shape::Int], b"\x02\x02"), None);
        assert!(Writer::new([Shape::Array { item: 1, widthless: false }].into(), 0).is_none());
    }
}
