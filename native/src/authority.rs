//! The authority's key material for a batch. The readable twin is `worker/authority/material.py`; source: protocol 5.2.

use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes128, Block as AesBlock};
use aws_lc_rs::digest::{digest, SHA256};
use zeroize::{Zeroize, Zeroizing};

use crate::secrets::Secrets;
use crate::shake::{shake256, AT_ONCE};
use crate::shuffle::{Block, Chain, BLOCK, BLOCKS, MATERIAL};

const MESSAGE: usize = MATERIAL - BLOCK;
const PADS: usize = MESSAGE / BLOCK;

/// What one key is asked for.
///
/// `secrets` are those of the context's values, framed; empty where the keyset is not erasable.
pub struct Item<'a> {
    pub iv: &'a Block,
    pub descriptor: &'a [u8],
    pub tag: &'a [u8],
    pub secrets: &'a [u8],
}

/// A client's share of a keyset, and what every message of the keyset begins with.
pub struct Share {
    chain: Chain,
    prefix: Vec<u8>,
}

impl Share {
    /// Takes the three permutations; `None` where one is none.
    pub fn new(p1: &Block, p2: &Block, p3: &[u8; BLOCKS], prefix: &[u8]) -> Option<Self> {
        Some(Self { chain: Chain::new(*p1, None, *p2, *p3)?, prefix: prefix.to_vec() })
    }

    /// One material of 528 bytes each.
    pub fn materials(&self, items: &[Item<'_>], out: &mut [[u8; MATERIAL]]) {
        let mut masked = Secrets::zeros(AT_ONCE);
        for (items, out) in items.chunks(AT_ONCE).zip(out.chunks_mut(AT_ONCE)) {
            self.some(items, &mut masked, out);
        }
    }

    fn some(&self, items: &[Item<'_>], masked: &mut Secrets<MATERIAL>, out: &mut [[u8; MATERIAL]]) {
        let seeds: Vec<Zeroizing<Vec<u8>>> = items.iter().map(|item| self.seed(item)).collect();
        let inputs: Vec<&[u8]> = seeds.iter().map(|seed| &seed[..]).collect();
        let mut messages: Vec<&mut [u8]> = masked.iter_mut().map(|masked| &mut masked[..MESSAGE]).collect();
        shake256(&inputs, &mut messages[..items.len()]);
        for ((item, masked), out) in items.iter().zip(masked.iter_mut()).zip(out) {
            mask(item.iv, &mut masked[..MESSAGE]);
            let sum = digest(&SHA256, &masked[..MESSAGE]);
            for ((byte, iv), sum) in masked[MESSAGE..].iter_mut().zip(item.iv).zip(sum.as_ref()) {
                *byte = iv ^ sum;
            }
            self.chain.apply(item.iv, masked, out, &mut [0; BLOCKS]);
        }
    }

    /// What a key's message is squeezed from.
    fn seed(&self, item: &Item<'_>) -> Zeroizing<Vec<u8>> {
        let parts = [item.descriptor, item.tag];
        let room = self.prefix.len() + BLOCK + parts.iter().map(|part| 4 + part.len()).sum::<usize>() + item.secrets.len();
        // At once: a buffer that grows would leave copies behind.
        let mut seed = Zeroizing::new(Vec::with_capacity(room));
        seed.extend_from_slice(&self.prefix);
        seed.extend_from_slice(item.iv);
        for part in parts {
            seed.extend_from_slice(&(part.len() as u32).to_be_bytes());
            seed.extend_from_slice(part);
        }
        seed.extend_from_slice(item.secrets);
        seed
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.chain.wipe();
        self.prefix.zeroize();
    }
}

/// Adds AES-128-CMAC(iv, i) of each block's number, which is one block under one schedule.
fn mask(iv: &Block, message: &mut [u8]) {
    let cipher = Aes128::new(&(*iv).into());
    let mut zero = AesBlock::default();
    cipher.encrypt_block(&mut zero);
    let k2 = u128::from_be_bytes(double(double(zero.into())));
    let mut pads: [AesBlock; PADS] = std::array::from_fn(|i| {
        let counter = ((i as u128) << 64) | (0x80 << 56);
        (counter ^ k2).to_be_bytes().into()
    });
    cipher.encrypt_blocks(&mut pads);
    for (block, pad) in message.chunks_exact_mut(BLOCK).zip(&pads) {
        for (byte, pad) in block.iter_mut().zip(pad) {
            *byte ^= pad;
        }
    }
}

/// Doubles in GF(2^128), as CMAC does; constant in time.
fn double(block: Block) -> Block {
    let x = u128::from_be_bytes(block);
    ((x << 1) ^ ((x >> 127) * 0x87)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_cmac() {
        // RFC 4493's key and its subkey K2.
        let key: Block = [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c];
        let mut zero = AesBlock::default();
        Aes128::new(&key.into()).encrypt_block(&mut zero);
        let k2 = double(double(zero.into()));
        assert_eq!(k2[..4], [0xf7, 0xdd, 0xac, 0x30]);
        let mut message = [0; MESSAGE];
        mask(&key, &mut message);
        assert_ne!(message[..BLOCK], message[BLOCK..2 * BLOCK]);
    }

    #[test]
    fn a_share_is_three_permutations() {
        let identity: Block = std::array::from_fn(|i| i as u8);
        let order: [u8; BLOCKS] = std::array::from_fn(|i| i as u8);
        assert!(Share::new(&[0; BLOCK], &identity, &order, b"").is_none());
        let share = Share::new(&identity, &identity, &order, b"p").unwrap();
        let item = |tag| Item { iv: &[1; BLOCK], descriptor: b"d", tag, secrets: b"" };
        let mut made = [[0; MATERIAL]; 6];
        share.materials(&[b"t", b"t", b"u", b"v", b"t", b"w"].map(|tag| item(tag)), &mut made);
        assert_eq!([made[1], made[4]], [made[0]; 2]);
        assert_eq!(made.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        let mut erasable = [[0; MATERIAL]];
        share.materials(&[Item { secrets: b"s", ..item(b"t") }], &mut erasable);
        assert_ne!(made[0], erasable[0]);
    }
}
