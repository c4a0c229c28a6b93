//! Envelopes opened a batch at a time: which keys they ask for, then their values.
//!
//! The readable twin is `worker/encryption/unbatch.py`. An envelope that is not plainly one of its field is `None` here,
//! without a reason: the twin reads it again and says why.

use std::collections::HashMap;
use std::sync::Arc;

use crate::aead::{Cipher, NONCE_BYTES};
use crate::envelope::{
    leased_header_end, parse_leased, parse_record, Lease, FINGERPRINT_BYTES, IV_BYTES, KEYSET_BYTES,
};
use crate::keys::KeyBatch;

/// What a field's envelopes must be; `None` takes what each is.
#[derive(Debug, Default, Clone)]
pub struct Place {
    pub leased: Option<bool>,
    pub descriptor: Option<Box<str>>,
    /// Of the types that a leased value may be of.
    pub fingerprints: Option<Box<[[u8; FINGERPRINT_BYTES]]>>,
}

/// What is needed to ask for a key again.
#[derive(Debug, Clone)]
pub struct Request {
    pub slot: u32,
    pub group: u32,
    pub keyset: Option<[u8; KEYSET_BYTES]>,
    pub iv: [u8; IV_BYTES],
    pub tag: Box<[u8]>,
    pub descriptor: Arc<str>,
    /// A lease's header up to the nonce; empty for a key of one value.
    pub header: Box<[u8]>,
}

/// The requests of a batch; values of one lease and context share theirs.
#[derive(Debug, Default)]
pub struct Asked {
    pub requests: Vec<Request>,
    heads: HashMap<(u32, u32, Box<[u8]>), u32>,
    last: Option<u32>,
}

impl Asked {
    /// The number of the request that an envelope's key is had by.
    pub fn ask(&mut self, place: &Place, slot: u32, group: u32, data: &[u8]) -> Option<u32> {
        match data.first()? {
            1 if place.leased != Some(false) => self.leased(place, slot, group, data),
            0x95 if place.leased != Some(true) => self.single(place, slot, group, data),
            _ => None,
        }
    }

    fn leased(&mut self, place: &Place, slot: u32, group: u32, data: &[u8]) -> Option<u32> {
        let header = &data[..leased_header_end(data)?];
        if let Some(last) = self.last {
            let before = &self.requests[last as usize];
            if before.slot == slot && before.group == group && *before.header == *header {
                return Some(last);
            }
        }
        let head = (slot, group, header.into());
        if let Some(&known) = self.heads.get(&head) {
            self.last = Some(known);
            return Some(known);
        }
        let parsed = parse_leased(header)?;
        if place.descriptor.as_deref().is_some_and(|expected| expected != parsed.descriptor)
            || place.fingerprints.as_ref().is_some_and(|known| !known.contains(parsed.fingerprint))
        {
            return None;
        }
        let number = self.push(Request {
            slot,
            group,
            keyset: Some(*parsed.keyset),
            iv: *parsed.iv,
            tag: parsed.tag.into(),
            descriptor: parsed.descriptor.into(),
            header: header.into(),
        })?;
        self.heads.insert(head, number);
        self.last = Some(number);
        Some(number)
    }

    fn single(&mut self, place: &Place, slot: u32, group: u32, data: &[u8]) -> Option<u32> {
        let parsed = parse_record(data)?;
        if place.descriptor.as_deref().is_some_and(|expected| expected != parsed.descriptor) {
            return None;
        }
        self.push(Request {
            slot,
            group,
            keyset: parsed.keyset.copied(),
            iv: *parsed.iv,
            tag: parsed.tag.into(),
            descriptor: self.shared(parsed.descriptor),
            header: Box::default(),
        })
    }

    fn shared(&self, descriptor: &str) -> Arc<str> {
        let before = self.requests.last().map(|request| &request.descriptor);
        before.filter(|before| ***before == *descriptor).cloned().unwrap_or_else(|| descriptor.into())
    }

    fn push(&mut self, request: Request) -> Option<u32> {
        let number = u32::try_from(self.requests.len()).ok()?;
        self.requests.push(request);
        Some(number)
    }
}

/// Where the key of a request is.
pub enum Source {
    Lease(Arc<Lease>),
    Held(Arc<KeyBatch>, usize),
}

/// Why a value could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The key service refuses its key, or the key was wiped meanwhile.
    NoKey,
    /// Altered, or with another context or other bound values than it was sealed with.
    Shut,
    /// Of another type than its field.
    Unexpected,
}

enum Ready {
    Lease { lease: Arc<Lease>, aad: Vec<u8> },
    Brief { cipher: Box<Cipher>, aad: Vec<u8> },
    Single(Arc<KeyBatch>, usize),
    Missing,
}

/// The keys of a batch's requests, ready to open with.
pub struct Opener<'a> {
    requests: &'a [Request],
    /// The number of the first of them.
    first: u32,
    ready: Vec<Ready>,
}

