//! A body as it is sent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Formatter};

use base64_simd::{Out, STANDARD};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Asked, Wanted, TAG};
use crate::lock::Locks;
use crate::shuffle::{Block, BLOCK};

const DESCRIPTOR_BYTES: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    client_id: &'a RawValue,
    #[serde(borrow, default, alias = "dataset_id")]
    keyset_id: Option<&'a RawValue>,
    #[serde(borrow)]
    keys: Vec<Made<'a>>,
    #[serde(borrow)]
    unverified_context: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Made<'a> {
    #[serde(borrow, alias = "id")]
    iv: Cow<'a, str>,
    #[serde(borrow)]
    descriptor: Cow<'a, str>,
    #[serde(borrow)]
    context: &'a RawValue,
    #[serde(default, deserialize_with = "not_null")]
    tag: Option<[u8; TAG]>,
    #[serde(default, deserialize_with = "not_null")]
    tag_version: Option<u8>,
    decryption_policy: Option<IgnoredAny>,
}

fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Reads a body; `tagged` says whether each key has to have a tag, or none may. `None` leaves it to the twin. Of more than
/// `most` keys, which will be refused, no context is read.
pub fn read(body: &[u8], tagged: bool, most: usize) -> Option<Asked> {
    // Checked once as a whole, and not string by string.
    let body: Body<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let (mut descriptors, mut contexts) = (Distinct::default(), Distinct::default());
    let mut wanted = Vec::with_capacity(body.keys.len());
    let mut counts: Vec<usize> = Vec::new();
    for key in &body.keys {
        let is_odd = key.decryption_policy.is_some() || key.tag_version.unwrap_or(0) != 0 || key.descriptor.len() > DESCRIPTOR_BYTES;
        if is_odd || key.tag.is_some() != tagged || (key.tag_version.is_some() && !tagged) {
            return None;
        }
        let descriptor = descriptors.place(&key.descriptor);
        counts.resize(counts.len().max(descriptor as usize + 1), 0);
        counts[descriptor as usize] += 1;
        wanted.push(Wanted {
            iv: iv(&key.iv)?,
            tag: key.tag.unwrap_or([0; TAG]),
            descriptor,
            context: contexts.place(key.context.get()),
        });
    }
    let mut locks = Locks::default();
    if wanted.len() <= most {
        contexts.held.into_iter().try_for_each(|context| locks.read(context))?;
    }
    Some(Asked {
        head: head(&body),
        descriptors: descriptors.held.into_iter().map(str::to_owned).zip(counts).collect(),
        locks,
        wanted,
    })
}

/// A body without its keys, and each key as it was written, for the twin; `None` where it is no object.
pub fn split(body: &[u8]) -> Option<(Vec<u8>, Vec<&[u8]>)> {
    let Entries(entries) = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let (mut head, mut keys) = (b"{".to_vec(), None);
    for (name, value) in &entries {
        if head.len() > 1 {
            head.push(b',');
        }
        serde_json::to_writer(&mut head, name).ok()?;
        head.push(b':');
        // Whatever else stands there, or stands there twice, is the twin's to judge.
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(found) if name == "keys" && keys.is_none() => {
                keys = Some(found);
                head.extend_from_slice(b"[]");
            }
            _ => head.extend_from_slice(value.get().as_bytes()),
        }
    }
    head.push(b'}');
    Some((head, keys.unwrap_or_default().iter().map(|key| key.get().as_bytes()).collect()))
}

struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

fn iv(text: &str) -> Option<Block> {
    let mut iv = [0; BLOCK];
    let mut room = [0; BLOCK + 2];
    if text.len() != 24 {
        return None;
    }
    let decoded = STANDARD.decode(text.as_bytes(), Out::from_slice(&mut room)).ok()?;
    (decoded.len() == BLOCK).then(|| iv.copy_from_slice(decoded))?;
    Some(iv)
}

