//! A batch's output handed to librdkafka, message by message, without a Python object for any.

use std::borrow::Cow;
use std::ffi::{c_int, CString};

use super::api::{Argument, ArgumentValue, Ptr};
use super::batch::{Batch, Part, Run};
use super::client::{Closed, Tracker};

const TOPIC_HANDLE: c_int = 2;
const PARTITION: c_int = 3;
const VALUE: c_int = 4;
const KEY: c_int = 5;
const FLAGS: c_int = 7;
const TIMESTAMP: c_int = 8;
const HEADER: c_int = 9;
const COPY: c_int = 2;
const QUEUE_FULL: c_int = -184;
const INVALID: c_int = -186;
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

/// A record of the source and its value in the output, `None` for a tombstone.
pub struct Outgoing<'a> {
    pub record: usize,
    pub value: Option<&'a [u8]>,
}

/// Which of a record's headers go out.
#[derive(Debug, Default, Clone)]
pub struct HeaderChoice {
    /// The names that do; `None` for all.
    pub wanted: Option<Vec<String>>,
    /// The names that never do.
    pub never: Vec<String>,
    /// The name under which the record's own place is told.
    pub source: Option<String>,
}

impl HeaderChoice {
    /// The headers of one record, in their order, its place at the end.
    pub fn of<'a>(&'a self, source: &'a Batch, record: usize, run: Option<&Run>) -> Vec<(&'a str, Option<Cow<'a, [u8]>>)> {
        let goes = |name: &str| {
            self.wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|other| other == name))
                && !self.never.iter().any(|other| other == name)
                && self.source.as_deref() != Some(name)
        };
        let given = source.headers(record).iter().filter(|(name, _)| goes(name));
        let mut chosen: Vec<_> = given.map(|(name, value)| (name.as_str(), value.as_deref().map(Cow::Borrowed))).collect();
        if let (Some(name), Some(run)) = (&self.source, run) {
            let place = format!("{}/{}/{}", run.place.topic, run.place.partition, source.offset(record));
            chosen.push((name, Some(Cow::Owned(place.into_bytes()))));
        }
        chosen
    }
}

/// Hands messages over until librdkafka's queue is full; returns how many it took.
///
/// Keys and timestamps are those of the source's records; partitions too, unless `by_key`.
pub fn produce<'a>(
    tracker: &Tracker,
    topic: &str,
    by_key: bool,
    source: &Batch,
    headers: &HeaderChoice,
    messages: impl Iterator<Item = Outgoing<'a>>,
) -> Result<usize, Refused> {
    let guard = tracker.guard()?;
    let name = CString::new(topic).map_err(|_| Refused::Closed)?;
    // SAFETY: the client lives while the guard does; the topic is given back below.
    let rkt = unsafe { (guard.1.topic_new)(guard.rk(), name.as_ptr(), std::ptr::null_mut()) };
    if rkt.is_null() {
        // SAFETY: the error is the last call's on this thread.
        return Err(Refused::Code(unsafe { (guard.1.last_error)() }));
    }
    let mut runs = source.runs().iter().peekable();
    let mut taken = 0;
    let mut outcome = Ok(());
    let mut arguments: Vec<Argument> = Vec::with_capacity(16);
    let with_headers = source.has_headers() || headers.source.is_some();
    for message in messages {
        while runs.next_if(|run| run.stop <= message.record).is_some() {}
        let run = runs.peek().copied();
        let own = run.map_or(UNASSIGNED, |run| run.place.partition);
        arguments.clear();
        arguments.extend(plain_arguments(rkt, if by_key { UNASSIGNED } else { own }, source, &message));
        let chosen = if with_headers { headers.of(source, message.record, run) } else { Vec::new() };
        let named: Result<Vec<CString>, _> = chosen.iter().map(|(name, _)| CString::new(*name)).collect();
        let Ok(named) = named else {
            outcome = Err(Refused::Code(INVALID));
            break;
        };
        for (name, (_, value)) in named.iter().zip(&chosen) {
            let value = value.as_deref().map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len() as isize));
            arguments.push(Argument { tag: HEADER, value: ArgumentValue { header: (name.as_ptr(), value.0, value.1) } });
        }
        // SAFETY: every argument is of the kind that its tag says; librdkafka copies key, value and headers during the call.
        let error = unsafe { (guard.1.produceva)(guard.rk(), arguments.as_ptr(), arguments.len()) };
        if !error.is_null() {
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

fn plain_arguments(rkt: Ptr, partition: i32, source: &Batch, message: &Outgoing<'_>) -> [Argument; 6] {
    let memory = |bytes: Option<&[u8]>| ArgumentValue {
        memory: bytes.map_or((std::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len())),
    };
    let (kind, at_ms) = source.stamp(message.record);
    let at_ms = if kind != 0 && at_ms > 0 { at_ms } else { 0 };
    [
        Argument { tag: TOPIC_HANDLE, value: ArgumentValue { pointer: rkt } },
        Argument { tag: PARTITION, value: ArgumentValue { int32: partition } },
        Argument { tag: FLAGS, value: ArgumentValue { int: COPY } },
        Argument { tag: KEY, value: memory(source.part(Part::Key, message.record)) },
        Argument { tag: VALUE, value: memory(message.value) },
        Argument { tag: TIMESTAMP, value: ArgumentValue { int64: at_ms } },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::batch::{Chunk, Place};

    fn batch() -> Batch {
        let mut chunk = Chunk { offsets: vec![7], stamps: vec![(0, 0)], at: vec![0], ..Chunk::default() };
        let none = chunk.push(None);
        chunk.keys.push(none);
        chunk.values.push(none);
        chunk.places.push(Place { topic: "in".into(), partition: 2 });
        let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
        chunk.headers.push(vec![header("a", Some(b"1")), header("id", Some(b"2")), header("a", None), header("place", Some(b"x"))]);
        Batch::of(chunk)
    }

    fn names(choice: &HeaderChoice) -> Vec<(String, Option<Vec<u8>>)> {
        let source = batch();
        let chosen = choice.of(&source, 0, source.runs().first());
        chosen.into_iter().map(|(name, value)| (name.to_owned(), value.map(Cow::into_owned))).collect()
    }

    #[test]
    fn headers_are_chosen_by_name() {
        let all = HeaderChoice { never: vec!["id".into()], ..HeaderChoice::default() };
        assert_eq!(names(&all).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "a", "place"]);
        let some = HeaderChoice { wanted: Some(vec!["id".into(), "a".into()]), ..all.clone() };
        assert_eq!(names(&some), [("a".into(), Some(b"1".to_vec())), ("a".into(), None)]);
        let none = HeaderChoice { wanted: Some(vec![]), source: Some("place".into()), ..all };
        assert_eq!(names(&none), [("place".into(), Some(b"in/2/7".to_vec()))]);
    }
}
