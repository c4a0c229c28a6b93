//! Envelopes of both formats, written and taken apart. Grammar: docs/envelopes.md.

use crate::aead::{Cipher, Failed, NONCE_BYTES, TAG_BYTES, TAIL_BYTES};
use crate::varint;

pub const FINGERPRINT_BYTES: usize = 8;
pub const IV_BYTES: usize = 16;
pub const KEYSET_BYTES: usize = 16;
const MAX_LABEL_BYTES: usize = 255;
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

/// What a record's envelope carries of its key.
pub struct KeyLabel<'a> {
    pub iv: &'a [u8; IV_BYTES],
    pub tag: &'a [u8],
    pub descriptor: &'a [u8],
    pub keyset: &'a [u8; KEYSET_BYTES],
    /// The decryption policy as MessagePack, empty for none.
    pub policy: &'a [u8],
}

/// Writes envelopes of values that have a key each.
pub struct RecordSealer {
    cipher: Cipher,
    aad: Vec<u8>,
}

impl RecordSealer {
    pub fn new() -> Self {
        Self { cipher: Cipher::unset(), aad: Vec::new() }
    }

    /// Appends the envelope of a typed plaintext in MessagePack, its length in front. Returns the length.
    pub fn push(&mut self, out: &mut Vec<u8>, key: &[u8], label: &KeyLabel<'_>, typed: &[u8]) -> Result<usize, Failed> {
        let sealed = typed.len() + TAG_BYTES;
        let length = 1
            + (2 + IV_BYTES)
            + bin_bytes(sealed)
            + bin_bytes(label.tag.len())
            + str_bytes(label.descriptor.len())
            + (2 + KEYSET_BYTES)
            + label.policy.len();
        varint::push_length(out, length);
        let start = out.len();
        out.push(if label.policy.is_empty() { 0x95 } else { 0x96 });
        push_bin(out, label.iv);
        push_bin_header(out, sealed);
        self.aad.clear();
        self.aad.extend_from_slice(label.descriptor);
        self.aad.extend_from_slice(label.tag);
        self.cipher.set(key)?;
        self.cipher.seal(label.iv.first_chunk().ok_or(Failed)?, &self.aad, typed, out)?;
        push_bin(out, label.tag);
        push_str(out, label.descriptor);
        push_bin(out, label.keyset);
        out.extend_from_slice(label.policy);
        debug_assert_eq!(out.len() - start, length);
        Ok(length)
    }
}

impl Default for RecordSealer {
    fn default() -> Self {
        Self::new()
    }
}

fn bin_bytes(length: usize) -> usize {
    length + if length < 1 << 8 { 2 } else if length < 1 << 16 { 3 } else { 5 }
}

fn str_bytes(length: usize) -> usize {
    length + if length < 32 { 1 } else if length < 1 << 8 { 2 } else if length < 1 << 16 { 3 } else { 5 }
}

fn push_bin_header(out: &mut Vec<u8>, length: usize) {
    if length < 1 << 8 {
        out.extend_from_slice(&[0xc4, length as u8]);
    } else if length < 1 << 16 {
        out.push(0xc5);
        out.extend_from_slice(&(length as u16).to_be_bytes());
    } else {
        out.push(0xc6);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

fn push_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    push_bin_header(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends text as MessagePack.
pub fn push_str(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length if length < 32 => out.push(0xa0 | length as u8),
        length if length < 1 << 8 => out.extend_from_slice(&[0xd9, length as u8]),
        length if length < 1 << 16 => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// A record's envelope taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub iv: &'a [u8; IV_BYTES],
    pub ciphertext: &'a [u8],
    pub tag: &'a [u8],
    pub descriptor: &'a str,
    pub keyset: Option<&'a [u8; KEYSET_BYTES]>,
}

const MAX_DESCRIPTOR_BYTES: usize = 512;

/// Takes the MessagePack of five items apart; `None` for anything but its one encoding, and for one with a policy.
pub fn parse_record(data: &[u8]) -> Option<Record<'_>> {
    let rest = data.strip_prefix(&[0x95])?;
    let (iv, rest) = take_bin(rest)?;
    let (ciphertext, rest) = take_bin(rest)?;
    let (tag, rest) = take_bin(rest)?;
    let (descriptor, rest) = take_str(rest)?;
    let keyset = match rest {
        [0xc0] => None,
        _ => {
            let (keyset, rest) = take_bin(rest)?;
            if !rest.is_empty() {
                return None;
            }
            Some(keyset.try_into().ok()?)
        }
    };
    if ciphertext.len() < TAG_BYTES || descriptor.len() > MAX_DESCRIPTOR_BYTES {
        return None;
    }
    Some(Record { iv: iv.try_into().ok()?, ciphertext, tag, descriptor: std::str::from_utf8(descriptor).ok()?, keyset })
}

fn take(data: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    (length <= data.len()).then(|| data.split_at(length))
}

fn take_sized(data: &[u8], bytes: usize, least: usize) -> Option<(&[u8], &[u8])> {
    let (size, rest) = take(data, bytes)?;
    let length = size.iter().fold(0usize, |n, &byte| n << 8 | usize::from(byte));
    if length < least {
        return None;
    }
    take(rest, length)
}

fn take_bin(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&kind, rest) = data.split_first()?;
    match kind {
        0xc4 => take_sized(rest, 1, 0),
        0xc5 => take_sized(rest, 2, 1 << 8),
        0xc6 => take_sized(rest, 4, 1 << 16),
        _ => None,
    }
}

fn take_str(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&kind, rest) = data.split_first()?;
    match kind {
        0xa0..=0xbf => take(rest, usize::from(kind & 0x1f)),
        0xd9 => take_sized(rest, 1, 32),
        0xda => take_sized(rest, 2, 1 << 8),
        0xdb => take_sized(rest, 4, 1 << 16),
        _ => None,
    }
}

const _: () = assert!(MAX_LABEL_BYTES == u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back() {
        for size in [0usize, 1, 230, 240, 300, 70_000] {
            let typed = vec![7; size];
            let label = KeyLabel { iv: &[1; 16], tag: &[2; 32], descriptor: b"acme.Customer/email", keyset: &[3; 16], policy: b"" };
            let mut out = Vec::new();
            RecordSealer::new().push(&mut out, &[9; 32], &label, &typed).unwrap();
            let (length, start) = varint::read(&out, 0).unwrap();
            assert_eq!(length as usize, out.len() - start);
            let record = parse_record(&out[start..]).unwrap();
            let mut opened = Vec::new();
            let aad = [b"acme.Customer/email".as_slice(), &[2; 32]].concat();
            Cipher::new(&[9; 32]).unwrap().open([1; 12], &aad, record.ciphertext, &mut opened).unwrap();
            assert_eq!(opened, typed);
            for cut in [1, 20, 40] {
                assert_eq!(parse_record(&out[start..out.len() - cut]), None);
            }
        }
    }

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