fn head(body: &Body<'_>) -> Vec<u8> {
    let keyset = body.keyset_id.map_or("null", RawValue::get);
    let (client, said) = (body.client_id.get(), body.unverified_context.get());
    format!(r#"{{"client_id":{client},"keyset_id":{keyset},"keys":[],"unverified_context":{said}}}"#).into_bytes()
}

/// Texts in the order of their first appearance.
#[derive(Default)]
struct Distinct<'a> {
    held: Vec<&'a str>,
    places: HashMap<&'a str, u32>,
    last: Option<(&'a str, u32)>,
}

impl<'a> Distinct<'a> {
    fn place(&mut self, text: &'a str) -> u32 {
        if let Some((held, place)) = self.last {
            if held == text {
                return place;
            }
        }
        let held = &mut self.held;
        let place = *self.places.entry(text).or_insert_with(|| {
            held.push(text);
            held.len() as u32 - 1
        });
        self.last = Some((text, place));
        place
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{body, PLAIN};
    use super::*;

    #[test]
    fn what_is_equal_is_held_once() {
        let other = PLAIN.replace("[]", r#"[{"Tag":"t"}]"#).replace("\"d\"", "\"e\"");
        let asked = read(body(&[PLAIN, &other, PLAIN]).as_bytes(), false, 9).unwrap();
        assert_eq!(asked.descriptors, [("d".to_owned(), 2), ("e".to_owned(), 1)]);
        assert_eq!(asked.locks.iter().map(|lock| lock.written()).collect::<Vec<_>>(), [b"[]".to_vec(), br#"[{"Tag":"t"}]"#.to_vec()]);
        assert_eq!(asked.head, br#"{"client_id":"c","keyset_id":null,"keys":[],"unverified_context":{"a":1}}"#);
    }

    #[test]
    fn keys_that_are_left_to_the_twin_are_split() {
        let text = body(&["1", r#"{"iv":[ ]}"#]);
        let (head, keys) = split(text.as_bytes()).unwrap();
        assert_eq!(head, body(&[]).as_bytes());
        assert_eq!(keys, [&b"1"[..], br#"{"iv":[ ]}"#]);
        let (head, keys) = split(br#"{"keys": 1, "keys":[2], "more":{"a":[]}}"#).unwrap();
        assert_eq!((&head[..], keys.len()), (&br#"{"keys":1,"keys":[],"more":{"a":[]}}"#[..], 1));
        assert_eq!(split(br#"{"keys":[1],"keys":[2]}"#).unwrap().0, br#"{"keys":[],"keys":[2]}"#);
        assert!(split(text.replace("[ ]", "[").as_bytes()).is_none());
        assert!(split(b"[]").is_none());
    }

    #[test]
    fn what_is_odd_is_left() {
        let tagged = PLAIN.replace('}', &format!(r#","tag":{:?}}}"#, [1; 32]));
        assert!(read(body(&[&tagged]).as_bytes(), true, 9).is_some());
        for (items, retrieves) in [
            (vec![PLAIN.replace("\"d\"", "1")], false),
            (vec![PLAIN.replace("AAAA==", "AAA=")], false),
            (vec![PLAIN.replace("AA==", "AB==")], false),
            (vec![PLAIN.replace('}', r#","decryption_policy":{}}"#)], false),
            (vec![PLAIN.replace('}', r#","tag_version":0}"#)], false),
            (vec![PLAIN.replace('}', r#","tag_version":null}"#)], false),
            (vec![PLAIN.replace('}', r#","tag":null}"#)], false),
            (vec![tagged.replace('}', r#","tag_version":null}"#)], true),
            (vec![PLAIN.replace('}', r#","more":0}"#)], false),
            (vec![PLAIN.replace("[]", "[{}]")], false),
            (vec![PLAIN.replace('}', r#","id":"AAAAAAAAAAAAAAAAAAAAAA=="}"#)], false),
            (vec![PLAIN.replace("\"d\"", &format!("{:?}", "d".repeat(513)))], false),
            (vec![tagged.clone()], false),
            (vec![PLAIN.to_owned()], true),
            (vec![tagged.replace("[1, 1", "[1")], true),
            (vec![tagged.replace('}', r#","tag_version":1}"#)], true),
        ] {
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            assert!(read(body(&items).as_bytes(), retrieves, 9).is_none(), "{items:?}");
        }
        let many = read(body(&[PLAIN; 10]).as_bytes(), false, 9).unwrap();
        assert_eq!((many.len(), many.locks.len()), (10, 0));
        assert!(read(body(&[]).replace(r#","unverified_context":{"a":1}"#, "").as_bytes(), false, 9).is_none());
    }
}
