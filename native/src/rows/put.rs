//! One value as a column of its form.

use super::{Field, Form, Kind, Refused, Step};
use crate::varint;

/// The length of what is null.
pub const ABSENT: i32 = -1;

/// Appends what a datum has at a place, where the field has a column; returns what is behind it.
pub fn value(field: &Field, datum: &[u8], at: usize, out: &mut Vec<u8>) -> Step<usize> {
    let stretch = |start: usize, len: usize| {
        let end = start.checked_add(len).ok_or(Refused)?;
        Ok((datum.get(start..end).ok_or(Refused)?, end))
    };
    let form = field.form;
    match &field.kind {
        Kind::Boolean => {
            let (data, end) = stretch(at, 1)?;
            match form {
                None => {}
                Some(Form::Boolean) if data[0] < 2 => sized(data, out)?,
                Some(_) => return Err(Refused),
            }
            Ok(end)
        }
        Kind::Number => {
            let (number, end) = varint::read(datum, at).ok_or(Refused)?;
            if let Some(form) = form {
                let start = open(out);
                whole(form, number, out)?;
                close(start, out)?;
            }
            Ok(end)
        }
        Kind::Float => {
            let (data, end) = stretch(at, 4)?;
            let number = f32::from_le_bytes(data.try_into().map_err(|_| Refused)?);
            match form {
                None => {}
                Some(Form::Float) => sized(&number.to_be_bytes(), out)?,
                Some(Form::Double) => sized(&f64::from(number).to_be_bytes(), out)?,
                Some(_) => return Err(Refused),
            }
            Ok(end)
        }
        Kind::Double => {
            let (data, end) = stretch(at, 8)?;
            match form {
                None => {}
                Some(Form::Double) => {
                    sized(&f64::from_le_bytes(data.try_into().map_err(|_| Refused)?).to_be_bytes(), out)?;
                }
                Some(_) => return Err(Refused),
            }
            Ok(end)
        }
        Kind::Sized => {
            let (len, start) = varint::read(datum, at).ok_or(Refused)?;
            let (data, end) = stretch(start, usize::try_from(len).map_err(|_| Refused)?)?;
            bytes(form, data, out)?;
            Ok(end)
        }
        Kind::Fixed(len) => {
            let (data, end) = stretch(at, *len)?;
            bytes(form, data, out)?;
            Ok(end)
        }
        Kind::Symbols(symbols) => {
            let (number, end) = varint::read(datum, at).ok_or(Refused)?;
            let symbol = usize::try_from(number).ok().and_then(|number| symbols.get(number)).ok_or(Refused)?;
            match form {
                None => {}
                Some(Form::Text) => sized(symbol.as_bytes(), out)?,
                Some(_) => return Err(Refused),
            }
            Ok(end)
        }
    }
}

fn bytes(form: Option<Form>, data: &[u8], out: &mut Vec<u8>) -> Step<()> {
    match form {
        None => Ok(()),
        Some(Form::Bytes) => sized(data, out),
        Some(Form::Text) => sized(text(data)?.as_bytes(), out),
        Some(Form::Uuid) => sized(&uuid(data)?, out),
        Some(_) => Err(Refused),
    }
}

/// Appends a whole number.
pub fn whole(form: Form, number: i64, out: &mut Vec<u8>) -> Step<()> {
    let Form::Whole { width, factor, offset, low, high } = form else { return Err(Refused) };
    let number = number.checked_mul(factor).and_then(|number| number.checked_add(offset)).ok_or(Refused)?;
    if !(low..=high).contains(&number) || !matches!(width, 2 | 4 | 8) {
        return Err(Refused);
    }
    out.extend_from_slice(&number.to_be_bytes()[8 - width..]);
    Ok(())
}

/// A text without zeros, which PostgreSQL has no place for.
pub fn text(data: &[u8]) -> Step<&str> {
    std::str::from_utf8(data).ok().filter(|text| !text.as_bytes().contains(&0)).ok_or(Refused)
}

/// Digits with at most a sign before them.
pub fn number(text: &str) -> Step<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 40 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused);
    }
    text.parse().map_err(|_| Refused)
}

/// A uuid in its usual form.
fn uuid(data: &[u8]) -> Step<[u8; 16]> {
    let mut out = [0; 16];
    let mut digits = 0;
    if data.len() != 36 {
        return Err(Refused);
    }
    for (place, &byte) in data.iter().enumerate() {
        if matches!(place, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return Err(Refused);
            }
            continue;
        }
        let digit = char::from(byte).to_digit(16).ok_or(Refused)? as u8;
        out[digits / 2] |= if digits % 2 == 0 { digit << 4 } else { digit };
        digits += 1;
    }
    Ok(out)
}

/// Appends bytes behind their length.
pub fn sized(data: &[u8], out: &mut Vec<u8>) -> Step<()> {
    out.extend_from_slice(&i32::try_from(data.len()).map_err(|_| Refused)?.to_be_bytes());
    out.extend_from_slice(data);
    Ok(())
}

/// Leaves room for the length of what is appended until `close`.
pub fn open(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len()
}

pub fn close(start: usize, out: &mut [u8]) -> Step<()> {
    let size = i32::try_from(out.len() - start).map_err(|_| Refused)?;
    out[start - 4..start].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_uuids_are_whole_or_refused() {
        let narrow = Form::Whole { width: 2, factor: 1000, offset: 1, low: -5, high: 3000 };
        let mut out = Vec::new();
        assert_eq!(whole(narrow, 2, &mut out), Ok(()));
        assert_eq!((out, whole(narrow, 3, &mut Vec::new())), (vec![0x07, 0xd1], Err(Refused)));
        assert_eq!(uuid(b"00112233-4455-6677-8899-AABBCCDDEEFf").map(|found| (found[0], found[15])), Ok((0, 0xff)));
        assert_eq!(uuid(b"00112233-4455-6677-8899-AABBCCDDEEFg"), Err(Refused));
    }
}
