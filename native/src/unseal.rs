//! A batch of sealed datums opened: the way back of `seal`.

use crate::open::{Asked, Fault, Opener, Place};
use crate::program::Program;
use crate::seal::{group_of, Output, Records};
use crate::typed;
use crate::contexts::{frame, NONE};
use crate::walk::{BoundSpan, Cut, Found};

/// A record that could not be put together.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    pub record: usize,
    pub slot: u32,
    pub fault: Fault,
    pub request: u32,
}

/// Which keys are asked for, by cut, and the records that the twin has to read, which are left out from here on.
pub fn ask(
    program: &Program,
    found: &Found,
    records: &dyn Records,
    skip: &mut [bool],
    descriptors: &[String],
) -> (Asked, Vec<u32>, Vec<usize>) {
    let place = |(slot, descriptor): (&crate::program::Slot, &String)| Place {
        leased: Some(slot.leased),
        descriptor: Some(descriptor.as_str().into()),
        fingerprints: slot.leased.then(|| [slot.fingerprint].into()),
    };
    let places: Vec<Place> = program.slots.iter().zip(descriptors).map(place).collect();
    let (mut asked, mut of, mut refused) = (Asked::default(), vec![NONE; found.cuts.len()], Vec::new());
    for (index, left_out) in skip.iter_mut().enumerate().filter(|(_, left_out)| !**left_out) {
        let data = records.datum(index);
        for number in found.cuts_at(index) {
            let cut = &found.cuts[number];
            if cut.slot == NONE {
                continue;
            }
            let (envelope, group) = (&data[cut.first as usize..cut.last as usize], group_of(cut) as u32);
            match places.get(cut.slot as usize).and_then(|place| asked.ask(place, cut.slot, group, envelope)) {
                Some(request) => of[number] = request,
                None => {
                    *left_out = true;
                    refused.push(index);
                    break;
                }
            }
        }
    }
    (asked, of, refused)
}

/// Opens every envelope and puts the datums together, each behind `prefix`; one that fails is left out, and told.
///
/// `of` is what `ask` gave; `None` where it is not of this batch.
pub fn open(
    program: &Program,
    found: &Found,
    records: &dyn Records,
    skip: &mut [bool],
    of: &[u32],
    opener: &mut Opener<'_>,
    prefix: &[u8],
) -> Option<(Output, Vec<Failed>)> {
    if of.len() != found.cuts.len() || skip.len() != found.ends.len() || records.len() != skip.len() {
        return None;
    }
    let room: usize = (0..records.len()).filter(|&i| !skip[i]).map(|i| records.datum(i).len() + prefix.len()).sum();
    let mut out = Output::default();
    out.data.reserve_exact(room);
    out.ends.reserve_exact(skip.len());
    let (mut failures, mut work) = (Vec::new(), Work { program, found, bound: Vec::new(), typed: Vec::new() });
    for (record, left_out) in skip.iter_mut().enumerate() {
        let start = out.data.len();
        if !*left_out {
            out.data.extend_from_slice(prefix);
            if let Err((slot, fault, request)) = work.datum(records, record, of, opener, &mut out.data) {
                failures.push(Failed { record, slot, fault, request });
                out.data.truncate(start);
                *left_out = true;
            }
        }
        out.ends.push(out.data.len());
    }
    Some((out, failures))
}

struct Work<'a> {
    program: &'a Program,
    found: &'a Found,
    bound: Vec<u8>,
    typed: Vec<u8>,
}

impl Work<'_> {
    fn datum(
        &mut self,
        records: &dyn Records,
        record: usize,
        of: &[u32],
        opener: &mut Opener<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), (u32, Fault, u32)> {
        let (data, mut position) = (records.datum(record), 0);
        for number in self.found.cuts_at(record) {
            let cut = &self.found.cuts[number];
            out.extend_from_slice(&data[position..cut.start as usize]);
            out.extend_from_slice(cut.prefix.as_slice());
            position = cut.end as usize;
            if cut.slot != NONE {
                if let Err(fault) = self.value(data, records.key(record), cut, of[number], opener, out) {
                    let found = (cut.slot, fault, of[number]);
                    return Err(self.first(records, record, number + 1, found, of, opener));
                }
            }
        }
        out.extend_from_slice(&data[position..]);
        Ok(())
    }

    /// Of a record's faults the one of the first slot, as the twin tells it, which reads column by column.
    fn first(
        &mut self,
        records: &dyn Records,
        record: usize,
        from: usize,
        mut fault: (u32, Fault, u32),
        of: &[u32],
        opener: &mut Opener<'_>,
    ) -> (u32, Fault, u32) {
        let mut opened = zeroize::Zeroizing::new(Vec::new());
        for number in self.found.cuts_at(record).filter(|&number| number >= from) {
            let cut = &self.found.cuts[number];
            if cut.slot < fault.0 {
                opened.clear();
                let done = self.value(records.datum(record), records.key(record), cut, of[number], opener, &mut opened);
                if let Err(other) = done {
                    fault = (cut.slot, other, of[number]);
                }
            }
        }
        fault
    }

    fn value(
        &mut self,
        data: &[u8],
        key: Option<&[u8]>,
        cut: &Cut,
        request: u32,
        opener: &mut Opener<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let (slot, envelope) = (&self.program.slots[cut.slot as usize], &data[cut.first as usize..cut.last as usize]);
        if !slot.leased {
            self.typed.clear();
            opener.open(request, envelope, &[], &mut self.typed)?;
            return typed::read(slot, &self.typed, out).map_err(|_| Fault::Unexpected);
        }
        self.bound.clear();
        let spans = if slot.bind.is_empty() { &[] } else { &self.found.bound[cut.bound as usize..][..slot.bind.len()] };
        frame(&mut self.bound, &slot.bind, spans.iter().map(|span| match span {
            BoundSpan::Datum(start, end) => &data[*start as usize..*end as usize],
            BoundSpan::Key => key.unwrap_or_default(),
        }));
        opener.open(request, envelope, &self.bound, out)
    }
}
