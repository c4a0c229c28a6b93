//! Which headers go out with a record, and how librdkafka is given them.

use super::api::{Api, Ptr};
use super::batch::Batch;
use super::chunk::Place;

/// What the header that says where a record came from takes beside its name, at most.
const SOURCE: usize = 300;

/// What becomes of a record's headers.
#[derive(Debug, Default)]
pub struct Policy {
    /// The names to copy; `None` copies all.
    pub names: Option<Vec<String>>,
    /// Names that never go out.
    pub without: Vec<String>,
    /// The header that says where a record came from: `topic/partition/offset`.
    pub source: Option<String>,
}

impl Policy {
    fn copies(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
            && !self.without.iter().any(|left_out| left_out == name)
            && self.source.as_deref() != Some(name)
    }

    /// What a record's headers take at most, their own framing included.
    pub fn bytes(&self, batch: &Batch, record: usize) -> usize {
        let own = batch.headers(record).iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 10);
        own.sum::<usize>() + self.source.as_ref().map_or(0, |name| name.len() + SOURCE)
    }

    /// The headers of a record that was read at `place`.
    pub fn list<'a>(&self, api: &'a Api, batch: &Batch, record: usize, place: Option<&Place>) -> List<'a> {
        let mut list = List(std::ptr::null_mut(), api);
        for (name, value) in batch.headers(record).iter().filter(|(name, _)| self.copies(name)) {
            list.add(name, value.as_deref());
        }
        if let (Some(name), Some(place)) = (&self.source, place) {
            let text = format!("{}/{}/{}", place.topic, place.partition, batch.offset(record));
            list.add(name, Some(text.as_bytes()));
        }
        list
    }
}

/// Headers as librdkafka holds them, null for none; they are given back unless a message takes them over.
pub struct List<'a>(Ptr, &'a Api);

impl List<'_> {
    fn add(&mut self, name: &str, value: Option<&[u8]>) {
        let (at, len) = value.map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len() as isize));
        // SAFETY: the list is owned here; name and value are copied during the call, by their lengths.
        unsafe {
            if self.0.is_null() {
                self.0 = (self.1.headers_new)(8);
            }
            (self.1.header_add)(self.0, name.as_ptr().cast(), name.len() as isize, at, len);
        }
    }

    pub fn pointer(&self) -> Ptr {
        self.0
    }

    /// Leaves the headers to the message that was given them.
    pub fn taken(self) {
        std::mem::forget(self);
    }
}

impl Drop for List<'_> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: no message has taken the list over.
            unsafe { (self.1.headers_destroy)(self.0) };
        }
    }
}
