//! One data key for many values: `header nonce ciphertext tag`.

use super::{take, FINGERPRINT_BYTES, IV_BYTES, KEYSET_BYTES};
use crate::aead::{Cipher, Failed, NONCE_BYTES, TAIL_BYTES};
use crate::varint;

/// What stands before a header's tag.
const FIXED: usize = 34;

/// A data key that serves many values: its cipher, and the header of what is sealed under it up to the fingerprint.
pub struct Lease {
    pub cipher: Cipher,
    head: Vec<u8>,
}

/// A lease's head has labels of 1-255 bytes (descriptor) and of at most 255 (tag).
#[derive(Debug, PartialEq, Eq)]
pub struct BadLabel;

impl Lease {
    pub fn new(
        cipher: Cipher,
        keyset: &[u8; KEYSET_BYTES],
        iv: &[u8; IV_BYTES],
        tag: &[u8],
        descriptor: &[u8],
    ) -> Result<Self, BadLabel> {
        let (Ok(tag_len), Ok(label_len)) = (u8::try_from(tag.len()), u8::try_from(descriptor.len())) else {
            return Err(BadLabel);
        };
        if label_len == 0 {
            return Err(BadLabel);
        }
        let mut head = Vec::with_capacity(FIXED + 2 + tag.len() + descriptor.len());
        head.extend_from_slice(&[1, 0]);
        head.extend_from_slice(keyset);
        head.extend_from_slice(iv);
        head.push(tag_len);
        head.extend_from_slice(tag);
        head.push(label_len);
        head.extend_from_slice(descriptor);
        Ok(Self { cipher, head })
    }

    /// The header of values of a type.
    pub fn header(&self, fingerprint: &[u8; FINGERPRINT_BYTES]) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.head.len() + FINGERPRINT_BYTES);
        head.extend_from_slice(&self.head);
        head.extend_from_slice(fingerprint);
        head
    }
}

/// Appends the envelope of a value, its length in front: `header nonce ciphertext tag`. Returns the length.
///
/// The associated data begins with the envelope's header, of so many bytes.
#[inline]
pub fn push_leased(
    out: &mut Vec<u8>,
    cipher: &Cipher,
    header: usize,
    aad: &[u8],
    nonce: &[u8; NONCE_BYTES],
    value: &[u8],
) -> Result<usize, Failed> {
    let length = header + TAIL_BYTES + value.len();
    varint::push_length(out, length);
    out.extend_from_slice(&aad[..header]);
    out.extend_from_slice(nonce);
    cipher.seal(nonce, aad, value, out)?;
    Ok(length)
}

/// Where the nonce begins; `None` for what is no leased envelope.
pub fn leased_header_end(data: &[u8]) -> Option<usize> {
    if data.first() != Some(&1) {
        return None;
    }
    let label_at = FIXED + 1 + usize::from(*data.get(FIXED)?);
    let label = usize::from(*data.get(label_at)?);
    let end = label_at + 1 + label + FINGERPRINT_BYTES;
    (label > 0 && data.len() >= end + TAIL_BYTES).then_some(end)
}

/// A leased envelope's header taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub keyset: &'a [u8; KEYSET_BYTES],
    pub iv: &'a [u8; IV_BYTES],
    pub tag: &'a [u8],
    pub descriptor: &'a str,
    pub fingerprint: &'a [u8; FINGERPRINT_BYTES],
}

/// Takes what stands before the nonce apart; `None` for unknown flags and for a descriptor that is not UTF-8.
pub fn parse_leased(header: &[u8]) -> Option<Header<'_>> {
    let rest = header.strip_prefix(&[1, 0])?;
    let (keyset, rest) = rest.split_first_chunk()?;
    let (iv, rest) = rest.split_first_chunk()?;
    let (&length, rest) = rest.split_first()?;
    let (tag, rest) = take(rest, usize::from(length))?;
    let (&length, rest) = rest.split_first()?;
    let (descriptor, rest) = take(rest, usize::from(length))?;
    Some(Header { keyset, iv, tag, descriptor: std::str::from_utf8(descriptor).ok()?, fingerprint: rest.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_a_descriptor_and_fits_its_lengths() {
        let new = |tag: &[u8], label: &[u8]| Lease::new(Cipher::leased(&[0; 32]).unwrap(), &[0; 16], &[0; 16], tag, label).err();
        assert_eq!(new(&[], b""), Some(BadLabel));
        assert_eq!(new(&[0; 256], b"a"), Some(BadLabel));
        assert_eq!(new(&[0; 255], &[b'a'; 255]), None);
    }

    #[test]
    fn what_is_cut_short_is_no_leased_envelope() {
        let lease = Lease::new(Cipher::leased(&[0; 32]).unwrap(), &[4; 16], &[5; 16], &[6; 32], b"a/b").unwrap();
        let header = lease.header(&[8; 8]);
        let mut out = Vec::new();
        push_leased(&mut out, &lease.cipher, header.len(), &header, &[1; 12], b"").unwrap();
        let start = varint::read(&out, 0).unwrap().1;
        assert_eq!(leased_header_end(&out[start..]), Some(header.len()));
        assert_eq!(leased_header_end(&out[start..out.len() - 1]), None);
        assert_eq!(leased_header_end(&[]), None);
    }
}
