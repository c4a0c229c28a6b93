//! Records as rows with COPY's head and tail.

use std::collections::HashMap;

use super::put::{close, number, open, sized, text, value, whole, ABSENT};
use super::{Beside, Form, Record, Refused, Shape, Step};
use crate::varint;

const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TAIL: i16 = -1;

/// The rows with COPY's head and tail, and where there are keys the places of the records that are in it.
pub fn copied<'a>(shape: &Shape, records: impl Iterator<Item = Record<'a>> + Clone) -> Step<(Vec<u8>, Vec<u32>)> {
    let mut out = Vec::with_capacity(HEAD.len());
    out.extend_from_slice(HEAD);
    let own = shape.fields.iter().filter(|field| field.form.is_some()).count();
    let mut kept = Vec::new();
    match &shape.beside {
        Beside::Coordinates(forms) => {
            let columns = i16::try_from(own + forms.len()).map_err(|_| Refused)?;
            for record in records {
                out.extend_from_slice(&columns.to_be_bytes());
                row(shape, record.datum, &mut out)?;
                coordinates(forms, &record, &mut out)?;
            }
        }
        Beside::Key(form) => {
            let columns = i16::try_from(own + 1).map_err(|_| Refused)?;
            let keys = keys(*form, records.clone())?;
            let last: HashMap<&[u8], usize> =
                keys.iter().enumerate().map(|(place, key)| (key.as_slice(), place)).collect();
            for (place, (key, record)) in keys.iter().zip(records).enumerate() {
                if last[key.as_slice()] != place {
                    continue;
                }
                // A tombstone deletes, which is not COPY's to do.
                let datum = Some(record.datum.ok_or(Refused)?);
                kept.push(place as u32);
                out.extend_from_slice(&columns.to_be_bytes());
                sized(key, &mut out)?;
                row(shape, datum, &mut out)?;
            }
        }
    }
    out.extend_from_slice(&TAIL.to_be_bytes());
    Ok((out, kept))
}

fn keys<'a>(form: Form, records: impl Iterator<Item = Record<'a>>) -> Step<Vec<Vec<u8>>> {
    let key = |record: Record<'a>| {
        // What begins with a zero is framed, and no text.
        let key = record.key.filter(|key| key.first() != Some(&0)).ok_or(Refused)?;
        let mut out = Vec::with_capacity(key.len().max(8));
        match form {
            Form::Whole { .. } => whole(form, number(text(key)?)?, &mut out)?,
            Form::Text => out.extend_from_slice(text(key)?.as_bytes()),
            _ => return Err(Refused),
        }
        Ok(out)
    };
    records.map(key).collect()
}

fn row(shape: &Shape, datum: Option<&[u8]>, out: &mut Vec<u8>) -> Step<()> {
    let Some(datum) = datum else {
        for _ in shape.fields.iter().filter(|field| field.form.is_some()) {
            out.extend_from_slice(&ABSENT.to_be_bytes());
        }
        return Ok(());
    };
    let mut at = 0;
    for field in &shape.fields {
        if let Some(branches) = &field.branches {
            let (branch, behind) = varint::read(datum, at).ok_or(Refused)?;
            at = behind;
            let is_null = *usize::try_from(branch).ok().and_then(|branch| branches.get(branch)).ok_or(Refused)?;
            if is_null {
                if field.form.is_some() {
                    out.extend_from_slice(&ABSENT.to_be_bytes());
                }
                continue;
            }
        }
        at = value(field, datum, at, out)?;
    }
    if at == datum.len() {
        Ok(())
    } else {
        Err(Refused)
    }
}

