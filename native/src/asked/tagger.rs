//! What tags are made with.

use aws_lc_rs::hmac::{sign, Key, HMAC_SHA256};

use crate::shuffle::{Block, BLOCK};

/// The keyset's own key, and its id.
pub struct Tagger {
    key: Key,
    keyset: Block,
}

impl Tagger {
    pub fn new(k_tag: &[u8], keyset: Block) -> Self {
        Self { key: Key::new(HMAC_SHA256, k_tag), keyset }
    }

    /// A tag's second half. `room` is written over.
    pub fn mac(&self, iv: &Block, descriptor: &[u8], nonce: &[u8], bound: &[u8], room: &mut Vec<u8>) -> Block {
        room.clear();
        for part in [&[0u8][..], &self.keyset, iv, descriptor, nonce, bound] {
            room.extend_from_slice(&(part.len() as u32).to_be_bytes());
            room.extend_from_slice(part);
        }
        half(&self.key, room)
    }
}

/// The first half of a keyed hash.
pub fn half(key: &Key, text: &[u8]) -> Block {
    let (sum, mut half) = (sign(key, text), [0; BLOCK]);
    half.copy_from_slice(&sum.as_ref()[..BLOCK]);
    half
}
