//! A request for data keys as the authority reads it, and its answer. The readable twin is `worker/authority/asked.py`;
//! whatever is not plainly what it expects is left to the twin, which judges it.

mod answer;
mod read;
mod tagger;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Key, HMAC_SHA256};

use crate::lock::{Claims, Locks};
use crate::shuffle::Block;

pub use answer::Leaves;
pub use read::{read, split};
pub use tagger::Tagger;

pub const NONCE: usize = 16;
const TAG: usize = 32;

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
    pub locks: Locks,
    wanted: Vec<Wanted>,
}

impl Asked {
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Keyed hashes of the distinct contexts that are not empty, ascending, as the audit has them: 16 bytes. Beside them, as
    /// JSON, the contexts that only the twin can print.
    pub fn hashes(&self, secret: &[u8]) -> (Vec<Block>, Vec<Vec<u8>>) {
        let key = Key::new(HMAC_SHA256, secret);
        let (mut hashes, mut left, mut text) = (Vec::with_capacity(self.locks.len()), Vec::new(), String::new());
        for lock in self.locks.iter().filter(|lock| !lock.is_empty()) {
            text.clear();
            match lock.print(&mut text) {
                Some(()) => hashes.push(tagger::half(&key, text.as_bytes())),
                None => left.push(lock.written()),
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        (hashes, left)
    }

    /// Numbers of the contexts that name a claim which the caller has not.
    pub fn barred(&self, claims: &Claims) -> Vec<usize> {
        self.locks.barred(claims)
    }

    /// Places of the keys whose tag is of another context, field or keyset; those of a barred context are not looked at.
    pub fn altered(&self, tagger: &Tagger, claims: &Claims) -> Option<Vec<usize>> {
        let bound = self.locks.bound(claims);
        let (mut altered, mut room) = (Vec::new(), Vec::new());
        for (place, wanted) in self.wanted.iter().enumerate() {
            let Some(bound) = bound.get(wanted.context as usize) else { continue };
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

    fn descriptor(&self, wanted: &Wanted) -> Option<&[u8]> {
        self.descriptors.get(wanted.descriptor as usize).map(|(text, _)| text.as_bytes())
    }
}

#[cfg(test)]
mod samples {
    pub fn body(items: &[&str]) -> String {
        format!(r#"{{"client_id":"c","keyset_id":null,"keys":[{}],"unverified_context":{{"a":1}}}}"#, items.join(","))
    }

    pub const PLAIN: &str = r#"{"iv":"AAAAAAAAAAAAAAAAAAAAAA==","descriptor":"d","context":[]}"#;
}

#[cfg(test)]
mod tests {
    use super::samples::{body, PLAIN};
    use super::*;

    #[test]
    fn equal_contexts_have_one_hash() {
        let contexts = [r#"[{"Tag":"t"}]"#, r#"[ {"Tag":"t"} ]"#, r#"[{"Tag":"u"}]"#, r#"[{"Tag":"\u0430"}]"#, "[]"];
        let items = contexts.map(|context| PLAIN.replace("[]", context));
        let asked = read(body(&items.each_ref().map(String::as_str)).as_bytes(), false, 9).unwrap();
        let (hashes, left) = asked.hashes(b"secret");
        assert_eq!((hashes.len(), hashes.is_sorted()), (2, true));
        assert_eq!(left, ["[{\"Tag\":\"\u{430}\"}]".as_bytes()]);
        assert_ne!(asked.hashes(b"other").0, hashes);
    }
}
