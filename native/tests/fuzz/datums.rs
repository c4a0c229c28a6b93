//! Avro datums: the walk, there and back, rows of a table, and JSON.

use std::sync::Arc;

use super::kind;
use _native::aead::{leased, Cipher, Nonces};
use _native::envelope::Lease;
use _native::feed::{Feed, Leases, Singles};
use _native::keys::{KeyBatch, Labels};
use _native::open::{Opener, Source};
use _native::output::Output;
use _native::program::{Beside, Bound, Covered, Kind, Node, Program, Slot, Text, Wanting};
use _native::seal::{demands, seal, Demand, Records};
use _native::secrets::Secrets;
use _native::stretches::Stretch;
use _native::unseal;
use _native::varint::{encode, Encoded};
use _native::vault::{Granted, Key, Vault};
use _native::contexts::NONE;
use _native::walk::{Found, Scratch};

const SECRET: [u8; 32] = [9; 32];
const KEYSET: [u8; 16] = [3; 16];
const LABELS: [&str; 4] = ["a/name", "a/note", "a/mark", "a/item"];

fn framed(name: &str) -> Box<[u8]> {
    [&(name.len() as u32).to_be_bytes()[..], name.as_bytes()].concat().into()
}

fn slot(leased: bool, kind: Kind, null_branch: Option<u8>, context: &[&str], bind: &[&str]) -> Slot {
    let names = |names: &[&str]| names.iter().map(|name| framed(name)).collect();
    Slot { leased, kind, null_branch, hides_null: false, fingerprint: [6; 8], context: names(context), bind: names(bind) }
}

/// A record of `name: null | string` by `country` and bound to `id` and the key, `note: string` (a key a value),
/// `items: array<{mark: bytes, next: null | item}>`, `names: map<string>`, an enum, a fixed of 4, a boolean, a double.
fn program(sealed: bool) -> Program {
    const ITEM: u32 = 12;
    let covered = |slot: u32, plain: u32, other: u32, null: Option<(i64, i64)>| {
        let prefix = if null.is_some() && !sealed { encode(1) } else { Encoded::EMPTY };
        let null = null.map(|(plain, other)| if sealed { (other, encode(plain)) } else { (plain, encode(other)) });
        Node::Covered(Box::new(Covered { slot, node: if sealed { other } else { plain }, null, prefix, sealed }))
    };
    let nodes = vec![
        Node::Null,
        Node::Boolean,
        Node::Int,
        Node::Long,
        Node::Bytes,
        Node::Text,
        Node::Fixed(4),
        Node::Fixed(8),
        Node::Enum(3),
        Node::Union([0, 5].into()),
        Node::Union([0, 4].into()),
        Node::Union([0, ITEM].into()),
        Node::Record([13, 11].into()),
        covered(2, 4, 4, None),
        Node::Blocks { item: ITEM, keyed: false, widthless: false, rewrite: true },
        covered(0, 9, 10, Some((0, 0))),
        covered(1, 5, 4, None),
        Node::Blocks { item: 19, keyed: true, widthless: false, rewrite: true },
        Node::Blocks { item: 0, keyed: false, widthless: true, rewrite: false },
        covered(3, 5, 4, None),
        Node::Beside(Box::new(Beside {
            fields: [3, 5, 2, 8, 15, 16, 14, 17, 18, 6, 1, 7].into(),
            wanting: [
                Wanting {
                    field: 4,
                    slot: 0,
                    context: [(1, Text::Verbatim), (3, Text::Symbols(["a", "b", "c"].map(str::to_owned).into()))].into(),
                    bind: [Bound::Field(0), Bound::Key].into(),
                    repeats: false,
                },
                Wanting { field: 5, slot: 1, context: [(2, Text::Number)].into(), bind: [].into(), repeats: false },
            ]
            .into(),
            extract: [Some((1, Text::LowerCase))].into(),
        })),
    ];
    let slots = vec![
        slot(true, Kind::Text, Some(0), &["country", "state"], &["id", "$key"]),
        slot(false, Kind::Text, None, &["rank"], &[]),
        slot(true, Kind::Avro, None, &[], &[]),
        slot(false, Kind::Text, None, &[], &[]),
    ];
    Program::new(nodes, slots, 20, 1).unwrap()
}

struct One<'a>(&'a [u8]);

impl Records for One<'_> {
    fn len(&self) -> usize {
        1
    }
    fn datum(&self, _: usize) -> &[u8] {
        self.0
    }
    fn key(&self, _: usize) -> Option<&[u8]> {
        Some(b"k")
    }
}

