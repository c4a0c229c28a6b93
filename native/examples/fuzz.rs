//! `make fuzz-native`: every parser on damaged input, from a seed, on stable Rust. None may panic, run away, or give back
//! what it did not take.
//!
//!     cargo run --release --example fuzz -- [SECONDS] [SEED]

use std::hint::black_box;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use _native::aead::{Cipher, Nonces};
use _native::envelope::{self, KeyLabel, Lease};
use _native::open::{Asked, Opener, Place};
use _native::program::{Beside, Bound, Covered, Node, Program, Slot, Text, Wanting};
use _native::seal::{self, Records, Supply};
use _native::typed::{self, Kind};
use _native::varint::{self, Encoded};
use _native::walk::{Found, Scratch};
use _native::{answer, reply, request, unseal};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// The input with a few bytes changed, cut, repeated or made a length.
    fn damaged(&mut self, input: &[u8]) -> Vec<u8> {
        let mut data = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(data.len());
            match self.below(6) {
                0 if !data.is_empty() => data[at] ^= 1 << self.below(8),
                1 if !data.is_empty() => data[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'['][self.below(8)],
                2 => data.truncate(at),
                3 => data.insert(at, self.next() as u8),
                4 => data.splice(at..at, varint::encode(self.next() as i64).as_slice().to_vec()).for_each(drop),
                _ => {
                    let end = at + self.below(data.len() - at + 1).min(64);
                    let piece = data[at..end].to_vec();
                    data.splice(at..at, piece).for_each(drop);
                }
            }
        }
        data
    }
}

struct Datums(Vec<Vec<u8>>);

impl Records for Datums {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn datum(&self, index: usize) -> &[u8] {
        &self.0[index]
    }
    fn key(&self, _: usize) -> Option<&[u8]> {
        Some(b"key")
    }
}

fn slot(leased: bool, kind: Kind, context: bool) -> Slot {
    let name: Box<[u8]> = b"\0\0\0\x02id".as_slice().into();
    let names = || if context { Box::new([name.clone()]) as Box<[_]> } else { Box::new([]) };
    Slot { leased, kind, null_branch: None, hides_null: false, fingerprint: [7; 8], context: names(), bind: names() }
}

/// A record of a number, a text bound to it, a nullable text, and an array of records within itself.
fn program(sealed: bool) -> Program {
    let covered = |slot, node, null| {
        let null = if null { Some((0, varint::encode(0))) } else { None };
        Node::Covered(Box::new(Covered { slot, node, null, prefix: Encoded::EMPTY, sealed }))
    };
    let text = if sealed { Node::Bytes } else { Node::Text };
    let wanting = [Wanting { field: 1, slot: 0, context: [(0, Text::Number)].into(), bind: [Bound::Key].into() }];
    let beside = Beside { fields: [1, 2, 3, 6].into(), wanting: wanting.into(), extract: [].into() };
    let nodes = vec![
        Node::Beside(Box::new(beside)),
        Node::Long,
        covered(0, 4, false),
        covered(1, 5, true),
        text,
        Node::Union([7, 4].into()),
        Node::Blocks { item: 8, keyed: false, widthless: false, rewrite: true },
        Node::Null,
        Node::Record([0].into()),
    ];
    let slots = vec![slot(true, Kind::Text, true), slot(false, Kind::Text, false)];
    Program::new(nodes, slots, 0, 0).unwrap_or_else(|why| unreachable!("{why}"))
}

fn walked(program: &Program, data: &[Vec<u8>]) -> Found {
    let (mut found, mut scratch) = (Found::new(program, data.len()), Scratch::default());
    for datum in data {
        found.walk(program, datum, true, 10_000, &mut scratch);
    }
    found
}

fn lease() -> Option<Lease> {
    Lease::new(Cipher::leased(&[1; 32]).ok()?, &[2; 16], &[3; 16], &[4; 32], b"a/b").ok()
}

/// Seals what was walked over, as far as leases reach, and opens what comes out.
fn round(program: &Program, opening: &Program, data: Vec<Vec<u8>>) -> Option<()> {
    let found = walked(program, &data);
    let mut skip = vec![false; data.len()];
    for &index in &found.refused {
        skip[index as usize] = true;
    }
    let lease = std::sync::Arc::new(lease()?);
    let demands = seal::demands(program, &found, &skip);
    let records = Datums(data);
    for (index, left_out) in skip.iter_mut().enumerate() {
        *left_out |= found.cuts_of(index).iter().any(|cut| cut.slot == 1);
    }
    let leased = |demand: &seal::Demand| Supply::Leased(vec![(lease.clone(), demand.count)]);
    let supplies = vec![demands[0].iter().map(leased).collect(), vec![Supply::Single(vec![])]];
    let sealed = seal::seal(program, &found, &records, &skip, b"", supplies, &mut Nonces::new()).ok()?;
    let out: Vec<Vec<u8>> = (0..records.len()).map(|index| sealed.get(index).unwrap_or_default().to_vec()).collect();
    let again = walked(opening, &out);
    for &index in &again.refused {
        assert!(skip[index as usize], "what was sealed is not walked over");
        skip[index as usize] = true;
    }
    let out = Datums(out);
    let (asked, of, refused) = unseal::ask(opening, &again, &out, &mut skip, &["a/b".to_owned(), "a/c".to_owned()]);
    assert!(refused.is_empty(), "what was sealed is not asked for");
    let sources = asked.requests.iter().map(|_| Some(_native::open::Source::Lease(lease.clone())));
    let framed = |slot: u32, group: u32| again.groups.get(slot as usize)?.framed.get(group as usize).map(|text| &**text);
    let mut opener = Opener::new(&asked, sources, framed)?;
    let (opened, faults) = unseal::open(opening, &again, &out, &mut skip, &of, &mut opener, b"")?;
    assert!(faults.is_empty(), "what was sealed does not open");
    for (index, left_out) in skip.iter().enumerate().filter(|(_, left_out)| !**left_out) {
        // Sized blocks become plain ones on the way, so a datum with one does not come back byte for byte.
        let plain = found.cuts_of(index).iter().all(|cut| cut.slot != u32::MAX);
        assert!(*left_out || !plain || opened.get(index) == Some(records.datum(index)), "another record comes back");
    }
    Some(())
}

