//! Binary forms: varints, frames, envelopes, typed plaintext.

use super::kind;

pub mod varint {
    use super::kind;
    use _native::varint::{encode, read};

    pub fn examples() -> Vec<Vec<u8>> {
        [0, -1, 64, i64::from(i32::MAX), i64::MAX, i64::MIN].map(|number| encode(number).as_slice().to_vec()).into()
    }

    pub fn run(input: &[u8]) -> u64 {
        let found = read(input, 0);
        if let Some((value, end)) = found {
            assert!((1..=10).contains(&end) && end <= input.len());
            let shortest = encode(value);
            assert!(shortest.as_slice().len() <= end);
            assert_eq!(read(shortest.as_slice(), 0), Some((value, shortest.as_slice().len())));
        }
        assert_eq!(read(input, input.len()), None);
        kind(found.map(|(value, end)| (value.signum(), end)))
    }
}

pub mod frame {
    use super::kind;
    use _native::kafka::batch::{Batch, Part};
    use _native::kafka::chunk::{Chunk, Place, Span};

    /// Values behind lengths of one byte.
    pub fn examples() -> Vec<Vec<u8>> {
        let guid = [&[17u8, 1][..], &[7; 16]].concat();
        vec![b"\x05\0\0\0\0\x07\x06\0\0\0\0\x07x\x01\0".to_vec(), [&guid[..], &guid].concat(), b"\0\x05\0\0\0\0\x08".to_vec()]
    }

    pub fn run(input: &[u8]) -> u64 {
        let (mut chunk, mut rest) = (Chunk::default(), input);
        chunk.places.push(Place { topic: "t".into(), partition: 0 });
        while let Some((&length, behind)) = rest.split_first() {
            let (value, behind) = behind.split_at(usize::from(length).min(behind.len()));
            rest = behind;
            let value = chunk.push((length != 0xff).then_some(value));
            chunk.values.push(value);
            chunk.keys.push(Span::NONE);
            chunk.offsets.push(chunk.offsets.len() as i64);
            chunk.stamps.push((0, 0));
            chunk.at.push(0);
        }
        let batch = Batch::of(chunk);
        let found = batch.frames(Part::Value, "schema");
        let mut places: Vec<usize> = found.groups.iter().flat_map(|(_, members)| members.iter().copied()).collect();
        for (head, members) in &found.groups {
            assert!(members.iter().all(|&i| batch.part(Part::Value, i).is_some_and(|value| value.starts_with(head))));
        }
        places.extend(found.named.iter().chain(&found.bare).chain(&found.absent));
        places.sort_unstable();
        assert!(places.into_iter().eq(0..batch.len()), "each record is in one group");
        kind((found.groups.len().min(4), found.bare.len().min(2), found.absent.len().min(2)))
    }
}

pub mod leased_envelope {
    use super::kind;
    use _native::aead::{Cipher, TAIL_BYTES};
    use _native::envelope::{leased_header_end, parse_leased, push_leased, Lease};
    use _native::varint;

    pub fn sealed(tag: &[u8], descriptor: &[u8], value: &[u8]) -> Vec<u8> {
        let lease = Lease::new(Cipher::leased(&[7; 32]).unwrap(), &[1; 16], &[2; 16], tag, descriptor).unwrap();
        let header = lease.header(&[4; 8]);
        let mut out = Vec::new();
        push_leased(&mut out, &lease.cipher, header.len(), &header, &[5; 12], value).unwrap();
        let start = varint::read(&out, 0).unwrap().1;
        out.split_off(start)
    }

    pub fn examples() -> Vec<Vec<u8>> {
        vec![sealed(&[3; 32], b"a/b", b"value"), sealed(b"", b"a", b""), sealed(&[3; 255], &[b'a'; 255], &[0; 40])]
    }

    pub fn run(input: &[u8]) -> u64 {
        let end = leased_header_end(input);
        let header = end.map(|end| {
            assert!(end + TAIL_BYTES <= input.len());
            parse_leased(&input[..end])
        });
        if let Some(Some(header)) = &header {
            let back = [
                &[1, 0],
                &header.keyset[..],
                &header.iv[..],
                &[header.tag.len() as u8],
                header.tag,
                &[header.descriptor.len() as u8],
                header.descriptor.as_bytes(),
                &header.fingerprint[..],
            ];
            assert_eq!(back.concat(), input[..end.unwrap()], "a header has one way to be written");
        }
        kind(header.map(|header| header.map(|header| (header.tag.len() / 64, header.descriptor.len() / 64))))
    }
}

