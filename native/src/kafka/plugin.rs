//! How a client of confluent-kafka's becomes known here: librdkafka's own plugin interface. A client made with
//! `plugin.library.paths` naming this extension calls `conf_init`, which hears of its making, its destruction, and of
//! every message that was acknowledged or given up, and of every connection.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, CStr};
use std::sync::{Arc, Mutex, PoisonError};

use super::api::{api, Message, Ptr};
use super::client::Tracker;

const NAME: *const c_char = c"residency_worker".as_ptr();

/// `RD_KAFKA_THREAD_BROKER`; the main thread's timers begin parts of a transaction, and have no slack.
const THREAD_BROKER: c_int = 2;
#[cfg(target_os = "linux")]
const PR_SET_TIMERSLACK: c_int = 29;
/// How much later than asked a client's thread may look at the clock.
#[cfg(target_os = "linux")]
const SLACK_NS: std::ffi::c_ulong = 20_000_000;

#[cfg(target_os = "linux")]
extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
}

thread_local! {
    /// The client that was made last on this thread: its making returns to the thread that asks for it.
    static NEWEST: RefCell<Option<Arc<Tracker>>> = const { RefCell::new(None) };
}

/// The addresses of the clients' trackers that have not been destroyed: a client's connections go down after that.
static LIVE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// The client that this thread made last, given once.
pub fn newest() -> Option<Arc<Tracker>> {
    NEWEST.with_borrow_mut(Option::take)
}

/// Every client that has not been destroyed.
pub fn live() -> Vec<Arc<Tracker>> {
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = |&address: &usize| {
        let tracker = address as *const Tracker;
        // SAFETY: the interceptors' reference holds the tracker while it is among the live ones, and the lock is held.
        unsafe {
            Arc::increment_strong_count(tracker);
            Arc::from_raw(tracker)
        }
    };
    live.iter().map(shared).collect()
}

/// # Safety
/// librdkafka calls this with a configuration of its own.
#[no_mangle]
pub unsafe extern "C" fn conf_init(conf: Ptr, _opaque: *mut Ptr, _error: *mut c_char, _size: usize) -> c_int {
    let Some(api) = api() else { return 0 };
    // SAFETY: `conf` is librdkafka's, and the function outlives every client, as the extension is never unloaded.
    unsafe { (api.conf_interceptor_add_on_new)(conf, NAME, on_new, std::ptr::null_mut()) }
}

unsafe extern "C" fn on_new(rk: Ptr, _conf: Ptr, _opaque: Ptr, _error: *mut c_char, _size: usize) -> c_int {
    let Some(api) = api() else { return 0 };
    let tracker = Arc::new(Tracker::new(rk));
    // The interceptors' own reference, given back by `on_destroy`.
    let opaque: Ptr = Arc::into_raw(Arc::clone(&tracker)).cast_mut().cast();
    LIVE.lock().unwrap_or_else(PoisonError::into_inner).push(opaque as usize);
    // SAFETY: `rk` is being made, which is when interceptors may be added; `opaque` lives until `on_destroy`.
    unsafe {
        (api.interceptor_add_on_acknowledgement)(rk, NAME, on_acknowledged, opaque);
        (api.interceptor_add_on_broker_state_change)(rk, NAME, on_broker_state, opaque);
        (api.interceptor_add_on_thread_start)(rk, NAME, on_thread_start, std::ptr::null_mut());
        (api.interceptor_add_on_destroy)(rk, NAME, on_destroy, opaque);
    }
    NEWEST.with_borrow_mut(|newest| *newest = Some(tracker));
    0
}

unsafe extern "C" fn on_acknowledged(_rk: Ptr, message: *const Message, opaque: Ptr) -> c_int {
    // SAFETY: librdkafka gives a message that is valid during the call, and the pointer that was registered.
    let (message, tracker) = unsafe { (&*message, &*opaque.cast::<Tracker>()) };
    // confluent-kafka marks its own messages, and hears of them itself.
    if message.private.is_null() {
        tracker.report(message);
    }
    0
}

/// Called on each of the client's threads as it begins. At rest one that speaks to a broker wakes every second; with slack
/// the kernel wakes those of all clients together. What comes, a message or an answer, wakes them as soon as ever.
unsafe extern "C" fn on_thread_start(_rk: Ptr, kind: c_int, _name: *const c_char, _opaque: Ptr) -> c_int {
    #[cfg(target_os = "linux")]
    if kind == THREAD_BROKER {
        // SAFETY: the kernel takes two numbers, for the thread that calls.
        unsafe { prctl(PR_SET_TIMERSLACK, SLACK_NS) };
    }
    0
}

/// Called before anything is sent over a connection that has just come up.
unsafe extern "C" fn on_broker_state(
    _rk: Ptr,
    _id: i32,
    _protocol: *const c_char,
    _name: *const c_char,
    _port: c_int,
    state: *const c_char,
    opaque: Ptr,
) -> c_int {
    // SAFETY: librdkafka gives the state's name, which lives during the call.
    if unsafe { CStr::from_ptr(state) } != c"UP" {
        return 0;
    }
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    if live.contains(&(opaque as usize)) {
        // SAFETY: the tracker is not destroyed while it is among the live ones, and the lock is held.
        unsafe { &*opaque.cast::<Tracker>() }.connected();
    }
    0
}

unsafe extern "C" fn on_destroy(_rk: Ptr, opaque: Ptr) -> c_int {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner).retain(|&live| live != opaque as usize);
    // SAFETY: this is the reference that `on_new` gave away; its messages are purged before a client is destroyed, and
    // connections look among the live ones first.
    let tracker = unsafe { Arc::from_raw(opaque.cast::<Tracker>()) };
    tracker.end();
    0
}
