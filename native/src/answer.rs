//! What the authority is asked for keys, and its reply, without an object for each key.
//!
//! The readable twins are `worker/authority/wire/keys.py`, `datakeys.py` and `material.py`. Only plain keys are taken:
//! those with a context or a policy, and anything malformed, are the twin's.

use std::borrow::Cow;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{sign, Key, HMAC_SHA256};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64_simd::STANDARD;
use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::authority::{Item, Share};
use crate::shuffle::{Block, BLOCK, MATERIAL};

const TAG: usize = 32;
const NONCE: usize = 16;
const MAX_DESCRIPTOR: usize = 512;
const MAX_TAG: usize = 64;
const REFUSED: &[u8] = br#"{"Err":"Context did not satisfy lock requirements"}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    client_id: &'a RawValue,
    #[serde(borrow, default, alias = "dataset_id")]
    keyset_id: Option<&'a RawValue>,
    #[serde(borrow)]
    keys: Vec<Key1<'a>>,
    #[serde(borrow, default)]
    unverified_context: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key1<'a> {
    #[serde(borrow, alias = "id")]
    iv: Cow<'a, str>,
    #[serde(borrow)]
    descriptor: Cow<'a, str>,
    #[serde(default)]
    context: Vec<IgnoredAny>,
    #[serde(default)]
    decryption_policy: Option<IgnoredAny>,
    #[serde(default)]
    tag: Option<Vec<u8>>,
    #[serde(default)]
    tag_version: u8,
}

/// Keys that are asked for by iv and descriptor alone.
#[derive(Debug)]
pub struct Plain {
    /// The rest of the body as JSON, its keys left out.
    pub head: String,
    pub ivs: Vec<Block>,
    pub descriptors: Vec<Box<str>>,
    /// As presented, where keys are made again.
    pub tags: Vec<Box<[u8]>>,
}

/// Reads a body; `None` for one that the twin has to read. `again`: keys that have tags.
pub fn plain(body: &[u8], again: bool) -> Option<Plain> {
    let read: Body<'_> = serde_json::from_slice(body).ok()?;
    let count = read.keys.len();
    let mut out = Plain {
        head: head(&read),
        ivs: Vec::with_capacity(count),
        descriptors: Vec::with_capacity(count),
        tags: Vec::with_capacity(if again { count } else { 0 }),
    };
    for key in read.keys {
        let plain = key.context.is_empty() && key.decryption_policy.is_none() && key.tag_version == 0;
        if !plain || key.tag.is_some() != again || key.descriptor.len() > MAX_DESCRIPTOR {
            return None;
        }
        out.ivs.push(STANDARD.decode_to_vec(key.iv.as_bytes()).ok()?.try_into().ok()?);
        out.descriptors.push(key.descriptor.into());
        out.tags.extend(key.tag.filter(|tag| tag.len() <= MAX_TAG).map(Vec::into_boxed_slice));
    }
    (count > 0 && out.tags.len() == if again { count } else { 0 }).then_some(out)
}

