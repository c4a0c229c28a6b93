//! A request for data keys as the authority reads it, and its answer. The readable twin is `worker/authority/asked.py`;
//! whatever is not plainly what it expects is left to the twin, which judges it.

use std::borrow::Cow;
use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{sign, Key, HMAC_SHA256};
use base64_simd::{Out, STANDARD};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::authority::{Item, Share};
use crate::lock::{Claims, Lock};
use crate::shake::AT_ONCE;
use crate::shuffle::{Block, BLOCK, MATERIAL};

pub const NONCE: usize = 16;
const TAG: usize = 32;
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

struct Wanted {
    iv: Block,
    tag: [u8; TAG],
    descriptor: u32,
    context: u32,
}

/// The keys that one request asks for; descriptors and contexts that are equal are held once.
pub struct Asked {
    /// The body without its keys, for the twin.
    pub head: Vec<u8>,
    pub descriptors: Vec<(String, usize)>,
    /// The contexts by their numbers.
    pub locks: Vec<Lock>,
    wanted: Vec<Wanted>,
}

/// Reads a body; `tagged` says whether each key has to have a tag, or none may. `None` leaves it to the twin.
pub fn read(body: &[u8], tagged: bool) -> Option<Asked> {
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
    Some(Asked {
        head: head(&body),
        descriptors: descriptors.held.into_iter().map(str::to_owned).zip(counts).collect(),
        locks: contexts.held.into_iter().map(Lock::read).collect::<Option<_>>()?,
        wanted,
    })
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

/// What tags are made with: the keyset's own key, and its id.
pub struct Tagger {
    key: Key,
    keyset: Block,
}

impl Tagger {
    pub fn new(k_tag: &[u8], keyset: Block) -> Self {
        Self { key: Key::new(HMAC_SHA256, k_tag), keyset }
    }

    /// A tag's second half. `room` is written over.
    fn mac(&self, iv: &Block, descriptor: &[u8], nonce: &[u8], bound: &[u8], room: &mut Vec<u8>) -> Block {
        room.clear();
        for part in [&[0u8][..], &self.keyset, iv, descriptor, nonce, bound] {
            room.extend_from_slice(&(part.len() as u32).to_be_bytes());
            room.extend_from_slice(part);
        }
        half(&self.key, room)
    }
}

fn half(key: &Key, text: &[u8]) -> Block {
    let (sum, mut half) = (sign(key, text), [0; BLOCK]);
    half.copy_from_slice(&sum.as_ref()[..BLOCK]);
    half
}

/// What each context adds to the keys of an erasable keyset.
pub type Leaves<'a> = Option<&'a [&'a [u8]]>;

impl Asked {
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Keyed hashes of the distinct contexts that are not empty, ascending, as the audit has them: 16 bytes in hex. Beside
    /// them, as JSON, the contexts that only the twin can print.
    pub fn hashes(&self, secret: &[u8]) -> (Vec<String>, Vec<Vec<u8>>) {
        let key = Key::new(HMAC_SHA256, secret);
        let (mut hashes, mut left) = (Vec::with_capacity(self.locks.len()), Vec::new());
        for lock in self.locks.iter().filter(|lock| !lock.is_empty()) {
            match lock.printed() {
                Some(text) => hashes.push(half(&key, text.as_bytes())),
                None => left.push(lock.written()),
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        (hashes.iter().map(|hash| format!("{:032x}", u128::from_be_bytes(*hash))).collect(), left)
    }

    /// Numbers of the contexts that name a claim which the caller has not.
    pub fn barred(&self, claims: &Claims) -> Vec<usize> {
        (0..self.locks.len()).filter(|&number| !self.locks[number].is_met(claims)).collect()
    }

    /// The answer with one fresh key each, whose contexts are all met: `nonces` are 16 bytes a key, `leaves` what each
    /// context adds to its keys; none where the keyset is not erasable.
    pub fn generate(&self, share: &Share, tagger: &Tagger, nonces: &[u8], claims: &Claims, leaves: Leaves<'_>) -> Option<Vec<u8>> {
        if nonces.len() != self.len() * NONCE {
            return None;
        }
        let bound = self.locks.iter().map(|lock| lock.bound(claims)).collect::<Option<Vec<_>>>()?;
        let (mut answer, mut room) = (Answer::with_room(self.len()), Vec::new());
        for (wanted, nonces) in self.wanted.chunks(AT_ONCE).zip(nonces.chunks(AT_ONCE * NONCE)) {
            let mut tags = [[0; TAG]; AT_ONCE];
            for ((wanted, nonce), tag) in wanted.iter().zip(nonces.chunks_exact(NONCE)).zip(&mut tags) {
                let bound = bound.get(wanted.context as usize)?;
                tag[..NONCE].copy_from_slice(nonce);
                tag[NONCE..].copy_from_slice(&tagger.mac(&wanted.iv, self.descriptor(wanted)?, nonce, bound, &mut room));
            }
            let materials = self.materials(share, wanted.iter().zip(&tags), leaves)?;
            for (material, tag) in materials.iter().zip(&tags).take(wanted.len()) {
                answer.next(br#"{"key_material":""#);
                answer.text(material);
                answer.out.extend_from_slice(br#"","tag":""#);
                answer.text(tag);
                answer.out.extend_from_slice(br#""}"#);
            }
        }
        Some(answer.end())
    }

    /// Places of the keys whose tag is of another context, field or keyset; those of a barred context are not looked at.
    pub fn altered(&self, tagger: &Tagger, claims: &Claims) -> Option<Vec<usize>> {
        let bound: Vec<Option<Vec<u8>>> = self.locks.iter().map(|lock| lock.bound(claims)).collect();
        let (mut altered, mut room) = (Vec::new(), Vec::new());
        for (place, wanted) in self.wanted.iter().enumerate() {
            let Some(bound) = bound.get(wanted.context as usize)?.as_ref() else { continue };
            let (nonce, mac) = wanted.tag.split_at(NONCE);
            let expected = tagger.mac(&wanted.iv, self.descriptor(wanted)?, nonce, bound, &mut room);
            if verify_slices_are_equal(mac, &expected).is_err() {
                altered.push(place);
            }
        }
        Some(altered)
    }

    /// The context's number of a key.
    pub fn context(&self, place: usize) -> Option<usize> {
        self.wanted.get(place).map(|wanted| wanted.context as usize)
    }

    /// The answer with keys made again: `errors` are those that get none, by place; `fallible` says how the others are written, `leaves` as for `generate`.
    pub fn retrieve(&self, share: &Share, errors: &HashMap<usize, String>, fallible: bool, leaves: Leaves<'_>) -> Option<Vec<u8>> {
        let (before, after): (&[u8], &[u8]) =
            if fallible { (br#"{"Ok":{"key_material":""#, br#""}}"#) } else { (br#"{"key_material":""#, br#""}"#) };
        let mut answer = Answer::with_room(self.len());
        for (number, wanted) in self.wanted.chunks(AT_ONCE).enumerate() {
            let error = |at: usize| errors.get(&(number * AT_ONCE + at));
            let granted = wanted.iter().enumerate().filter(|(at, _)| error(*at).is_none());
            let materials = self.materials(share, granted.map(|(_, wanted)| (wanted, &wanted.tag)), leaves)?;
            let mut each = materials.iter();
            for at in 0..wanted.len() {
                if let Some(why) = error(at) {
                    answer.next(br#"{"Err":"#);
                    serde_json::to_writer(&mut answer.out, why).ok()?;
                    answer.out.push(b'}');
                } else {
                    answer.next(before);
                    answer.text(each.next()?);
                    answer.out.extend_from_slice(after);
                }
            }
        }
        Some(answer.end())
    }

    /// The materials of at most `AT_ONCE` keys, under the tags beside them.
    fn materials<'a>(
        &'a self,
        share: &Share,
        keys: impl Iterator<Item = (&'a Wanted, &'a [u8; TAG])>,
        leaves: Leaves<'a>,
    ) -> Option<[[u8; MATERIAL]; AT_ONCE]> {
        let item = |(wanted, tag): (&'a Wanted, &'a [u8; TAG])| {
            let secrets = leaves.map_or(Some(&[][..]), |leaves| leaves.get(wanted.context as usize).copied())?;
            Some(Item { iv: &wanted.iv, descriptor: self.descriptor(wanted)?, tag, secrets })
        };
        let items = keys.map(item).collect::<Option<Vec<_>>>()?;
        let mut made = [[0; MATERIAL]; AT_ONCE];
        share.materials(&items, &mut made);
        Some(made)
    }

    fn descriptor(&self, wanted: &Wanted) -> Option<&[u8]> {
        self.descriptors.get(wanted.descriptor as usize).map(|(text, _)| text.as_bytes())
    }
}

struct Answer {
    out: Vec<u8>,
}

impl Answer {
    fn with_room(count: usize) -> Self {
        let mut out = Vec::with_capacity(16 + count * (MATERIAL / 3 * 4 + 96));
        out.extend_from_slice(br#"{"keys":["#);
        Self { out }
    }

    fn next(&mut self, begin: &[u8]) {
        if self.out.last() == Some(&b'}') {
            self.out.push(b',');
        }
        self.out.extend_from_slice(begin);
    }

    fn text(&mut self, bytes: &[u8]) {
        STANDARD.encode_append(bytes, &mut self.out);
    }

    fn end(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"]}");
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shuffle::BLOCKS;

    fn share() -> Share {
        let identity: Block = std::array::from_fn(|i| i as u8);
        let order: [u8; BLOCKS] = std::array::from_fn(|i| i as u8);
        Share::new(&identity, &identity, &order, b"p").unwrap()
    }

    fn body(items: &[&str]) -> String {
        format!(r#"{{"client_id":"c","keyset_id":null,"keys":[{}],"unverified_context":{{"a":1}}}}"#, items.join(","))
    }

    const PLAIN: &str = r#"{"iv":"AAAAAAAAAAAAAAAAAAAAAA==","descriptor":"d","context":[]}"#;

    #[test]
    fn what_is_equal_is_held_once() {
        let other = PLAIN.replace("[]", r#"[{"Tag":"t"}]"#).replace("\"d\"", "\"e\"");
        let asked = read(body(&[PLAIN, &other, PLAIN]).as_bytes(), false).unwrap();
        assert_eq!(asked.descriptors, [("d".to_owned(), 2), ("e".to_owned(), 1)]);
        assert_eq!(asked.locks.iter().map(Lock::written).collect::<Vec<_>>(), [b"[]".to_vec(), br#"[{"Tag":"t"}]"#.to_vec()]);
        assert_eq!(asked.head, br#"{"client_id":"c","keyset_id":null,"keys":[],"unverified_context":{"a":1}}"#);
    }

    #[test]
    fn equal_contexts_have_one_hash() {
        let contexts = [r#"[{"Tag":"t"}]"#, r#"[ {"Tag":"t"} ]"#, r#"[{"Tag":"u"}]"#, r#"[{"Tag":"\u0430"}]"#, "[]"];
        let items = contexts.map(|context| PLAIN.replace("[]", context));
        let asked = read(body(&items.each_ref().map(String::as_str)).as_bytes(), false).unwrap();
        let (hashes, left) = asked.hashes(b"secret");
        assert_eq!((hashes.len(), hashes.is_sorted()), (2, true));
        assert_eq!(left, ["[{\"Tag\":\"\u{430}\"}]".as_bytes()]);
        assert_ne!(asked.hashes(b"other").0, hashes);
    }

    #[test]
    fn what_is_odd_is_left() {
        let tagged = PLAIN.replace('}', &format!(r#","tag":{:?}}}"#, [1; 32]));
        assert!(read(body(&[&tagged]).as_bytes(), true).is_some());
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
            assert!(read(body(&items).as_bytes(), retrieves).is_none(), "{items:?}");
        }
        assert!(read(body(&[]).replace(r#","unverified_context":{"a":1}"#, "").as_bytes(), false).is_none());
    }

    #[test]
    fn what_was_generated_is_retrieved_under_its_own_context_alone() {
        let (share, tagger) = (share(), Tagger::new(&[7; 32], [1; BLOCK]));
        let of = |name: &str| Claims::from([("sub".to_owned(), name.to_owned())]);
        let bound = PLAIN.replace("[]", r#"[{"IdentityClaim":"sub"}]"#);
        let asked = read(body(&[&bound]).as_bytes(), false).unwrap();
        let made = asked.generate(&share, &tagger, &[9; NONCE], &of("x"), Some(&[b"s"])).unwrap();
        let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
        let tag = STANDARD.decode_to_vec(made["keys"][0]["tag"].as_str().unwrap()).unwrap();
        let again = bound.replace("==\"", &format!(r#"==","tag":{tag:?},"tag_version":0"#));
        let again = read(body(&[&again, &again]).as_bytes(), true).unwrap();
        assert_eq!(again.altered(&tagger, &of("x")).unwrap(), Vec::<usize>::new());
        assert_eq!(again.altered(&tagger, &of("y")).unwrap(), [0, 1]);
        assert_eq!(again.altered(&tagger, &Claims::new()).unwrap(), Vec::<usize>::new());
        assert_eq!((again.barred(&of("x")), again.barred(&Claims::new())), (vec![], vec![0]));
        assert!(asked.generate(&share, &tagger, &[9; NONCE], &Claims::new(), Some(&[b"s"])).is_none());
        let errors = HashMap::from([(1, "no \"key\"".to_owned())]);
        let answer: serde_json::Value = serde_json::from_slice(&again.retrieve(&share, &errors, true, Some(&[b"s"])).unwrap()).unwrap();
        assert_eq!(answer["keys"][0]["Ok"]["key_material"], made["keys"][0]["key_material"]);
        assert_eq!(answer["keys"][1]["Err"], "no \"key\"");
        let erased: serde_json::Value = serde_json::from_slice(&again.retrieve(&share, &errors, true, None).unwrap()).unwrap();
        assert_ne!(erased["keys"][0]["Ok"]["key_material"], made["keys"][0]["key_material"]);
        assert!(again.retrieve(&share, &errors, true, Some(&[])).is_none());
    }
}
