//! Data keys from the authority's half and the client's. The readable twin is `worker/zerokms/derive.py`.

use aws_lc_rs::digest::{digest, SHA256};

use crate::aead::KEY_BYTES;
use crate::secrets::Secrets;
use crate::shuffle::{is_permutation, Block, Chain, BLOCK, BLOCKS, MATERIAL};

/// The client's half: it never leaves the process.
pub struct ClientKey(Chain);

/// Why material gives no keys.
#[derive(Debug, PartialEq, Eq)]
pub enum BadMaterial {
    /// A length is not a whole number of items.
    Length,
    /// Unchained blocks repeat, as no honest authority sends them.
    Hostile,
}

impl ClientKey {
    /// Takes the four permutations as the protocol names them; `None` where one is none.
    pub fn new(p1: &Block, p2_from: &Block, p2_to: &Block, p3: &[u8; BLOCKS]) -> Option<Self> {
        if !is_permutation(p1) {
            return None;
        }
        let before = p1.map(|i| p2_from.get(usize::from(i)).copied().unwrap_or(u8::MAX));
        Chain::new(*p1, Some(before), *p2_to, *p3).map(Self)
    }

    /// Derives one key of 32 bytes per iv of 16 and material of 528, both concatenated; hostile material is refused.
    pub fn derive(&self, ivs: &[u8], materials: &[u8]) -> Result<Secrets<KEY_BYTES>, BadMaterial> {
        if materials.len() % MATERIAL != 0 || ivs.len() * MATERIAL != materials.len() * BLOCK {
            return Err(BadMaterial::Length);
        }
        let mut derivation = Derivation::new(self, ivs.len() / BLOCK);
        for (at, (iv, material)) in ivs.chunks_exact(BLOCK).zip(materials.chunks_exact(MATERIAL)).enumerate() {
            let (Ok(iv), Ok(material)) = (iv.try_into(), material.try_into()) else { return Err(BadMaterial::Length) };
            derivation.derive(at, iv, material);
        }
        derivation.keys()
    }
}

/// The keys of one request, derived one by one as their material is read.
pub struct Derivation<'k> {
    client: &'k ClientKey,
    keys: Secrets<KEY_BYTES>,
    domain: Secrets<MATERIAL>,
    is_honest: bool,
}

impl<'k> Derivation<'k> {
    /// So many keys, of zeros until they are derived.
    pub fn new(client: &'k ClientKey, count: usize) -> Self {
        Self { client, keys: Secrets::zeros(count), domain: Secrets::zeros(1), is_honest: true }
    }

    #[inline]
    pub fn derive(&mut self, at: usize, iv: &Block, material: &[u8; MATERIAL]) {
        self.is_honest &= self.client.0.run(iv, material, &mut self.domain[0]);
        self.keys[at].copy_from_slice(digest(&SHA256, &self.domain[0]).as_ref());
    }

    /// The keys, unless any of their material was hostile.
    pub fn keys(self) -> Result<Secrets<KEY_BYTES>, BadMaterial> {
        if self.is_honest { Ok(self.keys) } else { Err(BadMaterial::Hostile) }
    }
}

impl Drop for ClientKey {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_must_be_whole_items() {
        let identity: Block = std::array::from_fn(|i| i as u8);
        let order: [u8; BLOCKS] = std::array::from_fn(|i| i as u8);
        let key = ClientKey::new(&identity, &identity, &identity, &order).unwrap();
        assert_eq!(key.derive(&[0; 16], &[0; 527]).err(), Some(BadMaterial::Length));
        assert_eq!(key.derive(&[0; 15], &[0; 528]).err(), Some(BadMaterial::Length));
        assert_eq!(key.derive(&[0; 16], &[0; 528]).err(), Some(BadMaterial::Hostile));
        assert_eq!(key.derive(&[], &[]).unwrap().len(), 0);
    }
}
