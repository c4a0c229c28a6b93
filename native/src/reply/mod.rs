//! The key service's answers: JSON of up to some hundred keys, whose material is handed on one by one.

use std::borrow::Cow;

use base64_simd::{Out, STANDARD};
use serde::Deserialize;

mod plain;

use plain::plainly;

use crate::envelope::push_str;
use crate::keys::Strings;
use crate::secrets::Secrets;
use crate::shuffle::MATERIAL;

/// 528 bytes are a multiple of 3, so their encoding has no padding.
const ENCODED: usize = MATERIAL / 3 * 4;
/// Bytes of a tag as our authority makes them.
const TAG: usize = 32;

/// What is wrong with an answer, in the words of the error that is raised for it.
pub type Malformed = &'static str;

const SHAPE: Malformed = "the answer does not hold one item for each key asked for";
const MATERIAL_WRONG: Malformed = "the key service sent key material that is not 528 bytes of base64";
/// Of a tag's text: an envelope of a lease has a byte for the tag's length.
const LONGEST_TAG: usize = 255 / 3 * 4;
const TAG_LONG: Malformed = "the key service sent a tag of more than 255 bytes";
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

/// What envelopes carry of the keys that `generate-data-key` answered with; no policies where no key has one.
pub struct Generated {
    pub tags: Strings,
    pub policies: Vec<Option<Policy>>,
}

