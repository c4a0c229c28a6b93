//! Messages that lie ready, copied into a chunk.

use std::ffi::{c_char, c_int, CStr};
use std::sync::Arc;

use super::api::{Api, Message, Ptr};
use super::batch::Batch;
use super::chunk::{Chunk, Headers, Place, Span};
use super::client::{Closed, Tracker};

/// What came instead of a message: librdkafka's code and words, and where.
#[derive(Debug, Clone)]
pub struct Event {
    pub code: c_int,
    pub words: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Waits for one message, then takes what lies ready, at most `most`.
pub fn receive(tracker: &Tracker, most: usize, timeout_ms: c_int) -> Result<(Batch, Vec<Event>), Closed> {
    let guard = tracker.guard()?;
    let mut messages: Vec<*mut Message> = vec![std::ptr::null_mut(); most];
    let taken = if guard.queue().is_null() || most == 0 {
        0
    } else {
        // SAFETY: the client lives while the guard does; both calls get room for as many as they may write.
        unsafe {
            let first = (guard.1.consume_batch_queue)(guard.queue(), timeout_ms, messages.as_mut_ptr(), 1).max(0) as usize;
            if first == 1 && most > 1 {
                let rest = messages.as_mut_ptr().add(1);
                first + (guard.1.consume_batch_queue)(guard.queue(), 0, rest, most - 1).max(0) as usize
            } else {
                first
            }
        }
    };
    let mut taker = Taker { api: guard.1, chunk: Chunk::default(), events: Vec::new(), last: None };
    taker.chunk.offsets.reserve(taken);
    taker.chunk.data.reserve(taken * 128);
    for &message in &messages[..taken] {
        // SAFETY: librdkafka gave this message; it is read once and then destroyed, and not touched again.
        unsafe {
            taker.take(&*message);
            (guard.1.message_destroy)(message);
        }
    }
    Ok((Batch::of(taker.chunk), taker.events))
}

struct Taker {
    api: &'static Api,
    chunk: Chunk,
    events: Vec<Event>,
    last: Option<(Ptr, i32, u32)>,
}

impl Taker {
    /// # Safety
    /// `message` is a consumer's, and not destroyed yet.
    unsafe fn take(&mut self, message: &Message) {
        // SAFETY: as the caller's.
        unsafe {
            if message.err != 0 {
                let event = self.event(message);
                self.events.push(event);
                return;
            }
            let at = self.place(message);
            let (key, value) = (bytes(message.key, message.key_len), bytes(message.payload, message.len));
            let (key, value): (Span, Span) = (self.chunk.push(key), self.chunk.push(value));
            let mut kind: c_int = 0;
            let stamp = (self.api.message_timestamp)(message, &mut kind);
            let headers = self.headers(message);
            let chunk = &mut self.chunk;
            chunk.keys.push(key);
            chunk.values.push(value);
            chunk.offsets.push(message.offset);
            // Where whoever sent the record gave no time, it says -1, whatever kind its batch is of.
            chunk.stamps.push((if stamp == -1 { 0 } else { kind as u8 }, stamp));
            chunk.at.push(at);
            if !headers.is_empty() {
                chunk.headers.resize_with(chunk.offsets.len(), Vec::new);
                chunk.headers[chunk.offsets.len() - 1] = headers;
            }
        }
    }

    unsafe fn place(&mut self, message: &Message) -> u32 {
        if let Some((rkt, partition, number)) = self.last {
            if rkt == message.rkt && partition == message.partition {
                return number;
            }
        }
        // SAFETY: as the caller's.
        let place = Place { topic: Arc::from(unsafe { self.topic(message) }), partition: message.partition };
        let known = self.chunk.places.iter().position(|known| *known == place);
        let number = known.unwrap_or_else(|| {
            self.chunk.places.push(place);
            self.chunk.places.len() - 1
        }) as u32;
        self.last = Some((message.rkt, message.partition, number));
        number
    }

    unsafe fn topic(&self, message: &Message) -> String {
        if message.rkt.is_null() {
            return String::new();
        }
        // SAFETY: a message's topic lives as long as the message.
        unsafe { text((self.api.topic_name)(message.rkt)) }
    }

    unsafe fn headers(&self, message: &Message) -> Headers {
        let mut list: Ptr = std::ptr::null_mut();
        let mut found = Vec::new();
        // SAFETY: the list is the message's own; names and values live as long as it, and are copied here.
        unsafe {
            if (self.api.message_headers)(message, &mut list) != 0 {
                return found;
            }
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            while (self.api.header_get_all)(list, found.len(), &mut name, &mut value, &mut size) == 0 {
                found.push((text(name), bytes(value, size).map(<[u8]>::to_vec)));
            }
        }
        found
    }

    unsafe fn event(&self, message: &Message) -> Event {
        // SAFETY: an error's payload is its words.
        let (words, topic) = unsafe { (bytes(message.payload, message.len).unwrap_or_default(), self.topic(message)) };
        Event {
            code: message.err,
            words: String::from_utf8_lossy(words).into_owned(),
            topic,
            partition: message.partition,
            offset: message.offset,
        }
    }
}

/// # Safety
/// `at` is null, or `len` bytes can be read there for as long as the result is used.
unsafe fn bytes<'a>(at: *const u8, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller's.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at, len) })
}

/// # Safety
/// `at` is null or a string that ends in a zero.
unsafe fn text(at: *const c_char) -> String {
    if at.is_null() {
        return String::new();
    }
    // SAFETY: as the caller's.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}
