//! AES-256-GCM-SIV and what comes before it: a lease's key by HKDF, and nonces.

use std::ptr::{null, null_mut};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_sys as lc;
use zeroize::Zeroizing;

use crate::hkdf;

pub const KEY_BYTES: usize = 32;
pub const NONCE_BYTES: usize = 12;
pub const TAG_BYTES: usize = 16;
/// What an envelope has more than its header and its plaintext.
pub const TAIL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

const LEASED: &[u8] = b"leased-v1";

/// The library failed, or what was to be opened does not open.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed;

/// Overwrites a secret that nobody reads afterwards.
pub fn cleanse(secret: &mut [u8]) {
    // SAFETY: the memory is as long as said, and any bytes are sound.
    unsafe { lc::OPENSSL_cleanse(secret.as_mut_ptr().cast(), secret.len()) }
}

/// A key that is set up; another one may take its place, in the same memory.
///
/// The library's own face takes memory for each key, and most keys of a batch of many contexts seal one value.
pub struct Cipher(Box<lc::EVP_AEAD_CTX>);

// SAFETY: the context holds no reference to the thread that made it, and AWS-LC may be called with it on many at once
// as long as none sets it up, which `&mut` sees to.
unsafe impl Send for Cipher {}
unsafe impl Sync for Cipher {}

impl Cipher {
    pub fn new(key: &[u8]) -> Result<Self, Failed> {
        let mut cipher = Self::unset();
        cipher.set(key)?;
        Ok(cipher)
    }

    /// A cipher that has no key yet.
    pub fn unset() -> Self {
        // SAFETY: zeros are what `EVP_AEAD_CTX_zero` makes of a context.
        Self(Box::new(unsafe { std::mem::zeroed() }))
    }

    /// The cipher of a lease.
    pub fn leased(data_key: &[u8; KEY_BYTES]) -> Result<Self, Failed> {
        Self::new(&*leased(data_key)?)
    }

    /// Takes another key; after a failure there is none.
    pub fn set(&mut self, key: &[u8]) -> Result<(), Failed> {
        // SAFETY: the context is zeros or was set up before, and stays where it is; the key is as long as said.
        let done = unsafe {
            lc::EVP_AEAD_CTX_cleanup(&mut *self.0);
            lc::EVP_AEAD_CTX_init(&mut *self.0, lc::EVP_aead_aes_256_gcm_siv(), key.as_ptr(), key.len(), TAG_BYTES, null_mut())
        };
        if done == 1 { Ok(()) } else { Err(Failed) }
    }

    fn is_set(&self) -> Result<(), Failed> {
        if self.0.aead.is_null() { Err(Failed) } else { Ok(()) }
    }

    /// Seals a value onto the end of `out`, its tag behind it; nothing is left there after a failure.
    #[inline]
    pub fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), Failed> {
        self.is_set()?;
        let (sealed, mut length) = (value.len() + TAG_BYTES, 0);
        out.reserve(sealed);
        let at: *mut u8 = out.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: behind `out` is room for ciphertext and tag, which no reference leads to; every other length is that of
        // its memory. What counts as written is what the library wrote.
        unsafe {
            let done = lc::EVP_AEAD_CTX_seal_scatter(
                &*self.0, at, at.add(value.len()), &mut length, TAG_BYTES, nonce.as_ptr(), NONCE_BYTES,
                value.as_ptr(), value.len(), null(), 0, aad.as_ptr(), aad.len(),
            );
            if done != 1 || length != TAG_BYTES {
                return Err(Failed);
            }
            out.set_len(out.len() + sealed);
        }
        Ok(())
    }

    /// Opens `sealed`, tag at its end, onto the end of `out`; nothing is left there where it does not open.
    pub fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Failed> {
        self.is_set()?;
        let (from, mut length) = (out.len(), 0);
        out.resize(from + sealed.len(), 0);
        let value = &mut out[from..];
        // SAFETY: every length is that of its memory, and the output lies apart from the input.
        let done = unsafe {
            lc::EVP_AEAD_CTX_open(
                &*self.0, value.as_mut_ptr(), &mut length, value.len(), nonce.as_ptr(), NONCE_BYTES,
                sealed.as_ptr(), sealed.len(), aad.as_ptr(), aad.len(),
            )
        };
        let opened = done == 1 && length <= sealed.len();
        out.truncate(if opened { from + length } else { from });
        if opened { Ok(()) } else { Err(Failed) }
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        let context: *mut lc::EVP_AEAD_CTX = &mut *self.0;
        // SAFETY: the context is cleaned up before its memory is overwritten, and nobody uses it afterwards.
        unsafe {
            lc::EVP_AEAD_CTX_cleanup(context);
            lc::OPENSSL_cleanse(context.cast(), size_of::<lc::EVP_AEAD_CTX>());
        }
    }
}