/// Reads the answer to a request for `count` fresh keys. `take` is given the material of each by its number; what stands
/// oddly is read a second time, and given anew.
pub fn generated(body: &[u8], count: usize, mut take: impl FnMut(usize, &[u8; MATERIAL])) -> Result<Generated, Malformed> {
    let (mut room, mut tags) = (Room::new(), Strings::with_room(count, TAG));
    let plain = plainly(body, count, br#"{"key_material":""#, |at, rest| {
        take(at, room.decoded(rest.take(ENCODED)?).ok()?);
        let tag = Some(rest.text(br#"","tag":""#)?).filter(|tag| tag.len() <= LONGEST_TAG)?;
        STANDARD.decode_append(tag, &mut tags.bytes).ok()?;
        tags.end();
        rest.skip(br#""}"#)
    });
    if plain.is_some() {
        return Ok(Generated { tags, policies: Vec::new() });
    }
    let made: Made<'_> = serde_json::from_slice(body).map_err(|_| SHAPE)?;
    if made.keys.len() != count {
        return Err(SHAPE);
    }
    let (mut tags, mut policies) = (Strings::with_room(count, TAG), Vec::with_capacity(count));
    for (at, key) in made.keys.into_iter().enumerate() {
        take(at, room.decoded(key.key_material.as_bytes())?);
        if key.tag.len() > LONGEST_TAG {
            return Err(TAG_LONG);
        }
        STANDARD.decode_append(key.tag.as_bytes(), &mut tags.bytes).map_err(|_| TAG_WRONG)?;
        tags.end();
        policies.push(key.decryption_policy);
    }
    Ok(Generated { tags, policies })
}

/// Reads the answer to a request for `count` keys that were made before; returns which were refused, and why. `take` is
/// given the material of the others as by `generated`.
pub fn retrieved(
    body: &[u8],
    count: usize,
    mut take: impl FnMut(usize, &[u8; MATERIAL]),
) -> Result<Vec<(usize, String)>, Malformed> {
    let mut room = Room::new();
    let plain = plainly(body, count, br#"{"Ok":{"key_material":""#, |at, rest| {
        take(at, room.decoded(rest.take(ENCODED)?).ok()?);
        rest.skip(br#""}}"#)
    });
    if plain.is_some() {
        return Ok(Vec::new());
    }
    let again: Again<'_> = serde_json::from_slice(body).map_err(|_| SHAPE)?;
    if again.keys.len() != count {
        return Err(SHAPE);
    }
    let mut refused = Vec::new();
    for (at, answer) in again.keys.into_iter().enumerate() {
        match answer {
            Answer::Ok(granted) => take(at, room.decoded(granted.key_material.as_bytes())?),
            Answer::Err(why) => refused.push((at, why.into_owned())),
        }
    }
    Ok(refused)
}

/// Room for the material of one key at a time.
struct Room(Secrets<MATERIAL>);

impl Room {
    fn new() -> Self {
        Self(Secrets::zeros(1))
    }

    fn decoded(&mut self, text: &[u8]) -> Result<&[u8; MATERIAL], Malformed> {
        if text.len() != ENCODED {
            return Err(MATERIAL_WRONG);
        }
        let room = &mut self.0[0];
        let decoded = STANDARD.decode(text, Out::from_slice(room)).map_err(|_| MATERIAL_WRONG)?.len();
        if decoded == MATERIAL { Ok(room) } else { Err(MATERIAL_WRONG) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What stands plainly at first is given once more where the rest does not.
    type Taken = BTreeMap<usize, [u8; MATERIAL]>;

    fn material(byte: u8) -> String {
        STANDARD.encode_to_string(vec![byte; MATERIAL])
    }

    fn made(body: &str, count: usize) -> Result<(Generated, Taken), Malformed> {
        let mut taken = Taken::new();
        let read = generated(body.as_bytes(), count, |at, material| taken.extend([(at, *material)]))?;
        Ok((read, taken))
    }

    fn again(body: &str, count: usize) -> Result<(Vec<(usize, String)>, Taken), Malformed> {
        let mut taken = Taken::new();
        let refused = retrieved(body.as_bytes(), count, |at, material| taken.extend([(at, *material)]))?;
        Ok((refused, taken))
    }

    #[test]
    fn reads_fresh_keys() {
        let body = format!(
            r#"{{"keys":[{{"key_material":"{}","tag":"AAE="}},{{"tag":"","key_material":"{}","new":[{{}}],
            "decryption_policy":{{"conditions":[{{"claim":"sub","value":"x"}}]}}}}],"more":1}}"#,
            material(1),
            material(2).replace('/', "\\/"),
        );
        let (read, taken) = made(&body, 2).unwrap();
        assert_eq!([read.tags.get(0), read.tags.get(1), read.tags.get(2)], [Some(&[0, 1][..]), Some(&[]), None]);
        assert_eq!(taken, Taken::from([(0, [1; MATERIAL]), (1, [2; MATERIAL])]));
        assert_eq!(read.policies[1].as_ref().unwrap().conditions[0].value.as_deref(), Some("x"));
    }

    #[test]
    fn reads_keys_made_before() {
        let body = format!(r#"{{"keys":[{{"Err":"no"}},{{"Ok":{{"key_material":"{}"}}}}]}}"#, material(3));
        assert_eq!(again(&body, 2).unwrap(), (vec![(0, "no".to_owned())], Taken::from([(1, [3; MATERIAL])])));
    }

    #[test]
    fn what_stands_as_our_authority_writes_it_is_read_alike() {
        let key = |tag: &str| format!(r#"{{"key_material":"{}","tag":"{tag}"}}"#, material(4));
        let plain = format!(r#"{{"keys":[{},{}]}}"#, key("AAE="), key("AAEC"));
        let granted = format!(r#"{{"keys":[{{"Ok":{{"key_material":"{}"}}}}]}}"#, material(5));
        for (spaced, rest) in [(plain.clone(), granted.clone()), (plain.replace(',', " ,"), granted.replace(':', ": "))] {
            let (read, taken) = made(&spaced, 2).unwrap();
            assert_eq!([read.tags.get(0), read.tags.get(1)], [Some(&[0, 1][..]), Some(&[0, 1, 2])]);
            assert_eq!(taken, Taken::from([(0, [4; MATERIAL]), (1, [4; MATERIAL])]));
            assert_eq!(again(&rest, 1).unwrap(), (vec![], Taken::from([(0, [5; MATERIAL])])));
        }
        for bad in [plain.replace("]}", "]} "), plain.replace("AAE=", "AAF="), plain.replace("BAQE", "BA-E"), plain.replacen("},", "}", 1)] {
            assert_eq!(made(&bad, 2).is_err(), !bad.ends_with("]} "), "{bad:.40}");
        }
        for count in [1, 3] {
            assert!(made(&plain, count).is_err());
        }
    }

    #[test]
    fn a_tag_is_as_long_as_an_envelope_has_room_for() {
        let read = |tag: usize| {
            let body = format!(r#"{{"keys":[{{"key_material":"{}","tag":"{}"}}]}}"#, material(1), "AAAA".repeat(tag / 3));
            generated(body.as_bytes(), 1, |_, _| ()).map(|read| read.tags.get(0).map(<[u8]>::len))
        };
        assert_eq!((read(255), read(258)), (Ok(Some(255)), Err(TAG_LONG)));
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
            &format!(r#"{{"keys":[{{"key_material":"{}","tag":"{}"}}]}}"#, material(1), "AAAA".repeat(86)),
            &format!(r#"{{"keys":[{{"key_material":"{}","tag":""}}]}} x"#, material(1)),
            &format!(r#"{{"keys":[{{"key_material":"{}","tag":""}},1]}}"#, material(1)),
            &"[".repeat(100_000),
        ] {
            assert!(made(body, 1).is_err(), "{body:.80}");
            assert!(again(body, 1).is_err(), "{body:.80}");
        }
    }
}