fn head(body: &Body<'_>) -> String {
    let mut out = format!(r#"{{"client_id":{},"keys":[]"#, body.client_id.get());
    for (name, value) in [("keyset_id", body.keyset_id), ("unverified_context", body.unverified_context)] {
        if let Some(value) = value {
            out.push_str(&format!(r#","{name}":{}"#, value.get()));
        }
    }
    out.push('}');
    out
}

/// The random generator failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Unlucky;

/// A keyset's secrets as they are needed for tags, and a client's share.
pub struct Maker {
    share: Share,
    mac: Key,
    keyset: Block,
}

impl Maker {
    pub fn new(share: Share, tag_key: &[u8], keyset: Block) -> Self {
        Self { share, mac: Key::new(HMAC_SHA256, tag_key), keyset }
    }

    /// The reply to `generate-data-key`.
    pub fn generate(&self, asked: &Plain) -> Result<Vec<u8>, Unlucky> {
        let mut nonces = vec![0; asked.ivs.len() * NONCE];
        SystemRandom::new().fill(&mut nonces).map_err(|_| Unlucky)?;
        let mut tags: Vec<[u8; TAG]> = Vec::with_capacity(asked.ivs.len());
        for (index, nonce) in nonces.chunks_exact(NONCE).enumerate() {
            let mut tag = [0; TAG];
            tag[..NONCE].copy_from_slice(nonce);
            tag[NONCE..].copy_from_slice(&self.tag(asked, index, nonce));
            tags.push(tag);
        }
        let mut out = b"{\"keys\":[".to_vec();
        for (index, material) in self.materials(asked, &tags).chunks_exact(MATERIAL).enumerate() {
            out.extend_from_slice(if index > 0 { b",{\"key_material\":\"" } else { b"{\"key_material\":\"" });
            STANDARD.encode_append(material, &mut out);
            out.extend_from_slice(b"\",\"tag\":\"");
            STANDARD.encode_append(tags[index], &mut out);
            out.extend_from_slice(b"\"}");
        }
        out.extend_from_slice(b"]}");
        Ok(out)
    }

    /// The reply to `retrieve-data-key-fallible`, or to the one that is refused whole, and how many were refused.
    pub fn retrieve(&self, asked: &Plain, fallible: bool) -> (Vec<u8>, usize) {
        let sound: Vec<bool> = (0..asked.ivs.len()).map(|index| self.is_own(asked, index)).collect();
        let refused = sound.iter().filter(|&&own| !own).count();
        if refused > 0 && !fallible {
            return (Vec::new(), refused);
        }
        let made = self.materials(asked, &asked.tags);
        let mut out = b"{\"keys\":[".to_vec();
        for (index, (material, own)) in made.chunks_exact(MATERIAL).zip(sound).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if !own {
                out.extend_from_slice(REFUSED);
                continue;
            }
            out.extend_from_slice(if fallible { b"{\"Ok\":{\"key_material\":\"" } else { b"{\"key_material\":\"" });
            STANDARD.encode_append(material, &mut out);
            out.extend_from_slice(if fallible { b"\"}}" } else { b"\"}" });
        }
        out.extend_from_slice(b"]}");
        (out, refused)
    }

    fn materials<T: AsRef<[u8]>>(&self, asked: &Plain, tags: &[T]) -> Vec<u8> {
        let labels = asked.descriptors.iter().zip(tags);
        self.share.materials(asked.ivs.iter().zip(labels).map(|(iv, (descriptor, tag))| Item {
            iv,
            descriptor: descriptor.as_bytes(),
            tag: tag.as_ref(),
        }))
    }

    fn is_own(&self, asked: &Plain, index: usize) -> bool {
        let tag = &asked.tags[index];
        tag.len() == TAG && verify_slices_are_equal(&tag[NONCE..], &self.tag(asked, index, &tag[..NONCE])).is_ok()
    }

    /// The half of a tag behind its nonce: the code of `version, keyset, iv, descriptor, nonce, bound`, each framed.
    fn tag(&self, asked: &Plain, index: usize, nonce: &[u8]) -> [u8; TAG - NONCE] {
        let descriptor = asked.descriptors[index].as_bytes();
        let mut data = Vec::with_capacity(6 * 4 + 1 + 3 * BLOCK + descriptor.len());
        for part in [&[0][..], &self.keyset, &asked.ivs[index], descriptor, nonce, &[]] {
            data.extend_from_slice(&(part.len() as u32).to_be_bytes());
            data.extend_from_slice(part);
        }
        let mut out = [0; TAG - NONCE];
        out.copy_from_slice(&sign(&self.mac, &data).as_ref()[..TAG - NONCE]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker() -> Maker {
        let identity: Block = std::array::from_fn(|i| i as u8);
        Maker::new(Share::new(&identity, &identity, &std::array::from_fn(|i| i as u8), b"p").unwrap(), b"k", [5; 16])
    }

    const KEY: &str = r#"{"iv":"AAAAAAAAAAAAAAAAAAAAAA==","descriptor":"a/b","context":[]}"#;

    #[test]
    fn only_plain_keys_are_taken() {
        let body = |key: &str| format!(r#"{{"client_id":"c","dataset_id":{{"Name":"n"}},"keys":[{KEY},{key}]}}"#);
        assert_eq!(plain(body(KEY).as_bytes(), false).unwrap().head, r#"{"client_id":"c","keys":[],"keyset_id":{"Name":"n"}}"#);
        for key in [
            &KEY.replace("[]", r#"[{"Tag":"x"}]"#),
            &KEY.replace("[]", "null"),
            &KEY.replace("AAAA", "A?AA"),
            &KEY.replace("AAAA", ""),
            &KEY.replace("a/b", &"x".repeat(513)),
            &KEY.replace("a/b", "\\ud800"),
            &KEY.replace("context", "descriptor"),
            &KEY.replace("context", "unknown"),
            &KEY.replace("[]", r#"[],"decryption_policy":{"conditions":[]}"#),
            &KEY.replace("[]", r#"[],"tag":[1]"#),
            "1",
        ] {
            assert!(plain(body(key).as_bytes(), false).is_none(), "{key}");
        }
        assert!(plain(br#"{"client_id":"c","keys":[]}"#, false).is_none());
    }

    #[test]
    fn what_was_made_is_made_again_and_nothing_else() {
        let body = format!(r#"{{"client_id":"c","keys":[{KEY},{KEY}]}}"#);
        let made: serde_json::Value = serde_json::from_slice(&maker().generate(&plain(body.as_bytes(), false).unwrap()).unwrap()).unwrap();
        let tag = |n: usize| STANDARD.decode_to_vec(made["keys"][n]["tag"].as_str().unwrap()).unwrap();
        let mut wrong = tag(1);
        wrong[20] ^= 1;
        let again = |second: &[u8]| {
            let keys = [tag(0), second.to_vec()].map(|tag| KEY.replace("[]", &format!(r#"[],"tag":{tag:?}"#)));
            plain(format!(r#"{{"client_id":"c","keys":[{},{}]}}"#, keys[0], keys[1]).as_bytes(), true).unwrap()
        };
        let (reply, refused) = maker().retrieve(&again(&tag(1)), true);
        let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(refused, 0);
        assert_eq!(reply["keys"][1]["Ok"]["key_material"], made["keys"][1]["key_material"]);
        let (reply, refused) = maker().retrieve(&again(&wrong), true);
        let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!((refused, reply["keys"][1]["Err"].is_string(), reply["keys"][0]["Ok"].is_object()), (1, true, true));
        assert_eq!(maker().retrieve(&again(&wrong), false), (vec![], 1));
        assert_eq!(maker().retrieve(&again(&wrong[..31]), true).1, 1);
    }
}