/// The key of a lease's cipher: HKDF-SHA256 of its data key, no salt.
pub fn leased(data_key: &[u8; KEY_BYTES]) -> Result<Zeroizing<[u8; KEY_BYTES]>, Failed> {
    let mut derived = Zeroizing::new([0; KEY_BYTES]);
    hkdf::derive(data_key, LEASED, &mut derived).ok_or(Failed)?;
    Ok(derived)
}

/// How many nonces are drawn together.
const AT_ONCE: usize = 256;

/// Random nonces, drawn many at a time from the system's generator as AWS-LC seeds it.
pub struct Nonces {
    random: SystemRandom,
    drawn: Box<[[u8; NONCE_BYTES]; AT_ONCE]>,
    used: usize,
}

impl Nonces {
    pub fn new() -> Self {
        Self { random: SystemRandom::new(), drawn: Box::new([[0; NONCE_BYTES]; AT_ONCE]), used: AT_ONCE }
    }

    #[inline]
    pub fn draw(&mut self) -> Result<&[u8; NONCE_BYTES], Failed> {
        if self.used == AT_ONCE {
            self.random.fill(self.drawn.as_flattened_mut()).map_err(|_| Failed)?;
            self.used = 0;
        }
        let nonce = self.drawn.get(self.used).ok_or(Failed)?;
        self.used += 1;
        Ok(nonce)
    }
}

impl Default for Nonces {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(cipher: &Cipher) -> Vec<u8> {
        let mut out = b"before".to_vec();
        cipher.seal(&[1; NONCE_BYTES], b"aad", b"value", &mut out).unwrap();
        assert!(out.starts_with(b"before") && !out.ends_with(b"value"));
        out.split_off(6)
    }

    #[test]
    fn the_last_key_counts() {
        let mut cipher = Cipher::new(&[1; KEY_BYTES]).unwrap();
        let first = sealed(&cipher);
        cipher.set(&[2; KEY_BYTES]).unwrap();
        let second = sealed(&cipher);
        assert_eq!(second, sealed(&Cipher::new(&[2; KEY_BYTES]).unwrap()));
        let mut opened = b"before".to_vec();
        assert_eq!(cipher.open([1; NONCE_BYTES], b"aad", &first, &mut opened), Err(Failed));
        assert_eq!(opened, b"before");
        cipher.open([1; NONCE_BYTES], b"aad", &second, &mut opened).unwrap();
        assert_eq!(opened, b"beforevalue");
    }

    #[test]
    fn a_key_of_another_length_leaves_none() {
        let mut cipher = Cipher::new(&[1; KEY_BYTES]).unwrap();
        assert_eq!(cipher.set(&[1; 16]), Err(Failed));
        let mut out = b"before".to_vec();
        for cipher in [&cipher, &Cipher::unset()] {
            assert_eq!(cipher.seal(&[1; NONCE_BYTES], b"", b"value", &mut out), Err(Failed));
            assert_eq!(out, b"before");
        }
        assert_eq!(cipher.open([1; NONCE_BYTES], b"", &[0; 20], &mut Vec::new()), Err(Failed));
        assert_eq!(Cipher::new(&[]).err(), Some(Failed));
    }
}
