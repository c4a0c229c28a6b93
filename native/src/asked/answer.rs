//! The answer, as it is written.

use std::collections::HashMap;

use base64_simd::STANDARD;

use super::{Asked, Tagger, Wanted, NONCE, TAG};
use crate::authority::{Item, Share};
use crate::lock::Claims;
use crate::shake::AT_ONCE;
use crate::shuffle::MATERIAL;

/// What each context adds to the keys of an erasable keyset.
pub type Leaves<'a> = Option<&'a [&'a [u8]]>;

impl Asked {
    /// The answer with one fresh key each, whose contexts are all met: `nonces` are 16 bytes a key, `leaves` what each
    /// context adds to its keys; none where the keyset is not erasable.
    pub fn generate(&self, share: &Share, tagger: &Tagger, nonces: &[u8], claims: &Claims, leaves: Leaves<'_>) -> Option<Vec<u8>> {
        if nonces.len() != self.len() * NONCE {
            return None;
        }
        let bound = self.locks.bound(claims);
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
    use super::super::read::read;
    use super::super::samples::{body, PLAIN};
    use super::*;
    use crate::shuffle::{Block, BLOCK, BLOCKS};

    fn share() -> Share {
        let identity: Block = std::array::from_fn(|i| i as u8);
        let order: [u8; BLOCKS] = std::array::from_fn(|i| i as u8);
        Share::new(&identity, &identity, &order, b"p").unwrap()
    }

    #[test]
    fn what_was_generated_is_retrieved_under_its_own_context_alone() {
        let (share, tagger) = (share(), Tagger::new(&[7; 32], [1; BLOCK]));
        let of = |name: &str| Claims::from([("sub".to_owned(), name.to_owned())]);
        let bound = PLAIN.replace("[]", r#"[{"IdentityClaim":"sub"}]"#);
        let asked = read(body(&[&bound]).as_bytes(), false, 9).unwrap();
        let made = asked.generate(&share, &tagger, &[9; NONCE], &of("x"), Some(&[b"s"])).unwrap();
        let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
        let tag = STANDARD.decode_to_vec(made["keys"][0]["tag"].as_str().unwrap()).unwrap();
        let again = bound.replace("==\"", &format!(r#"==","tag":{tag:?},"tag_version":0"#));
        let again = read(body(&[&again, &again]).as_bytes(), true, 9).unwrap();
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