/// What the walk found; the promises of what it takes and of what it refuses.
fn walked(program: &Program, datum: &[u8]) -> Found {
    let mut found = Found::new(program, 1);
    found.walk(program, datum, true, 1_000, &mut Scratch::default());
    assert_eq!(found.ends.len(), 1);
    assert!(found.refused.is_empty() || found.cuts.is_empty());
    let mut position = 0;
    for cut in found.cuts_of(0) {
        assert!(position <= cut.start && cut.start <= cut.end && cut.end as usize <= datum.len());
        assert!(cut.slot == NONE || (cut.start <= cut.first && cut.first <= cut.last && cut.last <= cut.end));
        position = cut.end;
    }
    found
}

fn keys(count: usize, slot: usize) -> Arc<KeyBatch> {
    let mut labels = Labels::default();
    (0..count).for_each(|_| labels.tags.push(&[1; 8]));
    labels.share(count, LABELS[slot].as_bytes(), &KEYSET, b"");
    let ivs = (0..count).map(|number| [number as u8; 16]).collect();
    Arc::new(KeyBatch::new(Secrets::of(&vec![SECRET; count]), ivs, labels).unwrap())
}

fn each(demand: &Demand) -> impl ExactSizeIterator<Item = (u32, u32)> + '_ {
    demand.contexts.iter().zip(&demand.counts).map(|(&context, &count)| (context, count as u32))
}

/// A lease for each context.
fn granted(slot: usize, demand: &Demand) -> Granted {
    let mut vault = Vault::new();
    let label = vault.label(&KEYSET, LABELS[slot].as_bytes()).unwrap();
    let numbers = (0..demand.contexts.len())
        .map(|number| vault.put(Key::new(*leased(&SECRET).unwrap(), [number as u8; 16], label), &[1; 8], 0).unwrap())
        .collect();
    vault.grant(numbers, |_| ()).unwrap()
}

fn feed<'k>(program: &Program, slot: usize, contexts: usize, demand: &Demand, granted: &'k Granted) -> Feed<'k> {
    if !program.slots[slot].leased {
        let total = demand.counts.iter().sum::<i64>();
        let mut feed = Singles::new(contexts);
        let all = Stretch { answer: 0, start: 0, count: total as u32 };
        feed.push(vec![keys(total as usize, slot)], &[all], each(demand)).unwrap();
        return Feed::Single(feed);
    }
    let mut feed = Leases::new(contexts);
    feed.push(granted, each(demand)).unwrap();
    Feed::Leased(feed)
}

fn sealed(program: &Program, found: &Found, datum: &[u8]) -> Output {
    let demands = demands(program, found, &[false]);
    let granted: Vec<_> = demands.iter().enumerate().map(|(slot, demand)| granted(slot, demand)).collect();
    let feeds = demands.iter().zip(&granted).enumerate().map(|(slot, (demand, granted))| {
        feed(program, slot, found.contexts[program.tables[slot]].len().max(1), demand, granted)
    });
    seal(program, found, &One(datum), &[false], b"", feeds.collect(), &mut Nonces::new()).unwrap()
}

/// What opens of a sealed datum, and how many of its envelopes were asked for; `None` where it is refused or shut.
fn opened(program: &Program, datum: &[u8]) -> Option<Vec<u8>> {
    let (found, mut skip) = (walked(program, datum), [false]);
    if !found.refused.is_empty() {
        return None;
    }
    let (asked, of, refused) = unseal::ask(program, &found, &One(datum), &mut skip, &LABELS.map(str::to_owned));
    if !refused.is_empty() {
        return None;
    }
    let sources = asked.requests.iter().map(|request| {
        if request.header.is_empty() {
            return Some(Source::Held(keys(256, request.slot as usize), usize::from(request.iv[0])));
        }
        let (cipher, label) = (Cipher::leased(&SECRET).unwrap(), request.descriptor.as_bytes());
        Some(Source::Lease(Arc::new(Lease::new(cipher, &KEYSET, &request.iv, &request.tag, label).unwrap())))
    });
    let framed = |slot: u32, group: u32| {
        let contexts = &found.contexts[program.tables[slot as usize]];
        ((group as usize) < contexts.len()).then(|| contexts.framed(group))
    };
    let mut opener = Opener::new(&asked, sources, framed).unwrap();
    let (output, failures) = unseal::open(program, &found, &One(datum), &mut skip, &of, &mut opener, b"").unwrap();
    failures.is_empty().then(|| output.get(0).unwrap().to_vec())
}

