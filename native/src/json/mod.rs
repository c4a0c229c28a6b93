//! Avro binary as JSON. The twin is `worker/jsonform.py`; what it says in another way than
//! that of the value's type, or with marks beside it, is `Refused`.

use std::collections::HashSet;
use std::io::Write;

use crate::cursor::Cursor;
use crate::moment;
use crate::shapes::{Shape, Shapes};
use crate::walk::Refused;

mod leaves;

pub use leaves::{base64, text, whole};
use leaves::{decimal, is_uuid, real};

/// What Avro says of a type beside what it is.
pub enum Logical {
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

/// Names and symbols as JSON.
pub type Table = Shapes<Box<[u8]>, Logical>;

/// Writes values of one type.
pub struct Writer(pub Table);

type Step = Result<(), Refused>;

impl Writer {
    /// Appends a datum's JSON; of one that is refused nothing stays.
    pub fn write(&self, data: &[u8], out: &mut Vec<u8>) -> Step {
        let start = out.len();
        let mut state = State { shapes: &self.0, cursor: Cursor::new(data), out };
        let written =
            state.value(self.0.root()).and_then(|()| if state.cursor.is_at_end() { Ok(()) } else { Err(Refused) });
        if written.is_err() {
            out.truncate(start);
        }
        written
    }
}

/// A name or symbol as JSON.
pub fn name(name: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    text(name, &mut out);
    out.into()
}

struct State<'a> {
    shapes: &'a Table,
    cursor: Cursor<'a>,
    out: &'a mut Vec<u8>,
}

impl State<'_> {
    fn value(&mut self, id: u32) -> Step {
        let shapes = self.shapes;
        match shapes.get(id) {
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
                let (branch, _) = branches.get(self.cursor.index()?).ok_or(Refused)?;
                self.value(*branch)?;
            }
            Shape::Record(fields) => self.record(fields)?,
            Shape::Array { item, widthless } => self.array(*item, *widthless)?,
            Shape::Map(item) => self.map(*item)?,
            Shape::Other(logical) => {
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
            self.out.push(b':');
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
    fn logical(&mut self, logical: &Logical) -> Step {
        match logical {
            Logical::Date => moment::date(i64::from(self.cursor.int()?), self.out),
            Logical::TimeMillis => moment::time(i64::from(self.cursor.int()?) * 1000, self.out),
            Logical::TimeMicros => moment::time(self.cursor.long()?, self.out),
            Logical::Timestamp(unit, behind) => {
                moment::timestamp(self.cursor.long()?.checked_mul(*unit).ok_or(Refused)?, self.out)?;
                self.out.extend_from_slice(behind.as_bytes());
                Ok(())
            }
            Logical::Uuid => {
                let found = self.cursor.span()?;
                if !is_uuid(found) {
                    return Err(Refused);
                }
                self.out.extend_from_slice(found);
                Ok(())
            }
            Logical::UuidBytes => {
                for (place, byte) in self.cursor.take(16)?.iter().enumerate() {
                    if matches!(place, 4 | 6 | 8 | 10) {
                        self.out.push(b'-');
                    }
                    write!(self.out, "{byte:02x}").map_err(|_| Refused)?;
                }
                Ok(())
            }
            Logical::Decimal(size, scale) => {
                let data = match size {
                    Some(size) => self.cursor.take(*size)?,
                    None => self.cursor.span()?,
                };
                decimal(data, *scale, self.out)
            }
            Logical::Twin => Err(Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(shapes: Vec<Shape<Box<[u8]>, Logical>>, data: &[u8]) -> Option<String> {
        let mut out = b"before".to_vec();
        let done = Writer(Shapes::new(shapes.into(), 0).unwrap()).write(data, &mut out);
        if done.is_err() {
            assert_eq!(out, b"before");
        }
        done.ok().map(|()| String::from_utf8(out.split_off(6)).unwrap())
    }

    #[test]
    fn what_json_has_no_type_for_is_text() {
        assert_eq!(written(vec![Shape::Double], &f64::NAN.to_le_bytes()).as_deref(), Some("\"NaN\""));
        assert_eq!(written(vec![Shape::Float], &f32::NEG_INFINITY.to_le_bytes()).as_deref(), Some("\"-Infinity\""));
        assert_eq!(written(vec![Shape::Float], &0.1f32.to_le_bytes()).as_deref(), Some("0.10000000149011612"));
        assert_eq!(written(vec![Shape::Bytes], b"\x04\xff\0").as_deref(), Some("\"/wA=\""));
        assert_eq!(written(vec![Shape::Text], b"\x06\"\n\x01").as_deref(), Some("\"\\\"\\n\\u0001\""));
        let stamp = || vec![Shape::Other(Logical::Timestamp(1000, "+00:00".into()))];
        assert_eq!(written(stamp(), b"\x02").as_deref(), Some("\"1970-01-01T00:00:00.001000+00:00\""));
        assert_eq!(
            written(vec![Shape::Other(Logical::UuidBytes)], &[0xab; 16]).as_deref(),
            Some("\"abababab-abab-abab-abab-abababababab\"")
        );
    }

    #[test]
    fn what_the_twin_says_otherwise_is_refused() {
        let map = || vec![Shape::Map(1), Shape::Int];
        assert_eq!(written(map(), b"\x04\x02a\x02\x02b\x04\0").as_deref(), Some("{\"a\":1,\"b\":2}"));
        assert_eq!(written(map(), b"\x04\x02a\x02\x02a\x04\0"), None);
        assert_eq!(written(vec![Shape::Other(Logical::Uuid)], &[b"\x48", &[b'A'; 36][..]].concat()), None);
        assert_eq!(written(vec![Shape::Other(Logical::Twin)], b""), None);
        assert_eq!(written(vec![Shape::Int], b"\x02\x02"), None);
    }
}
