//! A batch put together: what is clear copied, what is declared sealed straight into one buffer, each datum framed.

use crate::aead::Nonces;
use crate::envelope::{push_leased, RecordSealer};
use crate::feed::{Feed, Unsealed};
use crate::order;
use crate::output::Output;
use crate::prefetch::{self, Frontier};
use crate::program::Program;
use crate::room;
use crate::typed;
use crate::varint;
use crate::contexts::{frame, NONE};
use crate::walk::{BoundSpan, Cut, Found};

/// How many datums ahead keys are fetched.
const SOON: usize = 4;
/// How many ahead datums themselves are fetched, where they do not come as they lie in memory.
const LATER: usize = 8;

/// Datums and the records' keys, by their number in the batch.
pub trait Records: Sync {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn datum(&self, index: usize) -> &[u8];
    fn key(&self, index: usize) -> Option<&[u8]>;
}

/// What one slot asks for: its contexts that have values, how many each has, and their bytes.
#[derive(Debug, Default)]
pub struct Demand {
    pub contexts: Vec<u32>,
    pub counts: Vec<i64>,
    pub bytes: Vec<i64>,
}

/// A value's context by its number, 0 where its field has none.
pub fn group_of(cut: &Cut) -> usize {
    if cut.group == NONE { 0 } else { cut.group as usize }
}

/// What each slot asks for, but for datums that are left out.
pub fn demands(program: &Program, found: &Found, skip: &[bool]) -> Vec<Demand> {
    let sizes = || program.tables.iter().map(|&table| found.contexts[table].len().max(1));
    let mut counts: Vec<Vec<i64>> = sizes().map(|contexts| vec![0; contexts]).collect();
    let mut bytes: Vec<Vec<i64>> = sizes().map(|contexts| vec![0; contexts]).collect();
    for (index, &left_out) in skip.iter().enumerate() {
        if left_out {
            continue;
        }
        for cut in found.cuts_of(index).iter().filter(|cut| cut.slot != NONE) {
            let (slot, context) = (cut.slot as usize, group_of(cut));
            counts[slot][context] += 1;
            bytes[slot][context] += i64::from(cut.last - cut.first);
        }
    }
    let asked = |(counts, bytes): (Vec<i64>, Vec<i64>)| {
        if counts.iter().all(|&count| count > 0) {
            return Demand { contexts: (0..counts.len() as u32).collect(), counts, bytes };
        }
        let present: Vec<usize> = (0..counts.len()).filter(|&context| counts[context] > 0).collect();
        Demand {
            counts: present.iter().map(|&context| counts[context]).collect(),
            bytes: present.iter().map(|&context| bytes[context]).collect(),
            contexts: present.into_iter().map(|context| context as u32).collect(),
        }
    };
    counts.into_iter().zip(bytes).map(asked).collect()
}

/// How many values each slot has in a stretch of datums, but for those that are left out.
pub fn counts(program: &Program, found: &Found, skip: &[bool], start: usize, stop: usize) -> Vec<usize> {
    let mut counts = vec![0; program.slots.len()];
    for index in (start..stop.min(skip.len())).filter(|&index| !skip[index]) {
        for cut in found.cuts_of(index).iter().filter(|cut| cut.slot != NONE) {
            counts[cut.slot as usize] += 1;
        }
    }
    counts
}

