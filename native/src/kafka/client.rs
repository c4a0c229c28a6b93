//! A client of confluent-kafka's, as long as it lives.

use std::ffi::{c_int, CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::api::{api, Api, Message, Ptr};

const ANSWER_MS: c_int = 2_000;

/// The client was closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

/// What became of messages that were produced here, and where messages arrive.
pub struct Tracker {
    handle: RwLock<Option<Handle>>,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<(c_int, String)>>,
    connections: AtomicU64,
}

/// Pointers into a client that lives; the queues, where messages arrive and where the group speaks, from `watch` on.
struct Handle {
    rk: Ptr,
    queue: Ptr,
    group: Ptr,
}

// SAFETY: librdkafka's clients and queues may be used from every thread.
unsafe impl Send for Handle {}
// SAFETY: as above; the pointers themselves never change.
unsafe impl Sync for Handle {}

/// Keeps the client from being destroyed while it is used.
pub struct Guard<'a>(RwLockReadGuard<'a, Option<Handle>>, pub &'static Api);

impl Guard<'_> {
    pub fn rk(&self) -> Ptr {
        self.0.as_ref().map_or(std::ptr::null_mut(), |handle| handle.rk)
    }

    pub fn queue(&self) -> Ptr {
        self.0.as_ref().map_or(std::ptr::null_mut(), |handle| handle.queue)
    }
}

impl Tracker {
    pub(super) fn new(rk: Ptr) -> Self {
        Self {
            handle: RwLock::new(Some(Handle { rk, queue: std::ptr::null_mut(), group: std::ptr::null_mut() })),
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            first_failure: Mutex::new(None),
            connections: AtomicU64::new(0),
        }
    }

    pub fn guard(&self) -> Result<Guard<'_>, Closed> {
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        match api() {
            Some(api) if handle.is_some() => Ok(Guard(handle, api)),
            _ => Err(Closed),
        }
    }

    pub(super) fn report(&self, message: &Message) {
        if message.err == 0 {
            self.acknowledged.fetch_add(1, Ordering::Release);
            return;
        }
        let mut first = self.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            let topic = api().filter(|_| !message.rkt.is_null()).map_or(String::new(), |api| {
                // SAFETY: a message's topic lives as long as the message, and its name as long as the topic.
                unsafe { CStr::from_ptr((api.topic_name)(message.rkt)) }.to_string_lossy().into_owned()
            });
            *first = Some((message.err, topic));
        }
        drop(first);
        self.failed.fetch_add(1, Ordering::Release);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Release);
    }

    /// How many connections the client has made so far; while that stays, it speaks to the brokers that it spoke to.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// How many of the messages that were produced here were acknowledged, and how many given up.
    pub fn counts(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Acquire), self.failed.load(Ordering::Acquire))
    }

    /// The first message that was given up: its error, and its topic.
    pub fn first_failure(&self) -> Option<(c_int, String)> {
        self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets a partition's messages arrive here instead of at confluent-kafka's consumer; what the group says still comes
    /// there, and ends a wait here.
    pub fn watch(&self, topic: &str, partition: i32) -> Result<(), Closed> {
        let topic = CString::new(topic).map_err(|_| Closed)?;
        let mut held = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let (Some(handle), Some(api)) = (held.as_mut(), api()) else { return Err(Closed) };
        // SAFETY: the client lives while the lock is held; the two queues are given back by `end`, which first has no more
        // events told, and the partition's own at once, which leaves it forwarded.
        unsafe {
            if handle.queue.is_null() {
                handle.queue = (api.queue_new)(handle.rk);
                handle.group = (api.queue_get_consumer)(handle.rk);
                if !handle.group.is_null() {
                    (api.queue_cb_event_enable)(handle.group, Some(on_event), handle.queue);
                }
            }
            let from = (api.queue_get_partition)(handle.rk, topic.as_ptr(), partition);
            if from.is_null() {
                return Err(Closed);
            }
            (api.queue_forward)(from, handle.queue);
            (api.queue_destroy)(from);
        }
        Ok(())
    }

    /// Lets the client's threads look at the clocks again: librdkafka waits until times of day, which a wall clock that
    /// leapt back puts off. Its main thread, which sends heartbeats and runs every timer, wakes at an answer.
    pub fn wake(&self) {
        let Ok(guard) = self.guard() else { return };
        if self.connections() == 0 {
            return;
        }
        // SAFETY: the client lives while the guard does, and is wholly made, as it has connected; each queue that is
        // got here is given back, and so is the answer.
        unsafe {
            for queue in [(guard.1.queue_get_main)(guard.rk()), (guard.1.queue_get_consumer)(guard.rk())] {
                if !queue.is_null() {
                    (guard.1.queue_yield)(queue);
                    (guard.1.queue_destroy)(queue);
                }
            }
            if !guard.queue().is_null() {
                (guard.1.queue_yield)(guard.queue());
            }
            let mut answer = std::ptr::null_mut();
            if (guard.1.metadata)(guard.rk(), 0, std::ptr::null_mut(), &mut answer, ANSWER_MS) == 0 {
                (guard.1.metadata_destroy)(answer);
            }
        }
    }

    /// Ends a wait for messages that is under way, else the next one.
    pub fn interrupt(&self) {
        let Ok(guard) = self.guard() else { return };
        if !guard.queue().is_null() {
            // SAFETY: the queue lives while the guard does.
            unsafe { (guard.1.queue_yield)(guard.queue()) };
        }
    }

    /// Forgets the client, after what is under way with it; safe to call twice.
    pub fn end(&self) {
        let handle = self.handle.write().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(handle), Some(api)) = (handle, api()) else { return };
        // SAFETY: `watch` got the queues, and nothing uses them any more: librdkafka tells events under the queue's lock,
        // which it takes here too.
        unsafe {
            if !handle.group.is_null() {
                (api.queue_cb_event_enable)(handle.group, None, std::ptr::null_mut());
                (api.queue_destroy)(handle.group);
            }
            if !handle.queue.is_null() {
                (api.queue_destroy)(handle.queue);
            }
        }
    }
}

/// The group, or the client, has something to say.
unsafe extern "C" fn on_event(_rk: Ptr, queue: Ptr) {
    if let Some(api) = api() {
        // SAFETY: the queue lives until events are told no more.
        unsafe { (api.queue_yield)(queue) };
    }
}
