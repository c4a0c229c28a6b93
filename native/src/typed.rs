//! Typed plaintext, what the `record` format encrypts: `01 type value`, big-endian.
//!
//! The readable twin is `worker/encryption/plaintext.py`.

use base64_simd::STANDARD;

use crate::program::{Kind, Slot};
use crate::varint;

const EPOCH_DAY: i64 = 719_163;
const LAST_DAY: i64 = 3_652_059;

/// What a text's typed plaintext begins with.
pub const TEXT: [u8; 2] = [1, 8];

/// The value is not of the type that its field has.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexpected;

/// Appends the typed plaintext of a field's Avro binary.
pub fn write(slot: &Slot, value: &[u8], out: &mut Vec<u8>) {
    if !slot.hides_null {
        let inner = match slot.null_branch {
            None => Some(value),
            Some(null) => value.strip_prefix(&value_branch(null)),
        };
        if inner.is_some_and(|inner| exact(&slot.kind, inner, out)) {
            return;
        }
    }
    out.extend_from_slice(b"\x01\x0b{\"avro\":\"");
    STANDARD.encode_append(value, out);
    out.extend_from_slice(b"\"}");
}

/// Appends the Avro binary of a typed plaintext.
pub fn read(slot: &Slot, typed: &[u8], out: &mut Vec<u8>) -> Result<(), Unexpected> {
    if typed.starts_with(b"\x01\x0b") {
        return read_avro(typed, out);
    }
    if slot.hides_null || typed.len() < 2 || typed[0] != 1 {
        return Err(Unexpected);
    }
    if let Some(null) = slot.null_branch {
        if typed.len() == 2 && typed[1] & 0x80 != 0 {
            out.extend_from_slice(varint::encode(i64::from(null)).as_slice());
            return Ok(());
        }
        out.extend_from_slice(&value_branch(null));
    }
    read_exact(&slot.kind, typed, out).ok_or(Unexpected)
}

fn value_branch(null: u8) -> [u8; 1] {
    [if null == 1 { 0 } else { 2 }]
}

/// Writes what the type carries exactly, and says whether it does; nothing is written where it does not.
fn exact(kind: &Kind, data: &[u8], out: &mut Vec<u8>) -> bool {
    match kind {
        Kind::Avro => false,
        Kind::Boolean => matches!(data, [0 | 1]) && push(out, 2, data),
        Kind::Int => varint::whole(data).and_then(|n| i32::try_from(n).ok()).is_some_and(|n| push(out, 5, &n.to_be_bytes())),
        Kind::Long => varint::whole(data).is_some_and(|n| push(out, 1, &n.to_be_bytes())),
        Kind::TimestampMs => varint::whole(data).is_some_and(|n| push(out, 7, &n.to_be_bytes())),
        Kind::Date => varint::whole(data)
            .and_then(|n| n.checked_add(EPOCH_DAY))
            .filter(|day| (1..=LAST_DAY).contains(day))
            .is_some_and(|day| push(out, 9, &(day as i32).to_be_bytes())),
        Kind::Float => <[u8; 4]>::try_from(data)
            .map(|bytes| f64::from(f32::from_le_bytes(bytes)))
            .is_ok_and(|n| !n.is_nan() && push(out, 4, &n.to_be_bytes())),
        Kind::Double => <[u8; 8]>::try_from(data)
            .map(f64::from_le_bytes)
            .is_ok_and(|n| !n.is_nan() && push(out, 4, &n.to_be_bytes())),
        Kind::Text => text(data).is_some_and(|text| push(out, 8, text)),
        Kind::Enum(symbols) => varint::whole(data)
            .and_then(|n| usize::try_from(n).ok())
            .and_then(|n| symbols.get(n))
            .is_some_and(|symbol| push(out, 8, symbol)),
    }
}

fn push(out: &mut Vec<u8>, kind: u8, value: &[u8]) -> bool {
    out.extend_from_slice(&[1, kind]);
    out.extend_from_slice(value);
    true
}

/// The text behind a length in its shortest form, where it is UTF-8.
fn text(data: &[u8]) -> Option<&[u8]> {
    let (length, start) = varint::read(data, 0)?;
    let shortest = start == 1 || data[start - 1] != 0;
    let text = &data[start..];
    (shortest && usize::try_from(length) == Ok(text.len()) && std::str::from_utf8(text).is_ok()).then_some(text)
}

