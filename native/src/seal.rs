//! A batch put together: what is clear copied, what is declared sealed straight into one buffer, each datum framed.

use std::sync::Arc;

use crate::aead::{Failed, Nonces, TAIL_BYTES};
use crate::envelope::{push_leased, push_record, Lease};
use crate::keys::KeyBatch;
use crate::program::{Program, Slot};
use crate::typed;
use crate::varint;
use crate::walk::{frame, BoundSpan, Cut, Found, NONE};

/// Why a batch could not be sealed; nothing of it is to be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsealed {
    /// The keys do not add up to the values, or one was used before.
    Keys,
    Library,
}

impl From<Failed> for Unsealed {
    fn from(_: Failed) -> Self {
        Self::Library
    }
}

/// Datums and the records' keys, by their number in the batch.
pub trait Records: Sync {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn datum(&self, index: usize) -> &[u8];
    fn key(&self, index: usize) -> Option<&[u8]>;
}

/// The keys for the values of one slot and context, in the values' order.
pub enum Supply {
    Leased(Vec<(Arc<Lease>, u32)>),
    Single(Vec<(Arc<KeyBatch>, u32)>),
}

/// What one slot and context asks for.
#[derive(Debug, Default, Clone)]
pub struct Demand {
    pub count: u32,
    pub bytes: u64,
    pub sizes: Vec<u32>,
}

/// Output datums in one buffer; one that was left out is empty.
#[derive(Debug, Default)]
pub struct Output {
    pub data: Vec<u8>,
    pub ends: Vec<usize>,
    /// Bytes of envelopes, by slot.
    pub sealed: Vec<u64>,
}

impl Output {
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.data.get(start..end)
    }
}

/// A value's context by its number, 0 where its field has none.
pub fn group_of(cut: &Cut) -> usize {
    if cut.group == NONE { 0 } else { cut.group as usize }
}

/// What each slot and context asks for, but for datums that are left out.
pub fn demands(program: &Program, found: &Found, skip: &[bool]) -> Vec<Vec<Demand>> {
    let groups = |slot: usize| found.groups[slot].framed.len().max(1);
    let mut asked: Vec<Vec<Demand>> = (0..program.slots.len()).map(|slot| vec![Demand::default(); groups(slot)]).collect();
    for (index, &left_out) in skip.iter().enumerate() {
        if left_out {
            continue;
        }
        for cut in found.cuts_of(index).iter().filter(|cut| cut.slot != NONE) {
            let demand = &mut asked[cut.slot as usize][group_of(cut)];
            demand.count += 1;
            demand.bytes += u64::from(cut.last - cut.first);
            demand.sizes.push(cut.last - cut.first);
        }
    }
    asked
}

/// The envelopes of one slot within an output, by where its datums' cuts are; `frame` bytes stand before each datum.
pub fn envelopes<'o>(found: &Found, output: &'o Output, skip: &[bool], frame: usize, slot: u32) -> Vec<&'o [u8]> {
    let mut found_here = Vec::new();
    for (index, _) in skip.iter().enumerate().filter(|(_, &left_out)| !left_out) {
        let Some(data) = output.get(index) else { continue };
        let (mut at, mut position) = (frame, 0);
        for cut in found.cuts_of(index) {
            at += cut.start as usize - position + cut.prefix.as_slice().len();
            position = cut.end as usize;
            if cut.slot == NONE {
                continue;
            }
            let Some((length, start)) = varint::read(data, at) else { break };
            at = start + length as usize;
            if cut.slot == slot {
                found_here.extend(data.get(start..at));
            }
        }
    }
    found_here
}

struct Portion {
    lease: Arc<Lease>,
    left: u32,
    header: Vec<u8>,
    /// The associated data up to what is bound.
    aad: Vec<u8>,
    shared: usize,
}

enum Feed {
    Leased(std::vec::IntoIter<Portion>, Option<Portion>),
    Single(std::vec::IntoIter<(Arc<KeyBatch>, u32)>),
}

