//! A batch's output handed to librdkafka, message by message, without a Python object for any.

use std::ffi::{c_int, CString};
use std::sync::Arc;

use super::api::{Argument, ArgumentValue, Ptr};
use super::batch::{Batch, Part};
use super::client::{Closed, Tracker};
use super::headers::{List, Policy};
use super::rounds::{Limit, Rounds};
use crate::output::Output;

const TOPIC_HANDLE: c_int = 2;
const PARTITION: c_int = 3;
const VALUE: c_int = 4;
const KEY: c_int = 5;
const FLAGS: c_int = 7;
const TIMESTAMP: c_int = 8;
const HEADERS: c_int = 10;
const COPY: c_int = 2;
const QUEUE_FULL: c_int = -184;
const UNASSIGNED: i32 = -1;

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Closed,
    /// librdkafka's code.
    Code(c_int),
}

impl From<Closed> for Refused {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

/// An output on its way: its messages, in rounds.
pub struct Outgoing {
    source: Arc<Batch>,
    values: Vec<Arc<Output>>,
    /// Which record has which value of which output, below zero for a tombstone; `None`: the only output's, each its own.
    rows: Option<Vec<(usize, i64, usize)>>,
    policy: Policy,
    rounds: Rounds,
}

impl Outgoing {
    /// Without a limit there is one round.
    pub fn new(
        source: Arc<Batch>,
        values: Vec<Arc<Output>>,
        rows: Option<Vec<(usize, i64, usize)>>,
        policy: Policy,
        limit: Option<Limit>,
    ) -> Self {
        let mut outgoing = Self { source, values, rows, policy, rounds: Rounds::default() };
        outgoing.rounds = limit.map_or_else(|| Rounds::one(outgoing.count()), |limit| outgoing.parted(limit));
        outgoing
    }

    pub fn count(&self) -> usize {
        self.rows.as_ref().map_or(self.source.len(), Vec::len)
    }

    /// A record of the source and its value, `None` for a tombstone.
    fn message(&self, index: usize) -> (usize, Option<&[u8]>) {
        match &self.rows {
            None => (index, self.values[0].get(index)),
            Some(rows) => {
                let (record, output, place) = rows[index];
                (record, usize::try_from(output).ok().and_then(|output| self.values[output].get(place)))
            }
        }
    }

    fn parted(&self, limit: Limit) -> Rounds {
        let mut runs = self.source.runs().iter().peekable();
        let has_headers = self.has_headers();
        let messages = (0..self.count()).map(|index| {
            let (record, value) = self.message(index);
            while runs.next_if(|run| run.stop <= record).is_some() {}
            let partition = runs.peek().map_or(UNASSIGNED, |run| run.place.partition);
            let headers = if has_headers { self.policy.bytes(&self.source, record) } else { 0 };
            let key = self.source.part(Part::Key, record).map_or(0, <[u8]>::len);
            (partition, key + value.map_or(0, <[u8]>::len) + headers)
        });
        Rounds::of(messages, limit)
    }

    fn has_headers(&self) -> bool {
        self.policy.source.is_some() || self.source.has_headers()
    }
}

/// Hands messages over from a place on, until their round ends or librdkafka's queue is full; returns how many it took.
///
/// Keys and timestamps are those of the source's records; partitions too, unless `by_key`.
pub fn produce(tracker: &Tracker, topic: &str, by_key: bool, outgoing: &Outgoing, start: usize) -> Result<usize, Refused> {
    let guard = tracker.guard()?;
    let name = CString::new(topic).map_err(|_| Refused::Closed)?;
    // SAFETY: the client lives while the guard does; the topic is given back below.
    let rkt = unsafe { (guard.1.topic_new)(guard.rk(), name.as_ptr(), std::ptr::null_mut()) };
    if rkt.is_null() {
        // SAFETY: the error is the last call's on this thread.
        return Err(Refused::Code(unsafe { (guard.1.last_error)() }));
    }
    let (source, policy, has_headers) = (&*outgoing.source, &outgoing.policy, outgoing.has_headers());
    let mut runs = source.runs().iter().peekable();
    let mut taken = 0;
    let mut outcome = Ok(());
    for place in start..outgoing.rounds.end(start) {
        let (record, value) = outgoing.message(outgoing.rounds.message(place));
        while runs.next_if(|run| run.stop <= record).is_some() {}
        let place = runs.peek().map(|run| &run.place);
        let own = place.map_or(UNASSIGNED, |place| place.partition);
        let headers = has_headers.then(|| policy.list(guard.1, source, record, place));
        let list = headers.as_ref().map_or(std::ptr::null_mut(), List::pointer);
        let arguments = arguments(rkt, if by_key { UNASSIGNED } else { own }, source, record, value, list);
        let count = arguments.len() - usize::from(list.is_null());
        // SAFETY: every argument is of the kind that its tag says; librdkafka copies key and value during the call, and
        // the headers are its own from there on unless it returns an error.
        let error = unsafe { (guard.1.produceva)(guard.rk(), arguments.as_ptr(), count) };
        if error.is_null() {
            if let Some(list) = headers {
                list.taken();
            }
        } else {
            // SAFETY: the error is ours now; it is read and given back.
            let code = unsafe {
                let code = (guard.1.error_code)(error);
                (guard.1.error_destroy)(error);
                code
            };
            if code != QUEUE_FULL {
                outcome = Err(Refused::Code(code));
            }
            break;
        }
        taken += 1;
    }
    // SAFETY: this is the reference that `topic_new` gave.
    unsafe { (guard.1.topic_destroy)(rkt) };
    outcome.map(|()| taken)
}

/// The timestamp that librdkafka is given; 0 would be the time of sending there.
fn sent(kind: u8, at_ms: i64) -> i64 {
    match (kind, at_ms) {
        (0, _) => -1,
        (_, 0) => 1,
        _ => at_ms,
    }
}

/// What a message is made of; the headers come last, so that they can be left out.
fn arguments(
    rkt: Ptr,
    partition: i32,
    source: &Batch,
    record: usize,
    value: Option<&[u8]>,
    headers: Ptr,
) -> [Argument; 7] {
    let memory = |bytes: Option<&[u8]>| ArgumentValue {
        memory: bytes.map_or((std::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len())),
    };
    let (kind, at_ms) = source.stamp(record);
    [
        Argument { tag: TOPIC_HANDLE, value: ArgumentValue { pointer: rkt } },
        Argument { tag: PARTITION, value: ArgumentValue { int32: partition } },
        Argument { tag: FLAGS, value: ArgumentValue { int: COPY } },
        Argument { tag: KEY, value: memory(source.part(Part::Key, record)) },
        Argument { tag: VALUE, value: memory(value) },
        Argument { tag: TIMESTAMP, value: ArgumentValue { int64: sent(kind, at_ms) } },
        Argument { tag: HEADERS, value: ArgumentValue { pointer: headers } },
    ]
}
