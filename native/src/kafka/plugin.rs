//! How a client of confluent-kafka's becomes known here: librdkafka's own plugin interface. A client made with
//! `plugin.library.paths` naming this extension calls `conf_init`, which hears of its making, its destruction, and of
//! every message that was acknowledged or given up.

use std::cell::RefCell;
use std::ffi::{c_char, c_int};
use std::sync::Arc;

use super::api::{api, Message, Ptr};
use super::client::Tracker;

const NAME: *const c_char = c"residency_worker".as_ptr();

thread_local! {
    /// The client that was made last on this thread: its making returns to the thread that asks for it.
    static NEWEST: RefCell<Option<Arc<Tracker>>> = const { RefCell::new(None) };
}

/// The client that this thread made last, given once.
pub fn newest() -> Option<Arc<Tracker>> {
    NEWEST.with_borrow_mut(Option::take)
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
    let opaque = Arc::into_raw(Arc::clone(&tracker)).cast_mut().cast();
    // SAFETY: `rk` is being made, which is when interceptors may be added; `opaque` lives until `on_destroy`.
    unsafe {
        (api.interceptor_add_on_acknowledgement)(rk, NAME, on_acknowledged, opaque);
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

unsafe extern "C" fn on_destroy(_rk: Ptr, opaque: Ptr) -> c_int {
    // SAFETY: this is the reference that `on_new` gave away, and no interceptor is called after this one.
    let tracker = unsafe { Arc::from_raw(opaque.cast::<Tracker>()) };
    tracker.end();
    0
}
