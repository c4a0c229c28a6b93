//! The key service's answers: JSON of up to some hundred keys, whose material is decoded straight into one buffer.

use std::borrow::Cow;

use base64_simd::{Out, STANDARD};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::envelope::push_str;
use crate::keys::Strings;
use crate::shuffle::MATERIAL;

/// 528 bytes are a multiple of 3, so their encoding has no padding.
const ENCODED: usize = MATERIAL / 3 * 4;

/// What is wrong with an answer, in the words of the error that is raised for it.
pub type Malformed = &'static str;

const SHAPE: Malformed = "the answer does not hold one item for each key asked for";
const MATERIAL_WRONG: Malformed = "the key service sent key material that is not 528 bytes of base64";
const TAG_WRONG: Malformed = "the key service sent a tag that is not base64";

#[derive(Deserialize)]
struct Made<'a> {
    #[serde(borrow)]
    keys: Vec<MadeKey<'a>>,
}

#[derive(Deserialize)]
struct MadeKey<'a> {
    #[serde(borrow)]
    key_material: Cow<'a, str>,
    #[serde(borrow)]
    tag: Cow<'a, str>,
    #[serde(default)]
    decryption_policy: Option<Policy>,
}

#[derive(Deserialize)]
struct Again<'a> {
    #[serde(borrow)]
    keys: Vec<Answer<'a>>,
}

#[derive(Deserialize)]
enum Answer<'a> {
    #[serde(borrow)]
    Ok(Granted<'a>),
    #[serde(borrow)]
    Err(Cow<'a, str>),
}

#[derive(Deserialize)]
struct Granted<'a> {
    #[serde(borrow)]
    key_material: Cow<'a, str>,
}

#[derive(Clone, Deserialize, Debug, PartialEq, Eq)]
pub struct Policy {
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Deserialize, Debug, PartialEq, Eq)]
pub struct Condition {
    pub claim: String,
    #[serde(default)]
    pub value: Option<String>,
}

impl Policy {
    /// As an envelope carries it: every struct an array, a missing value left out.
    pub fn to_msgpack(&self) -> Vec<u8> {
        let mut out = vec![0x91];
        push_array(&mut out, self.conditions.len());
        for condition in &self.conditions {
            out.push(if condition.value.is_some() { 0x92 } else { 0x91 });
            push_str(&mut out, condition.claim.as_bytes());
            if let Some(value) = &condition.value {
                push_str(&mut out, value.as_bytes());
            }
        }
        out
    }
}

fn push_array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x90 | length as u8),
        16..0x1_0000 => {
            out.push(0xdc);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdd);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

/// The answer to `generate-data-key`: materials concatenated, and what envelopes carry of each key.
pub struct Generated {
    pub materials: Zeroizing<Vec<u8>>,
    pub tags: Strings,
    pub policies: Vec<Option<Policy>>,
}

/// The answer to `retrieve-data-key-fallible`: the materials of those granted, and for each key why it was refused.
pub struct Retrieved {
    pub materials: Zeroizing<Vec<u8>>,
    pub refused: Vec<Option<String>>,
}