fn text(text: &str) -> Vec<u8> {
    [encode(text.len() as i64).as_slice(), text.as_bytes()].concat()
}

fn sound(name: Option<&str>, marks: usize, sized: bool) -> Vec<u8> {
    let items: Vec<u8> = (0..marks).flat_map(|n| [&text(&"m".repeat(n))[..], &[0]].concat()).collect();
    let mut out = [encode(7).as_slice(), &text("DE"), encode(-3).as_slice(), encode(2).as_slice()].concat();
    out.extend(name.map_or(vec![0], |name| [&[2], &text(name)[..]].concat()));
    out.extend(text("a note"));
    if marks > 0 {
        let count = marks as i64;
        out.extend_from_slice(encode(if sized { -count } else { count }).as_slice());
        if sized {
            out.extend_from_slice(encode(items.len() as i64).as_slice());
        }
        out.extend(items);
    }
    out.push(0);
    out.extend([&[2], &text("key")[..], &text("value"), &[0]].concat());
    out.extend([6, 0, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    out
}

pub mod datum {
    use super::*;

    pub fn examples() -> Vec<Vec<u8>> {
        [(Some("Ann"), 0, false), (None, 2, false), (Some(""), 3, true)].map(|(name, marks, sized)| sound(name, marks, sized)).into()
    }

    pub fn run(input: &[u8]) -> u64 {
        let (plain, back) = (program(false), program(true));
        let found = walked(&plain, input);
        if !found.refused.is_empty() {
            return kind((input.len().min(64), "refused"));
        }
        let output = sealed(&plain, &found, input);
        let restored = opened(&back, output.get(0).unwrap()).expect("what was sealed opens");
        let again = walked(&plain, &restored);
        let values = |datum: &[u8], found: &Found| -> Vec<Vec<u8>> {
            let cuts = found.cuts_of(0).iter().filter(|cut| cut.slot != NONE);
            cuts.map(|cut| datum[cut.first as usize..cut.last as usize].to_vec()).collect()
        };
        assert!(again.refused.is_empty(), "what was restored is a datum");
        assert_eq!(values(&restored, &again), values(input, &found));
        let once = sealed(&plain, &again, &restored);
        assert_eq!(opened(&back, once.get(0).unwrap()), Some(restored));
        kind((found.cuts.len(), found.contexts[0].len()))
    }
}

pub mod sealed_datum {
    use super::*;

    pub fn examples() -> Vec<Vec<u8>> {
        let plain = program(false);
        let seal = |datum: Vec<u8>| sealed(&plain, &walked(&plain, &datum), &datum).get(0).unwrap().to_vec();
        super::datum::examples().into_iter().map(seal).collect()
    }

    pub fn run(input: &[u8]) -> u64 {
        let opened = opened(&program(true), input);
        if let Some(restored) = &opened {
            assert!(walked(&program(false), restored).refused.is_empty(), "what opens is a datum");
        }
        kind(opened.map(|restored| restored.len() / 8))
    }
}

pub mod row {
    use super::*;
    use _native::rows::{copied, Beside, Field, Form, Kind, Record, Shape};

    const WHOLE: Form = Form::Whole { width: 8, factor: 1, offset: 0, low: i64::MIN, high: i64::MAX };
    const SHORT: Form = Form::Whole { width: 2, factor: 1_000, offset: 5, low: -32_768, high: 32_767 };
    const COLUMNS: usize = 9;

    fn shape(keyed: bool) -> Shape {
        let field = |kind, form| Field { branches: None, kind, form };
        let fields = [
            field(Kind::Number, Some(SHORT)),
            field(Kind::Sized, Some(Form::Text)),
            Field { branches: Some([true, false].into()), kind: Kind::Sized, form: Some(Form::Bytes) },
            field(Kind::Boolean, Some(Form::Boolean)),
            field(Kind::Symbols(["NEW".to_owned(), "OLD".to_owned()].into()), Some(Form::Text)),
            field(Kind::Float, Some(Form::Double)),
            field(Kind::Double, Some(Form::Double)),
            Field { branches: Some([false, true].into()), kind: Kind::Sized, form: Some(Form::Uuid) },
            field(Kind::Fixed(3), None),
            field(Kind::Number, Some(WHOLE)),
        ];
        let beside = if keyed { Beside::Key(WHOLE) } else { Beside::Coordinates([Form::Text, WHOLE, WHOLE, WHOLE]) };
        Shape { fields: fields.into(), beside }
    }

    pub fn examples() -> Vec<Vec<u8>> {
        let uuid = text("01234567-89ab-cdef-0123-456789abcdef");
        let tail = |branch: u8, uuid: &[u8]| {
            let mut out = vec![4];
            out.extend(text("DE"));
            out.extend([2, 6, 1, 2, 3, 1, 2]);
            out.extend([0, 0, 0xc0, 0x3f]);
            out.extend([0, 0, 0, 0, 0, 0, 0xf8, 0x3f]);
            out.push(branch);
            out.extend_from_slice(uuid);
            out.extend([7, 7, 7, 9]);
            out
        };
        vec![[&[0], &tail(0, &uuid)[..]].concat(), [&[1], &tail(2, b"")[..]].concat()]
    }

    /// The first byte chooses a table by key.
    pub fn run(input: &[u8]) -> u64 {
        let Some((&first, datum)) = input.split_first() else { return 0 };
        let keyed = first % 2 == 1;
        let record = |offset| Record { key: Some(b"+12"), datum: Some(datum), topic: "t", partition: 3, offset, at_ms: None };
        let made = copied(&shape(keyed), (0..2).map(record));
        if let Ok((data, kept)) = &made {
            // Head, then for each row its columns behind their lengths, then the tail.
            let (mut rest, mut rows) = (&data[19..], 0);
            while let Some((count, behind)) = rest.split_first_chunk::<2>() {
                rest = behind;
                let columns = i16::from_be_bytes(*count);
                if columns == -1 {
                    break;
                }
                assert_eq!(columns as usize, if keyed { COLUMNS + 1 } else { COLUMNS + 4 });
                rows += 1;
                for _ in 0..columns {
                    let (length, behind) = rest.split_first_chunk::<4>().unwrap();
                    rest = &behind[usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0)..];
                }
            }
            assert!(rest.is_empty());
            assert_eq!(rows, if keyed { 1 } else { 2 }, "of several rows of a key the last one counts");
            assert_eq!(kept.as_slice(), if keyed { &[1u32][..] } else { &[] });
        }
        kind((keyed, made.is_ok(), datum.len().min(80)))
    }
}

pub mod json {
    use super::*;
    use _native::json::{name, Logical, Writer};
    use _native::shapes::{Shape, Shapes};

    /// A record of every shape; `next` leads back to it.
    fn writer() -> Writer {
        let types = [
            Shape::Null,
            Shape::Boolean,
            Shape::Int,
            Shape::Long,
            Shape::Float,
            Shape::Double,
            Shape::Bytes,
            Shape::Text,
            Shape::Fixed(3),
            Shape::Enum([name("NEW"), name("OLD")].into()),
            Shape::Other(Logical::Date),
            Shape::Other(Logical::TimeMillis),
            Shape::Other(Logical::TimeMicros),
            Shape::Other(Logical::Timestamp(1_000, "+00:00".into())),
            Shape::Other(Logical::Uuid),
            Shape::Other(Logical::UuidBytes),
            Shape::Other(Logical::Decimal(None, 4)),
            Shape::Other(Logical::Decimal(Some(2), 9)),
            Shape::Array { item: 7, widthless: false },
            Shape::Array { item: 0, widthless: true },
            Shape::Map(2),
        ];
        let every = types.len() as u32;
        let mut shapes = Vec::from(types);
        shapes.push(Shape::Union([(0, None), (every + 1, None)].into()));
        let fields = (0..=every).map(|id| (name(&format!("f{id}")), id));
        shapes.push(Shape::Record(fields.collect()));
        Writer(Shapes::new(shapes.into(), every + 1).unwrap())
    }

    pub fn examples() -> Vec<Vec<u8>> {
        let mut out = vec![1, 2, 4, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f];
        out.extend([text("\0\u{ff}"), text("\"\n\u{e4}")].concat());
        out.extend([1, 2, 3, 2, 6, 8, 10, 12]);
        out.extend(text("01234567-89ab-cdef-0123-456789abcdef"));
        out.extend([7; 16]);
        out.extend([4, 0x30, 0x39, 0xff, 0xfe]);
        out.extend([2, 2, b'x', 0, 6, 0, 2, 2, b'k', 2, 0, 0]);
        vec![out]
    }

    pub fn run(input: &[u8]) -> u64 {
        let mut out = b"[".to_vec();
        let written = writer().write(input, &mut out);
        match written {
            Ok(()) => {
                out.push(b']');
                let read: serde_json::Value = serde_json::from_slice(&out).expect("what is written is JSON");
                assert_eq!(read[0].as_object().map(|record| record.len()), Some(22));
            }
            Err(_) => assert_eq!(out, b"["),
        }
        kind((written.is_ok(), out.len() / 8))
    }
}
