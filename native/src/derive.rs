//! Data keys from the authority's half and the client's. The readable twin is `worker/zerokms/derive.py`.

use aws_lc_rs::digest::{digest, SHA256};
use zeroize::{Zeroize, Zeroizing};

use crate::aead::KEY_BYTES;
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
    pub fn derive(&self, ivs: &[u8], materials: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadMaterial> {
        if materials.len() % MATERIAL != 0 || ivs.len() * MATERIAL != materials.len() * BLOCK {
            return Err(BadMaterial::Length);
        }
        let mut keys = Zeroizing::new(Vec::with_capacity(ivs.len() / BLOCK * KEY_BYTES));
        let mut domain = [0u8; MATERIAL];
        let mut honest = true;
        for (iv, material) in ivs.chunks_exact(BLOCK).zip(materials.chunks_exact(MATERIAL)) {
            let (Ok(iv), Ok(material)) = (iv.try_into(), material.try_into()) else { return Err(BadMaterial::Length) };
            honest &= self.0.run(iv, material, &mut domain);
            keys.extend_from_slice(digest(&SHA256, &domain).as_ref());
        }
        domain.zeroize();
        if honest { Ok(keys) } else { Err(BadMaterial::Hostile) }
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
