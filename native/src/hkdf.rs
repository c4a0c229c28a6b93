//! HKDF-SHA256 without a salt, of one block: a lease's key comes of it, and most leases of many contexts seal one value.
//!
//! The library's own takes twice as long: it sets the constant salt up anew for each key, and asks for memory.
//!
//! Source: RFC 5869, 2.2 and 2.3; RFC 2104, 2 and 4.

use std::sync::LazyLock;

use aws_lc_sys as lc;
use zeroize::Zeroizing;

pub const BYTES: usize = 32;
const BLOCK: usize = 64;
/// The longest info: behind it stands the block's number.
const INFO: usize = 32;

/// The hash as it stands after some bytes.
#[derive(Clone)]
struct Hash(lc::SHA256_CTX);

impl Hash {
    /// After the first block of a key's inner or outer hash.
    fn padded(key: &[u8; BYTES], pad: u8) -> Option<Self> {
        let mut block = Zeroizing::new([pad; BLOCK]);
        block.iter_mut().zip(key).for_each(|(byte, of_key)| *byte ^= of_key);
        // SAFETY: plain numbers, which `SHA256_Init` sets.
        let mut hash = Self(unsafe { std::mem::zeroed() });
        // SAFETY: the state is one.
        done(unsafe { lc::SHA256_Init(&mut hash.0) })?;
        hash.update(&*block)?;
        Some(hash)
    }

    fn update(&mut self, bytes: &[u8]) -> Option<()> {
        // SAFETY: the state was set up, and the bytes are as many as said.
        done(unsafe { lc::SHA256_Update(&mut self.0, bytes.as_ptr().cast(), bytes.len()) })
    }

    fn end(mut self, bytes: &[u8]) -> Option<Zeroizing<[u8; BYTES]>> {
        self.update(bytes)?;
        let mut sum = Zeroizing::new([0; BYTES]);
        // SAFETY: the state was set up, and a sum has 32 bytes.
        done(unsafe { lc::SHA256_Final(sum.as_mut_ptr(), &mut self.0) })?;
        Some(sum)
    }
}

impl Drop for Hash {
    fn drop(&mut self) {
        let state: *mut lc::SHA256_CTX = &mut self.0;
        // SAFETY: the state is plain numbers, which nobody reads afterwards.
        unsafe { lc::OPENSSL_cleanse(state.cast(), size_of::<lc::SHA256_CTX>()) }
    }
}

fn done(code: i32) -> Option<()> {
    (code == 1).then_some(())
}

/// HMAC under a key that is set up.
#[derive(Clone)]
struct Hmac {
    inner: Hash,
    outer: Hash,
}

impl Hmac {
    fn new(key: &[u8; BYTES]) -> Option<Self> {
        Some(Self { inner: Hash::padded(key, 0x36)?, outer: Hash::padded(key, 0x5c)? })
    }

    fn sum(self, bytes: &[u8]) -> Option<Zeroizing<[u8; BYTES]>> {
        let inner = self.inner.end(bytes)?;
        self.outer.end(&*inner)
    }
}

/// The first block of what a secret yields for an info of at most `INFO` bytes; `None` where the library fails.
pub fn derived(secret: &[u8], info: &[u8]) -> Option<Zeroizing<[u8; BYTES]>> {
    static UNSALTED: LazyLock<Option<Hmac>> = LazyLock::new(|| Hmac::new(&[0; BYTES]));
    let mut block = [1; INFO + 1];
    block[..INFO].get_mut(..info.len())?.copy_from_slice(info);
    let key = UNSALTED.clone()?.sum(secret)?;
    Hmac::new(&key)?.sum(&block[..=info.len()])
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hkdf::{KeyType, Salt, HKDF_SHA256};

    use super::*;

    struct Bytes32;

    impl KeyType for Bytes32 {
        fn len(&self) -> usize {
            BYTES
        }
    }

    #[test]
    fn it_is_what_the_library_derives() {
        for length in [0usize, 1, 31, 32, 63, 64, 65, 200] {
            let secret: Vec<u8> = (0..length).map(|n| (7 * n + length) as u8).collect();
            for info in [&b""[..], b"leased-v1", &[1; INFO]] {
                let mut expected = [0; BYTES];
                let key = Salt::new(HKDF_SHA256, &[]).extract(&secret);
                key.expand(&[info], Bytes32).unwrap().fill(&mut expected).unwrap();
                assert_eq!(*derived(&secret, info).unwrap(), expected, "{length}");
            }
        }
        assert!(derived(b"", &[1; INFO + 1]).is_none());
    }
}