/// Reads the answer to a request for `count` fresh keys.
pub fn generated(body: &[u8], count: usize) -> Result<Generated, Malformed> {
    if let Some(read) = plainly(body, count, br#"{"key_material":""#, |rest, read: &mut Plain| {
        let text = rest.text(br#"","tag":""#)?;
        STANDARD.decode_append(text, &mut read.tags.bytes).ok()?;
        read.tags.end();
        rest.skip(br#""}"#)
    }) {
        return Ok(Generated { materials: read.materials.bytes, tags: read.tags, policies: vec![None; count] });
    }
    let made: Made<'_> = serde_json::from_slice(body).map_err(|_| SHAPE)?;
    if made.keys.len() != count {
        return Err(SHAPE);
    }
    let mut materials = Materials::with_room(count);
    let (mut tags, mut policies) = (Strings::default(), Vec::with_capacity(count));
    for key in made.keys {
        materials.push(key.key_material.as_bytes())?;
        STANDARD.decode_append(key.tag.as_bytes(), &mut tags.bytes).map_err(|_| TAG_WRONG)?;
        tags.end();
        policies.push(key.decryption_policy);
    }
    Ok(Generated { materials: materials.bytes, tags, policies })
}

/// Reads the answer to a request for `count` keys that were made before.
pub fn retrieved(body: &[u8], count: usize) -> Result<Retrieved, Malformed> {
    if let Some(read) = plainly(body, count, br#"{"Ok":{"key_material":""#, |rest, _| rest.skip(br#""}}"#)) {
        return Ok(Retrieved { materials: read.materials.bytes, refused: vec![None; count] });
    }
    let again: Again<'_> = serde_json::from_slice(body).map_err(|_| SHAPE)?;
    if again.keys.len() != count {
        return Err(SHAPE);
    }
    let mut materials = Materials::with_room(count);
    let mut refused = Vec::with_capacity(count);
    for answer in again.keys {
        match answer {
            Answer::Ok(granted) => {
                materials.push(granted.key_material.as_bytes())?;
                refused.push(None);
            }
            Answer::Err(why) => refused.push(Some(why.into_owned())),
        }
    }
    Ok(Retrieved { materials: materials.bytes, refused })
}

/// What is read of an answer without a parser.
struct Plain {
    materials: Materials,
    tags: Strings,
}

/// Reads an answer that stands exactly as our authority writes it; `None` leaves it to the parser, which judges it.
fn plainly(body: &[u8], count: usize, before: &[u8], mut after: impl FnMut(&mut Rest<'_>, &mut Plain) -> Option<()>) -> Option<Plain> {
    let mut read = Plain { materials: Materials::with_room(count), tags: Strings::default() };
    let mut rest = Rest(body);
    rest.skip(br#"{"keys":["#)?;
    for at in 0..count {
        if at > 0 {
            rest.skip(b",")?;
        }
        rest.skip(before)?;
        read.materials.push(rest.take(ENCODED)?).ok()?;
        after(&mut rest, &mut read)?;
    }
    rest.skip(b"]}")?;
    rest.0.is_empty().then_some(read)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// What stands between `expected` and the next quote.
    fn text(&mut self, expected: &[u8]) -> Option<&'a [u8]> {
        self.skip(expected)?;
        let end = self.0.iter().position(|byte| *byte == b'"')?;
        self.take(end)
    }
}

struct Materials {
    bytes: Zeroizing<Vec<u8>>,
}

impl Materials {
    /// Room for all at once: a buffer that grows would leave copies behind.
    fn with_room(count: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(count * MATERIAL)) }
    }

    fn push(&mut self, text: &[u8]) -> Result<(), Malformed> {
        if text.len() != ENCODED {
            return Err(MATERIAL_WRONG);
        }
        let from = self.bytes.len();
        self.bytes.resize(from + MATERIAL, 0);
        let place = Out::from_slice(&mut self.bytes[from..]);
        let decoded = STANDARD.decode(text, place).map_err(|_| MATERIAL_WRONG)?;
        if decoded.len() == MATERIAL { Ok(()) } else { Err(MATERIAL_WRONG) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material(byte: u8) -> String {
        STANDARD.encode_to_string(vec![byte; MATERIAL])
    }

    #[test]
    fn reads_fresh_keys() {
        let body = format!(
            r#"{{"keys":[{{"key_material":"{}","tag":"AAE="}},{{"tag":"","key_material":"{}","new":[{{}}],
            "decryption_policy":{{"conditions":[{{"claim":"sub","value":"x"}}]}}}}],"more":1}}"#,
            material(1),
            material(2).replace('/', "\\/"),
        );
        let read = generated(body.as_bytes(), 2).unwrap();
        assert_eq!([read.tags.get(0), read.tags.get(1), read.tags.get(2)], [Some(&[0, 1][..]), Some(&[]), None]);
        assert_eq!(read.materials[MATERIAL - 1..MATERIAL + 1], [1, 2]);
        assert_eq!(read.policies[1].as_ref().unwrap().conditions[0].value.as_deref(), Some("x"));
    }

    #[test]
    fn reads_keys_made_before() {
        let body = format!(r#"{{"keys":[{{"Err":"no"}},{{"Ok":{{"key_material":"{}"}}}}]}}"#, material(3));
        let read = retrieved(body.as_bytes(), 2).unwrap();
        assert_eq!(read.refused, [Some("no".to_owned()), None]);
        assert_eq!(read.materials.len(), MATERIAL);
    }

    #[test]
    fn what_stands_as_our_authority_writes_it_is_read_alike() {
        let made = |tag: &str| format!(r#"{{"key_material":"{}","tag":"{tag}"}}"#, material(4));
        let plain = format!(r#"{{"keys":[{},{}]}}"#, made("AAE="), made("AAEC"));
        let again = format!(r#"{{"keys":[{{"Ok":{{"key_material":"{}"}}}}]}}"#, material(5));
        for (spaced, rest) in [(plain.clone(), again.clone()), (plain.replace(',', " ,"), again.replace(':', ": "))] {
            let read = generated(spaced.as_bytes(), 2).unwrap();
            assert_eq!([read.tags.get(0), read.tags.get(1)], [Some(&[0, 1][..]), Some(&[0, 1, 2])]);
            assert_eq!(*read.materials, vec![4; 2 * MATERIAL]);
            assert_eq!(*retrieved(rest.as_bytes(), 1).unwrap().materials, vec![5; MATERIAL]);
        }
        for bad in [plain.replace("]}", "]} "), plain.replace("AAE=", "AAF="), plain.replace("BAQE", "BA-E"), plain.replacen("},", "}", 1)] {
            assert_eq!(generated(bad.as_bytes(), 2).is_err(), !bad.ends_with("]} "), "{bad:.40}");
        }
        for count in [1, 3] {
            assert!(generated(plain.as_bytes(), count).is_err());
        }
    }

    #[test]
    fn another_shape_is_refused() {
        let short = material(1)[4..].to_owned();
        for body in [
            "",
            "[]",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"tag":""}]}"#,
            &format!(r#"{{"keys":[{{"key_material":"{short}","tag":""}}]}}"#),
            &format!(r#"{{"keys":[{{"key_material":"{}","tag":"?"}}]}}"#, material(1)),
            &format!(r#"{{"keys":[{{"key_material":"{}","tag":""}}]}} x"#, material(1)),
            &format!(r#"{{"keys":[{{"key_material":"{}","tag":""}},1]}}"#, material(1)),
            &"[".repeat(100_000),
        ] {
            assert!(generated(body.as_bytes(), 1).is_err(), "{body:.80}");
            assert!(retrieved(body.as_bytes(), 1).is_err(), "{body:.80}");
        }
    }
}