fn parse(random: &mut Random, seeds: &[Vec<u8>], programs: &(Program, Program)) {
    let mut input = || {
        let seed = random.below(seeds.len());
        random.damaged(&seeds[seed])
    };
    let (data, input) = ((0..3).map(|_| input()).collect::<Vec<_>>(), input());
    let count = random.below(3);
    let _ = black_box(reply::generated(&input, count).map(|read| assert_eq!(read.tags.len(), count)));
    let _ = black_box(reply::retrieved(&input, count).map(|read| assert_eq!(read.refused.len(), count)));
    for again in [false, true] {
        let _ = black_box(answer::plain(&input, again).map(|asked| assert!(!asked.ivs.is_empty())));
    }
    let _ = black_box(envelope::parse_record(&input));
    let _ = black_box(envelope::leased_header_end(&input).map(|end| envelope::parse_leased(&input[..end])));
    let _ = black_box(varint::read(&input, random.below(4)));
    let mut out = Vec::new();
    for kind in [Kind::Text, Kind::Int, Kind::Date, Kind::Float, Kind::Boolean, Kind::Avro] {
        let slot = slot(false, kind, false);
        let _ = black_box(typed::read(&slot, &input, &mut out));
        out.clear();
        typed::write(&slot, &input, &mut out);
        let mut back = Vec::new();
        assert!(typed::read(&slot, &out, &mut back).is_ok() && back == input, "a typed value does not come back");
        out.clear();
    }
    let mut asked = Asked::default();
    black_box(asked.ask(&Place::default(), 0, 0, &input));
    black_box(request::retrieves(&asked.requests, |_, _| Some(b"[]")));
    black_box(walked(&programs.1, &data));
    black_box(round(&programs.0, &programs.1, data));
}

fn seeds() -> Vec<Vec<u8>> {
    let material = "A".repeat(704);
    let label = KeyLabel { iv: &[1; 16], tag: &[2; 32], descriptor: b"a/b", keyset: &[3; 16], policy: b"" };
    let mut record = Vec::new();
    let _ = envelope::push_record(&mut record, &[9; 32], &label, b"\x01\x08hello", &mut Vec::new());
    let mut header = lease().map(|lease| lease.header(&[7; 8])).unwrap_or_default();
    header.extend_from_slice(&[5; 40]);
    vec![
        format!(r#"{{"keys":[{{"key_material":"{material}","tag":"AAE="}}]}}"#).into_bytes(),
        format!(r#"{{"keys":[{{"Ok":{{"key_material":"{material}"}}}},{{"Err":"no"}}]}}"#).into_bytes(),
        br#"{"keys":[{"decryption_policy":{"conditions":[{"claim":"sub"}]},"key_material":"","tag":""}]}"#.to_vec(),
        br#"{"client_id":"c","keys":[{"iv":"AAAAAAAAAAAAAAAAAAAAAA==","descriptor":"a/b","context":[],"tag":[1]}]}"#.to_vec(),
        record[varint::read(&record, 0).map_or(0, |(_, at)| at)..].to_vec(),
        header,
        b"\x01\x0b{\"avro\":\"AAEC\"}".to_vec(),
        b"\x02\x0aann@x\x00\x00".to_vec(),
        b"\x54\x04hi\x00\x02\x02\x02a\x00\x00\x00".to_vec(),
        b"\x54\x04hi\x00\x01\x0a\x02\x02a\x00\x00\x00".to_vec(),
    ]
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap_or(1));
    let (seconds, mut seed) = (arguments.next().unwrap_or(10), arguments.next().unwrap_or(1).max(1));
    let (seeds, programs, start) = (seeds(), (program(false), program(true)), Instant::now());
    let mut inputs = 0u64;
    while start.elapsed() < Duration::from_secs(seconds) {
        let one = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| parse(&mut Random(seed), &seeds, &programs))).is_err() {
            eprintln!("failed with seed {seed}: cargo run --release --example fuzz -- 1 {seed}");
            return ExitCode::FAILURE;
        }
        if one.elapsed() > Duration::from_secs(2) {
            eprintln!("seed {seed} takes {:?}", one.elapsed());
            return ExitCode::FAILURE;
        }
        seed = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).next();
        inputs += 1;
    }
    println!("{inputs} inputs, none of which a parser failed on");
    ExitCode::SUCCESS
}