fn read_exact(kind: &Kind, typed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (tag, value) = (typed[1], &typed[2..]);
    let mut put = |number: i64| out.extend_from_slice(varint::encode(number).as_slice());
    match kind {
        Kind::Avro => return None,
        Kind::Boolean if tag == 2 && matches!(value, [0 | 1]) => out.extend_from_slice(value),
        Kind::Int if tag == 5 => put(i64::from(i32::from_be_bytes(value.try_into().ok()?))),
        Kind::Date if tag == 9 => put(i64::from(i32::from_be_bytes(value.try_into().ok()?)) - EPOCH_DAY),
        Kind::Long if tag == 1 => put(i64::from_be_bytes(value.try_into().ok()?)),
        Kind::TimestampMs if tag == 7 => put(i64::from_be_bytes(value.try_into().ok()?)),
        Kind::Double if tag == 4 => {
            let bytes: [u8; 8] = value.try_into().ok()?;
            out.extend_from_slice(&f64::from_be_bytes(bytes).to_bits().to_le_bytes());
        }
        Kind::Float if tag == 4 => {
            let wide = f64::from_be_bytes(value.try_into().ok()?);
            let narrow = wide as f32;
            // A double that another client wrote may not fit a float exactly.
            if f64::from(narrow).to_bits() != wide.to_bits() {
                return None;
            }
            out.extend_from_slice(&narrow.to_le_bytes());
        }
        Kind::Text if tag == 8 => {
            varint::push_length(out, value.len());
            out.extend_from_slice(value);
        }
        Kind::Enum(symbols) if tag == 8 => put(symbols.iter().position(|symbol| **symbol == *value)? as i64),
        _ => return None,
    }
    Some(())
}

/// Reads `{"avro":"<base64>"}`, with a space where other writers put one.
fn read_avro(typed: &[u8], out: &mut Vec<u8>) -> Result<(), Unexpected> {
    fn past<'a>(rest: &'a [u8], word: &[u8], space_first: bool) -> Option<&'a [u8]> {
        let rest = if space_first { rest.strip_prefix(b" ").unwrap_or(rest) } else { rest };
        rest.strip_prefix(word)
    }
    let body = past(&typed[2..], b"{", false)
        .and_then(|rest| past(rest, b"\"avro\"", true))
        .and_then(|rest| past(rest, b":", true))
        .and_then(|rest| past(rest, b"\"", true))
        .and_then(|rest| rest.strip_suffix(b"}"))
        .map(|rest| rest.strip_suffix(b" ").unwrap_or(rest))
        .and_then(|rest| rest.strip_suffix(b"\""))
        .ok_or(Unexpected)?;
    STANDARD.decode_append(body, out).map_err(|_| Unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(kind: Kind, null_branch: Option<u8>) -> Slot {
        Slot { leased: false, kind, null_branch, hides_null: false, fingerprint: [0; 8], context: Box::new([]), bind: Box::new([]) }
    }

    fn round(slot: &Slot, value: &[u8]) -> Vec<u8> {
        let (mut typed, mut back) = (Vec::new(), Vec::new());
        write(slot, value, &mut typed);
        read(slot, &typed, &mut back).unwrap();
        assert_eq!(back, value);
        typed
    }

    #[test]
    fn exact_types_are_carried_by_their_own() {
        assert_eq!(round(&slot(Kind::Text, None), b"\x04hi"), b"\x01\x08hi");
        assert_eq!(round(&slot(Kind::Int, Some(0)), b"\x02\x03"), b"\x01\x05\xff\xff\xff\xfe");
        assert_eq!(round(&slot(Kind::Date, None), b"\x00")[..2], *b"\x01\x09");
        assert_eq!(round(&slot(Kind::Boolean, None), b"\x01"), b"\x01\x02\x01");
        assert_eq!(round(&slot(Kind::Enum(Box::new([b"A".as_slice().into(), b"B".as_slice().into()])), None), b"\x02"), b"\x01\x08B");
    }

    #[test]
    fn all_else_comes_back_byte_for_byte() {
        for (kind, value) in [
            (Kind::Text, &b"\x84\x00hi"[..]),
            (Kind::Text, b"\x02\xff"),
            (Kind::Long, b"\x80\x00"),
            (Kind::Double, &f64::NAN.to_le_bytes()),
            (Kind::Avro, b"anything"),
        ] {
            assert!(round(&slot(kind, None), value).starts_with(b"\x01\x0b"));
        }
    }

    #[test]
    fn another_type_is_refused() {
        let mut out = Vec::new();
        for typed in [&b"\x01\x08x"[..], b"\x01", b"", b"\x02\x05\0\0\0\0", b"\x01\x0b{\"avro\":\"!\"}", b"\x01\x05\0\0\0"] {
            assert_eq!(read(&slot(Kind::Int, None), typed, &mut out), Err(Unexpected));
        }
    }
}