fn coordinates(forms: &[Form; 4], record: &Record<'_>, out: &mut Vec<u8>) -> Step<()> {
    if forms[0] != Form::Text {
        return Err(Refused);
    }
    sized(text(record.topic.as_bytes())?.as_bytes(), out)?;
    for (form, number) in forms[1..].iter().zip([Some(i64::from(record.partition)), Some(record.offset), record.at_ms])
    {
        match number {
            None => out.extend_from_slice(&ABSENT.to_be_bytes()),
            Some(number) => {
                let start = open(out);
                whole(*form, number, out)?;
                close(start, out)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Field, Kind};
    use super::*;

    const INT4: Form = Form::Whole { width: 4, factor: 1, offset: 0, low: i32::MIN as i64, high: i32::MAX as i64 };
    const INT8: Form = Form::Whole { width: 8, factor: 1, offset: 0, low: i64::MIN, high: i64::MAX };

    fn shape(beside: Beside) -> Shape {
        let nullable: Option<Box<[bool]>> = Some([true, false].into());
        let fields = [
            Field { branches: None, kind: Kind::Number, form: None },
            Field { branches: nullable, kind: Kind::Sized, form: Some(Form::Text) },
        ];
        Shape { fields: fields.into(), beside }
    }

    fn record<'a>(key: &'a [u8], datum: Option<&'a [u8]>, offset: i64) -> Record<'a> {
        Record { key: Some(key), datum, topic: "t", partition: 3, offset, at_ms: None }
    }

    #[test]
    fn rows_carry_their_coordinates() {
        let shape = shape(Beside::Coordinates([Form::Text, INT4, INT8, INT8]));
        let records = [record(b"", Some(b"\x02\x02\x02x"), 7), record(b"", None, 8)];
        let (data, kept) = copied(&shape, records.iter().map(again)).unwrap();
        let mut wanted = HEAD.to_vec();
        for (text, offset) in [(&b"\0\0\0\x01x"[..], 7), (&b"\xff\xff\xff\xff"[..], 8u8)] {
            wanted.extend_from_slice(b"\0\x05");
            wanted.extend_from_slice(text);
            wanted.extend_from_slice(b"\0\0\0\x01t\0\0\0\x04\0\0\0\x03\0\0\0\x08\0\0\0\0\0\0\0");
            wanted.push(offset);
            wanted.extend_from_slice(b"\xff\xff\xff\xff");
        }
        wanted.extend_from_slice(b"\xff\xff");
        assert_eq!((data, kept.is_empty()), (wanted, true));
    }

    #[test]
    fn the_last_row_of_a_key_counts() {
        let shape = shape(Beside::Key(INT8));
        let records = [record(b"1", Some(b"\0\0"), 0), record(b"2", Some(b"\0\0"), 1), record(b"+1", Some(b"\0\0"), 2)];
        assert_eq!(copied(&shape, records.iter().map(again)).unwrap().1, [1, 2]);
    }

    #[test]
    fn what_is_not_held_exactly_is_refused() {
        let beside = || Beside::Coordinates([Form::Text, INT4, INT8, INT8]);
        for datum in
            [&b"\0\x02\x02\0"[..], b"\0\x02\x02\xff", b"\0\x04\0", b"\0\0x", b"\0\x02\x08x", b"", b"\0\x02\x01"]
        {
            assert_eq!(copied(&shape(beside()), [record(b"", Some(datum), 0)].iter().map(again)), Err(Refused));
        }
        for key in [&b""[..], b"\0x", b"1.5", b"9223372036854775808", b"\xff", b"+", b" 1"] {
            let records = [record(key, Some(b"\0\0"), 0)];
            assert_eq!(copied(&shape(Beside::Key(INT8)), records.iter().map(again)), Err(Refused));
        }
        assert_eq!(copied(&shape(Beside::Key(INT8)), [record(b"1", None, 0)].iter().map(again)), Err(Refused));
    }

    fn again<'a>(record: &Record<'a>) -> Record<'a> {
        Record { ..*record }
    }

    /// A seeded stream of bytes, so that a failure repeats.
    fn noise(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let shapes = [shape(Beside::Coordinates([Form::Text, INT4, INT8, INT8])), shape(Beside::Key(Form::Text))];
        let mut seed = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..20_000 {
            let len = (noise(&mut seed) % 12) as usize;
            let datum: Vec<u8> = (0..len).map(|_| (noise(&mut seed) % 6) as u8 * 51).collect();
            let records = [record(&datum, Some(&datum), 0)];
            for shape in &shapes {
                if let Ok((data, _)) = copied(shape, records.iter().map(again)) {
                    assert!(data.ends_with(b"\xff\xff"));
                }
            }
        }
    }
}
