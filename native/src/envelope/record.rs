//! A data key a value: MessagePack of five items, or of six where the key has a policy.

use super::{take, IV_BYTES, KEYSET_BYTES};
use crate::aead::{Cipher, Failed, TAG_BYTES};
use crate::varint;

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
}