/// The sizes of a slot's values under one context, but for datums that are left out.
pub fn sizes(found: &Found, skip: &[bool], slot: u32, context: u32) -> Vec<u32> {
    let here = |cut: &&Cut| cut.slot == slot && group_of(cut) == context as usize;
    let kept = (0..skip.len()).filter(|&index| !skip[index]);
    kept.flat_map(|index| found.cuts_of(index).iter().filter(here).map(|cut| cut.last - cut.first)).collect()
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

/// Seals a batch. `feeds` follow the slots.
pub fn seal(
    program: &Program,
    found: &Found,
    records: &dyn Records,
    skip: &[bool],
    prefix: &[u8],
    feeds: Vec<Feed<'_>>,
    nonces: &mut Nonces,
) -> Result<Output, Unsealed> {
    if feeds.len() != program.slots.len() || skip.len() != found.ends.len() || records.len() != skip.len() {
        return Err(Unsealed::Keys);
    }
    let growth = feeds.iter().map(Feed::growth).max().unwrap_or_default();
    let clear: usize = (0..records.len()).filter(|&i| !skip[i]).map(|i| records.datum(i).len() + prefix.len()).sum();
    let are_far = feeds.iter().any(Feed::is_far);
    let order = if are_far { order::by_context(program, found) } else { None };
    let turn = |number: usize| order.as_ref().map_or(Some(number), |order| order.get(number).map(|&index| index as usize));
    let mut out = Output::new(room::take(clear + found.cuts.len() * growth), records.len());
    (out.sealed, out.is_sealed, out.is_scattered) = (vec![0; program.slots.len()], true, order.is_some());
    let mut sealer = Sealer { program, found, feeds, nonces, typed: Vec::new(), singles: RecordSealer::new(), coming: NONE };
    let mut room = Frontier::default();
    for (number, index) in (0..records.len()).map_while(turn).enumerate() {
        let start = out.data.len();
        room.advance(&out.data);
        if let Some(soon) = turn(number + SOON).filter(|_| are_far) {
            sealer.soon(soon, order.is_some());
        }
        if let Some(later) = turn(number + LATER).filter(|_| order.is_some()) {
            prefetch::fetch_all(records.datum(later));
            prefetch::fetch_all(found.cuts_of(later));
            out.soon(later);
        }
        if !skip[index] {
            out.data.extend_from_slice(prefix);
            sealer.datum(records.datum(index), records.key(index), found.cuts_of(index), &mut out)?;
        }
        out.is_datum(index, start);
    }
    Ok(out)
}

/// Between neighbours there is often nothing to copy.
#[inline]
fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.extend_from_slice(bytes);
    }
}

struct Sealer<'a> {
    program: &'a Program,
    found: &'a Found,
    feeds: Vec<Feed<'a>>,
    nonces: &'a mut Nonces,
    typed: Vec<u8>,
    singles: RecordSealer,
    /// The context whose keys are on their way.
    coming: u32,
}

impl Sealer<'_> {
    /// Has the keys of a datum on their way before its turn comes; those of a context once where its datums come together.
    #[inline]
    fn soon(&mut self, index: usize, are_together: bool) {
        let Some(&context) = self.found.groups.get(index) else { return };
        if !are_together {
            for cut in self.found.cuts_of(index).iter().filter(|cut| cut.slot != NONE) {
                self.feeds[cut.slot as usize].soon(group_of(cut));
            }
        } else if self.coming != context {
            self.coming = context;
            self.feeds.iter().for_each(|feed| feed.soon(context as usize));
        }
    }

    fn datum(&mut self, data: &[u8], key: Option<&[u8]>, cuts: &[Cut], out: &mut Output) -> Result<(), Unsealed> {
        let mut position = 0;
        for cut in cuts {
            push(&mut out.data, &data[position..cut.start as usize]);
            push(&mut out.data, cut.prefix.as_slice());
            position = cut.end as usize;
            if cut.slot != NONE {
                out.sealed[cut.slot as usize] += self.value(data, key, cut, &mut out.data)? as u64;
            }
        }
        push(&mut out.data, &data[position..]);
        Ok(())
    }

    fn value(&mut self, data: &[u8], key: Option<&[u8]>, cut: &Cut, out: &mut Vec<u8>) -> Result<usize, Unsealed> {
        let value = &data[cut.first as usize..cut.last as usize];
        let (program, found) = (self.program, self.found);
        let slot = &program.slots[cut.slot as usize];
        match &mut self.feeds[cut.slot as usize] {
            Feed::Leased(leases) => {
                let table = &found.contexts[program.tables[cut.slot as usize]];
                let context: &[u8] = if cut.group == NONE { &[0; 4] } else { table.framed(cut.group) };
                let sealing = leases.next(slot, group_of(cut), context)?;
                if !slot.bind.is_empty() {
                    let spans = &found.bound[cut.bound as usize..][..slot.bind.len()];
                    frame(sealing.aad, &slot.bind, spans.iter().map(|span| match span {
                        BoundSpan::Datum(start, end) => &data[*start as usize..*end as usize],
                        BoundSpan::Key => key.unwrap_or_default(),
                    }));
                }
                let nonce = self.nonces.draw()?;
                Ok(push_leased(out, sealing.cipher, sealing.header, sealing.aad, nonce, value)?)
            }
            Feed::Single(keys) => {
                let (secret, label) = keys.next(group_of(cut)).ok_or(Unsealed::Keys)?;
                self.typed.clear();
                typed::write(slot, value, &mut self.typed);
                Ok(self.singles.push(out, secret, &label, &self.typed)?)
            }
        }
    }
}
