//! AES-256-GCM-SIV and what comes before it: a lease's key by HKDF, and nonces.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_256_GCM_SIV, NONCE_LEN};
use aws_lc_rs::hkdf::{KeyType, Salt, HKDF_SHA256};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

pub const KEY_BYTES: usize = 32;
pub const NONCE_BYTES: usize = NONCE_LEN;
pub const TAG_BYTES: usize = 16;
/// What an envelope has more than its header and its plaintext.
pub const TAIL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

const LEASED: &[&[u8]] = &[b"leased-v1"];

/// The library failed, or what was to be opened does not open.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed;

/// A key set up for many values; AWS-LC cleanses its schedule when it is freed.
pub struct Cipher(LessSafeKey);

impl Cipher {
    pub fn new(key: &[u8]) -> Result<Self, Failed> {
        UnboundKey::new(&AES_256_GCM_SIV, key).map(|key| Self(LessSafeKey::new(key))).map_err(|_| Failed)
    }

    /// The cipher of a lease.
    pub fn leased(data_key: &[u8]) -> Result<Self, Failed> {
        Self::new(&*leased(data_key)?)
    }

    /// Seals what stands in `out` from `from` on, in place, and appends the tag.
    #[inline]
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], out: &mut Vec<u8>, from: usize) -> Result<(), Failed> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[from..]).map_err(|_| Failed)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens `sealed`, tag at its end, onto the end of `out`; nothing is left there where it does not open.
    pub fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Failed> {
        let from = out.len();
        out.extend_from_slice(sealed);
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut out[from..]);
        match opened.map(|plaintext| plaintext.len()) {
            Ok(length) => {
                out.truncate(from + length);
                Ok(())
            }
            Err(_) => {
                out.truncate(from);
                Err(Failed)
            }
        }
    }
}

/// The key of a lease's cipher: HKDF-SHA256 of its data key, no salt.
pub fn leased(data_key: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, Failed> {
    struct Bytes32;
    impl KeyType for Bytes32 {
        fn len(&self) -> usize {
            KEY_BYTES
        }
    }
    let mut derived = Zeroizing::new([0u8; KEY_BYTES]);
    Salt::new(HKDF_SHA256, &[])
        .extract(data_key)
        .expand(LEASED, Bytes32)
        .and_then(|okm| okm.fill(&mut *derived))
        .map_err(|_| Failed)?;
    Ok(derived)
}

/// Random nonces, drawn many at a time from the system's generator as AWS-LC seeds it.
pub struct Nonces {
    random: SystemRandom,
    drawn: Box<[u8; NONCE_BYTES * 256]>,
    used: usize,
}

impl Nonces {
    pub fn new() -> Self {
        Self { random: SystemRandom::new(), drawn: Box::new([0; NONCE_BYTES * 256]), used: NONCE_BYTES * 256 }
    }

    #[inline]
    pub fn draw(&mut self) -> Result<[u8; NONCE_BYTES], Failed> {
        if self.used == self.drawn.len() {
            self.random.fill(&mut *self.drawn).map_err(|_| Failed)?;
            self.used = 0;
        }
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&self.drawn[self.used..self.used + NONCE_BYTES]);
        self.used += NONCE_BYTES;
        Ok(nonce)
    }
}

impl Default for Nonces {
    fn default() -> Self {
        Self::new()
    }
}
