//! HKDF-SHA256 without a salt, of one block: a lease's key comes of it, and most leases of many contexts seal one value.
//!
//! The library's own takes twice as long: it sets the constant salt up anew for each key, and asks for memory. Here its
//! compression alone is the library's, since every message fits into one block behind the key's.
//!
//! Source: RFC 5869, 2.2 and 2.3; RFC 2104, 2; FIPS 180-4, 5.1.1 and 6.2.2.

use std::sync::LazyLock;

use aws_lc_sys as lc;
use zeroize::Zeroizing;

pub const BYTES: usize = 32;
const BLOCK: usize = 64;
/// What fits into one block with its padding: a bit, and the length in bits as 64 of them.
const MESSAGE: usize = BLOCK - 9;
/// The longest info: behind it stands the block's number.
const INFO: usize = MESSAGE - 1;

/// The hash as it stands after some whole blocks.
#[derive(Clone)]
struct State(Zeroizing<[u32; 8]>);

impl State {
    /// The hash of nothing yet.
    fn first() -> Self {
        // SAFETY: plain numbers, which `SHA256_Init` sets.
        let mut context: lc::SHA256_CTX = unsafe { std::mem::zeroed() };
        // SAFETY: the context is one; the library says that this can't fail.
        unsafe { lc::SHA256_Init(&mut context) };
        Self(Zeroizing::new(context.h))
    }

    fn add(&mut self, block: &[u8; BLOCK]) {
        // SAFETY: a state is 8 numbers, and a block as long as the hash has them.
        unsafe { lc::SHA256_TransformBlocks(self.0.as_mut_ptr(), block.as_ptr(), 1) }
    }

    /// Writes the sum, where a message of at most `MESSAGE` bytes comes behind the one block of a key.
    fn sum(&mut self, message: &[u8], sum: &mut [u8; BYTES]) -> Option<()> {
        let mut block = Zeroizing::new([0; BLOCK]);
        block[..MESSAGE].get_mut(..message.len())?.copy_from_slice(message);
        block[message.len()] = 0x80;
        block[BLOCK - 8..].copy_from_slice(&(8 * (BLOCK + message.len()) as u64).to_be_bytes());
        self.add(&block);
        sum.chunks_exact_mut(4).zip(self.0.iter()).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_be_bytes()));
        Some(())
    }
}

/// HMAC under a key that is set up.
#[derive(Clone)]
struct Hmac {
    inner: State,
    outer: State,
}

impl Hmac {
    fn new(key: &[u8; BYTES], first: &State) -> Self {
        let padded = |pad: u8| {
            let mut block = Zeroizing::new([pad; BLOCK]);
            block.iter_mut().zip(key).for_each(|(byte, of_key)| *byte ^= of_key);
            let mut state = first.clone();
            state.add(&block);
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// Writes the sum of a message; the key is used up.
    fn sum(&mut self, message: &[u8], sum: &mut [u8; BYTES]) -> Option<()> {
        let mut inner = Zeroizing::new([0; BYTES]);
        self.inner.sum(message, &mut inner)?;
        self.outer.sum(&*inner, sum)
    }
}

/// Writes the first block of what a secret yields; `None` for an info of more than `INFO` bytes.
pub fn derive(secret: &[u8; BYTES], info: &[u8], derived: &mut [u8; BYTES]) -> Option<()> {
    static BEGUN: LazyLock<(State, Hmac)> = LazyLock::new(|| {
        let first = State::first();
        let unsalted = Hmac::new(&[0; BYTES], &first);
        (first, unsalted)
    });
    let (first, unsalted) = &*BEGUN;
    let mut key = Zeroizing::new([0; BYTES]);
    unsalted.clone().sum(secret, &mut key)?;
    let mut block = [1; INFO + 1];
    block[..INFO].get_mut(..info.len())?.copy_from_slice(info);
    Hmac::new(&key, first).sum(&block[..=info.len()], derived)
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
        let mut secret = [0; BYTES];
        for round in 0..200u32 {
            for info in [&b""[..], b"leased-v1", &[round as u8; INFO]] {
                let mut expected = [0; BYTES];
                let key = Salt::new(HKDF_SHA256, &[]).extract(&secret);
                key.expand(&[info], Bytes32).unwrap().fill(&mut expected).unwrap();
                let mut found = [0; BYTES];
                derive(&secret, info, &mut found).unwrap();
                assert_eq!(found, expected, "{round}");
                secret = expected;
            }
        }
        assert!(derive(&secret.clone(), &[1; INFO + 1], &mut secret).is_none());
    }
}