impl<'a> Opener<'a> {
    /// `sources` follow the requests; `context` gives the framed context of a slot's group.
    pub fn new<'c>(
        asked: &'a Asked,
        sources: impl Iterator<Item = Option<Source>>,
        context: impl Fn(u32, u32) -> Option<&'c [u8]>,
    ) -> Option<Self> {
        Self::part(&asked.requests, 0, sources, context)
    }

    /// As `new`, for the requests from the `first` on.
    pub fn part<'c>(
        requests: &'a [Request],
        first: u32,
        sources: impl Iterator<Item = Option<Source>>,
        context: impl Fn(u32, u32) -> Option<&'c [u8]>,
    ) -> Option<Self> {
        let ready: Vec<Ready> = requests.iter().zip(sources).map(|(request, source)| ready(request, source, &context)).collect();
        (ready.len() == requests.len()).then_some(Self { requests, first, ready })
    }

    /// Appends the plaintext of an envelope: a lease's Avro, or a record's typed plaintext. `bound` is framed.
    pub fn open(&mut self, number: u32, data: &[u8], bound: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let at = number.checked_sub(self.first).ok_or(Fault::NoKey)? as usize;
        let (Some(request), Some(ready)) = (self.requests.get(at), self.ready.get_mut(at)) else { return Err(Fault::NoKey) };
        let (cipher, aad) = match ready {
            Ready::Missing => return Err(Fault::NoKey),
            Ready::Single(batch, index) => return single(batch, *index, data, out),
            Ready::Lease { lease, aad } => (&lease.cipher, aad),
            Ready::Brief { cipher, aad } => (&**cipher, aad),
        };
        let shared = aad.len();
        aad.extend_from_slice(bound);
        let rest = data.get(request.header.len()..).ok_or(Fault::Shut)?;
        let opened = match rest.split_first_chunk::<NONCE_BYTES>() {
            Some((nonce, sealed)) => cipher.open(*nonce, aad, sealed, out).map_err(|_| Fault::Shut),
            None => Err(Fault::Shut),
        };
        aad.truncate(shared);
        opened
    }
}

fn ready<'c>(request: &Request, source: Option<Source>, context: &impl Fn(u32, u32) -> Option<&'c [u8]>) -> Ready {
    let Some(source) = source else { return Ready::Missing };
    if request.header.is_empty() {
        return match source {
            Source::Held(batch, index) => Ready::Single(batch, index),
            Source::Lease(_) => Ready::Missing,
        };
    }
    let mut aad = request.header.to_vec();
    aad.extend_from_slice(context(request.slot, request.group).unwrap_or(&[0; 4]));
    match source {
        Source::Lease(lease) => Ready::Lease { lease, aad },
        Source::Held(batch, index) => match batch.secret(index).map(|secret| Cipher::leased(&secret)) {
            Ok(Ok(cipher)) => Ready::Brief { cipher: Box::new(cipher), aad },
            _ => Ready::Missing,
        },
    }
}

fn single(batch: &KeyBatch, index: usize, data: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let record = parse_record(data).ok_or(Fault::Shut)?;
    let secret = batch.secret(index).map_err(|_| Fault::NoKey)?;
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&record.iv[..NONCE_BYTES]);
    let aad = [record.descriptor.as_bytes(), record.tag].concat();
    Cipher::new(&*secret).and_then(|cipher| cipher.open(nonce, &aad, record.ciphertext, out)).map_err(|_| Fault::Shut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::push_leased;
    use crate::varint;

    fn envelope(value: &[u8], bound: &[u8]) -> Vec<u8> {
        let lease = Lease::new(Cipher::leased(&[7; 32]).unwrap(), &[1; 16], &[2; 16], &[3; 32], b"a/b").unwrap();
        let header = lease.header(&[4; 8]);
        let mut out = Vec::new();
        push_leased(&mut out, &lease.cipher, header.len(), &[&header[..], &[0; 4], bound].concat(), &[5; 12], value).unwrap();
        let start = varint::read(&out, 0).unwrap().1;
        out.split_off(start)
    }

    #[test]
    fn values_of_one_lease_share_a_request() {
        let (mut asked, place) = (Asked::default(), Place { descriptor: Some("a/b".into()), ..Place::default() });
        let sealed = envelope(b"x", &[0; 4]);
        assert_eq!(asked.ask(&place, 0, 0, &sealed), Some(0));
        assert_eq!(asked.ask(&place, 0, 1, &sealed), Some(1));
        assert_eq!(asked.ask(&place, 0, 0, &sealed), Some(0));
        for bad in [&sealed[..40], b"", b"\x95", b"\x02"] {
            assert_eq!(asked.ask(&place, 0, 0, bad), None);
        }
        let moved = Place { descriptor: Some("a/c".into()), ..Place::default() };
        assert_eq!(Asked::default().ask(&moved, 0, 0, &sealed), None);
        let other_type = Place { fingerprints: Some(Box::new([[9; 8]])), ..Place::default() };
        assert_eq!(Asked::default().ask(&other_type, 0, 0, &sealed), None);
        assert_eq!(asked.requests.len(), 2);
    }

    #[test]
    fn what_was_sealed_opens_with_what_is_bound_to_it() {
        let (mut asked, sealed) = (Asked::default(), envelope(b"value", b"bound"));
        let number = asked.ask(&Place::default(), 0, 0, &sealed).unwrap();
        let lease = || Lease::new(Cipher::leased(&[7; 32]).unwrap(), &[1; 16], &[2; 16], &[3; 32], b"a/b").unwrap();
        let sources = std::iter::once(Some(Source::Lease(Arc::new(lease()))));
        let mut opener = Opener::new(&asked, sources, |_, _| None).unwrap();
        let mut out = b"before".to_vec();
        assert_eq!(opener.open(number, &sealed, b"bound", &mut out), Ok(()));
        assert_eq!(opener.open(number, &sealed, b"moved", &mut out), Err(Fault::Shut));
        assert_eq!(out, b"beforevalue");
        let mut missing = Opener::new(&asked, std::iter::once(None), |_, _| None).unwrap();
        assert_eq!(missing.open(number, &sealed, b"bound", &mut out), Err(Fault::NoKey));
    }
}