/// Seals a batch. `supplies` follow the slots and their contexts as `demands` gave them.
pub fn seal(
    program: &Program,
    found: &Found,
    records: &dyn Records,
    skip: &[bool],
    prefix: &[u8],
    supplies: Vec<Vec<Supply>>,
    nonces: &mut Nonces,
) -> Result<Output, Unsealed> {
    if supplies.len() != program.slots.len() || skip.len() != found.ends.len() || records.len() != skip.len() {
        return Err(Unsealed::Keys);
    }
    let mut growth = 8;
    let mut feeds = Vec::with_capacity(supplies.len());
    for ((slot, groups), supplies) in program.slots.iter().zip(&found.groups).zip(supplies) {
        if supplies.len() != groups.framed.len().max(1) {
            return Err(Unsealed::Keys);
        }
        let each = supplies.into_iter().enumerate().map(|(n, s)| feed(slot, groups.framed.get(n).map(|f| &**f), s, &mut growth));
        feeds.push(each.collect::<Vec<_>>());
    }
    let clear: usize = (0..records.len()).filter(|&i| !skip[i]).map(|i| records.datum(i).len() + prefix.len()).sum();
    let mut out = Output {
        data: Vec::with_capacity(clear + found.cuts.len() * growth),
        ends: Vec::with_capacity(records.len()),
        sealed: vec![0; program.slots.len()],
    };
    let mut sealer = Sealer { program, found, feeds, nonces, typed: Vec::new(), aad: Vec::new() };
    for (index, &left_out) in skip.iter().enumerate() {
        if !left_out {
            out.data.extend_from_slice(prefix);
            sealer.datum(records.datum(index), records.key(index), found.cuts_of(index), &mut out)?;
        }
        out.ends.push(out.data.len());
    }
    Ok(out)
}

fn feed(slot: &Slot, context: Option<&[u8]>, supply: Supply, growth: &mut usize) -> Feed {
    match supply {
        Supply::Single(keys) => {
            *growth = (*growth).max(256);
            Feed::Single(keys.into_iter())
        }
        Supply::Leased(portions) => {
            let mut each = portions
                .into_iter()
                .map(|(lease, left)| {
                    let header = lease.header(&slot.fingerprint);
                    *growth = (*growth).max(header.len() + TAIL_BYTES + 4);
                    let mut aad = header.clone();
                    aad.extend_from_slice(context.unwrap_or(&[0; 4]));
                    if slot.bind.is_empty() {
                        aad.extend_from_slice(&[0; 4]);
                    }
                    let shared = aad.len();
                    Portion { lease, left, header, aad, shared }
                })
                .collect::<Vec<_>>()
                .into_iter();
            let first = each.next();
            Feed::Leased(each, first)
        }
    }
}

struct Sealer<'a> {
    program: &'a Program,
    found: &'a Found,
    feeds: Vec<Vec<Feed>>,
    nonces: &'a mut Nonces,
    typed: Vec<u8>,
    aad: Vec<u8>,
}

impl Sealer<'_> {
    fn datum(&mut self, data: &[u8], key: Option<&[u8]>, cuts: &[Cut], out: &mut Output) -> Result<(), Unsealed> {
        let mut position = 0;
        for cut in cuts {
            out.data.extend_from_slice(&data[position..cut.start as usize]);
            out.data.extend_from_slice(cut.prefix.as_slice());
            position = cut.end as usize;
            if cut.slot != NONE {
                out.sealed[cut.slot as usize] += self.value(data, key, cut, &mut out.data)? as u64;
            }
        }
        out.data.extend_from_slice(&data[position..]);
        Ok(())
    }

    fn value(&mut self, data: &[u8], key: Option<&[u8]>, cut: &Cut, out: &mut Vec<u8>) -> Result<usize, Unsealed> {
        let value = &data[cut.first as usize..cut.last as usize];
        let slot = &self.program.slots[cut.slot as usize];
        match &mut self.feeds[cut.slot as usize][group_of(cut)] {
            Feed::Leased(rest, current) => {
                while current.as_ref().is_some_and(|portion| portion.left == 0) {
                    *current = rest.next();
                }
                let portion = current.as_mut().ok_or(Unsealed::Keys)?;
                portion.left -= 1;
                let shared = portion.shared;
                portion.aad.truncate(shared);
                if !slot.bind.is_empty() {
                    let spans = &self.found.bound[cut.bound as usize..][..slot.bind.len()];
                    frame(&mut portion.aad, &slot.bind, spans.iter().map(|span| match span {
                        BoundSpan::Datum(start, end) => &data[*start as usize..*end as usize],
                        BoundSpan::Key => key.unwrap_or_default(),
                    }));
                }
                let nonce = self.nonces.draw()?;
                Ok(push_leased(out, &portion.lease.cipher, &portion.header, &portion.aad, nonce, value)?)
            }
            Feed::Single(keys) => {
                let (batch, index) = keys.next().ok_or(Unsealed::Keys)?;
                let (secret, label) = batch.spend(index as usize).map_err(|_| Unsealed::Keys)?;
                self.typed.clear();
                typed::write(slot, value, &mut self.typed);
                Ok(push_record(out, &*secret, &label, &self.typed, &mut self.aad)?)
            }
        }
    }
}
