//! Values of one token as JSON.

use std::io::Write;

use crate::walk::Refused;

/// Appends a number as JSON.
pub fn whole(number: i64, out: &mut Vec<u8>) {
    // Nothing that is written to memory fails.
    let _ = serde_json::to_writer(out, &number);
}

/// Appends a real number as JSON: what it has no number for as a text.
pub fn real(number: f64, out: &mut Vec<u8>) {
    if number.is_finite() {
        let _ = serde_json::to_writer(out, &number);
    } else {
        let word: &[u8] = if number.is_nan() {
            b"\"NaN\""
        } else if number > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        };
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
pub fn is_uuid(data: &[u8]) -> bool {
    data.len() == 36
        && data.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// The number of an unscaled value as Python's `Decimal` writes it; one of more than 128 bits is the twin's.
pub fn decimal(data: &[u8], scale: i64, out: &mut Vec<u8>) -> Result<(), Refused> {
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
}