pub mod record_envelope {
    use super::kind;
    use _native::aead::{NONCE_BYTES, TAG_BYTES};
    use _native::envelope::{parse_record, KeyLabel, RecordSealer};
    use _native::varint;

    pub fn sealed(tag: &[u8], descriptor: &[u8], typed: &[u8]) -> Vec<u8> {
        let label = KeyLabel { iv: &[1; 16], tag, descriptor, keyset: &[3; 16], policy: b"" };
        let mut out = Vec::new();
        RecordSealer::new().push(&mut out, &[9; 32], &label, typed).unwrap();
        let start = varint::read(&out, 0).unwrap().1;
        out.split_off(start)
    }

    pub fn examples() -> Vec<Vec<u8>> {
        let without = [&sealed(&[2; 32], b"a/b", b"\x01\x08x")[..]].concat();
        let without = [&without[..without.len() - 18], &[0xc0]].concat();
        vec![sealed(&[2; 32], b"a/b", b"\x01\x08ann"), sealed(&[2; 300], &[b'a'; 40], &[0; 300]), without]
    }

    pub fn run(input: &[u8]) -> u64 {
        let record = parse_record(input);
        if let Some(record) = &record {
            assert!(record.iv.len() >= NONCE_BYTES && record.ciphertext.len() >= TAG_BYTES);
            // Of one that names its keyset the encoding is known: sealed anew under any key it has this length.
            if let Some(keyset) = record.keyset {
                let (tag, descriptor) = (record.tag, record.descriptor.as_bytes());
                let label = KeyLabel { iv: record.iv, tag, descriptor, keyset, policy: b"" };
                let (mut out, typed) = (Vec::new(), vec![0; record.ciphertext.len() - TAG_BYTES]);
                RecordSealer::new().push(&mut out, &[9; 32], &label, &typed).unwrap();
                let start = varint::read(&out, 0).unwrap().1;
                assert_eq!(out.len() - start, input.len(), "an envelope has one way to be written");
            }
        }
        kind(record.map(|r| (r.ciphertext.len() / 128, r.tag.len() / 128, r.descriptor.len() / 32, r.keyset.is_some())))
    }
}

pub mod typed_plaintext {
    use super::kind;
    use _native::program::{Kind, Slot};
    use _native::typed::{read, write};

    /// The first byte chooses the type and whether it is a union with null.
    fn slot(choice: u8) -> Slot {
        let kind = match choice % 10 {
            0 => Kind::Boolean,
            1 => Kind::Int,
            2 => Kind::Long,
            3 => Kind::Float,
            4 => Kind::Double,
            5 => Kind::Text,
            6 => Kind::Enum([Box::from(&b"NEW"[..]), Box::from(&b"OLD"[..])].into()),
            7 => Kind::Date,
            8 => Kind::TimestampMs,
            _ => Kind::Avro,
        };
        let null_branch = [None, Some(0), Some(1)][usize::from(choice / 10 % 3)];
        let hides_null = choice / 30 % 2 == 1;
        Slot { leased: false, kind, null_branch, hides_null, fingerprint: [0; 8], context: [].into(), bind: [].into() }
    }

    pub fn examples() -> Vec<Vec<u8>> {
        let values: [&[u8]; 4] = [b"\x01", b"\x06ann", b"\0\0\xc0\x3f", b"\0\0\0\0\0\0\xf8\x3f"];
        let written = (0..60u8).flat_map(|choice| values.map(|value| (choice, value.to_vec())));
        let typed = written.map(|(choice, value)| {
            let mut out = vec![choice];
            write(&slot(choice), &value, &mut out);
            out
        });
        typed.collect()
    }

    pub fn run(input: &[u8]) -> u64 {
        let Some((&choice, typed)) = input.split_first() else { return 0 };
        let (slot, mut avro) = (slot(choice), b"before".to_vec());
        let outcome = read(&slot, typed, &mut avro);
        if outcome.is_ok() {
            let (mut again, mut back) = (Vec::new(), Vec::new());
            write(&slot, &avro[6..], &mut again);
            assert_eq!(read(&slot, &again, &mut back), Ok(()), "what was read can be written and read");
            assert_eq!(back, avro[6..]);
        }
        kind((choice % 60, outcome.is_ok(), typed.get(1).map(|tag| tag % 16)))
    }
}
