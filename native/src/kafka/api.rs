//! librdkafka's public functions, found by name in the library that is loaded already.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_NOW};

pub type Ptr = *mut c_void;

/// `rd_kafka_message_t`, whose layout is librdkafka's ABI since 0.9.
#[repr(C)]
pub struct Message {
    pub err: c_int,
    pub rkt: Ptr,
    pub partition: i32,
    pub payload: *const u8,
    pub len: usize,
    pub key: *const u8,
    pub key_len: usize,
    pub offset: i64,
    pub private: Ptr,
}

/// `rd_kafka_vu_t`: a tag and a union of 64 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Argument {
    pub tag: c_int,
    pub value: ArgumentValue,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub union ArgumentValue {
    pub pointer: Ptr,
    pub int: c_int,
    pub int32: i32,
    pub int64: i64,
    pub memory: (*const u8, usize),
    pub header: (*const c_char, *const u8, isize),
    pub padding: [u64; 8],
}

type OnNew = unsafe extern "C" fn(Ptr, Ptr, Ptr, *mut c_char, usize) -> c_int;
type OnAcknowledged = unsafe extern "C" fn(Ptr, *const Message, Ptr) -> c_int;
type OnBrokerState = unsafe extern "C" fn(Ptr, i32, *const c_char, *const c_char, c_int, *const c_char, Ptr) -> c_int;
type OnThreadStart = unsafe extern "C" fn(Ptr, c_int, *const c_char, Ptr) -> c_int;
type OnDestroy = unsafe extern "C" fn(Ptr, Ptr) -> c_int;
type OnEvent = unsafe extern "C" fn(Ptr, Ptr);

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// Every function that is used, by its name in `rdkafka.h` without `rd_kafka_`.
        pub struct Api { $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl Api {
            /// # Safety
            /// `library` is librdkafka of a version whose functions have these signatures.
            unsafe fn of(library: &Library) -> Result<Self, BadLibrary> {
                Ok(Self { $(
                    // SAFETY: the caller vouches for the signatures.
                    $name: unsafe { *library.get(concat!("rd_kafka_", stringify!($name), "\0").as_bytes()).map_err(|_| BadLibrary)? },
                )* })
            }
        }
    };
}

functions! {
    version: fn() -> c_int;
    conf_interceptor_add_on_new: fn(Ptr, *const c_char, OnNew, Ptr) -> c_int;
    interceptor_add_on_acknowledgement: fn(Ptr, *const c_char, OnAcknowledged, Ptr) -> c_int;
    interceptor_add_on_broker_state_change: fn(Ptr, *const c_char, OnBrokerState, Ptr) -> c_int;
    interceptor_add_on_thread_start: fn(Ptr, *const c_char, OnThreadStart, Ptr) -> c_int;
    interceptor_add_on_destroy: fn(Ptr, *const c_char, OnDestroy, Ptr) -> c_int;
    queue_new: fn(Ptr) -> Ptr;
    queue_destroy: fn(Ptr);
    queue_get_partition: fn(Ptr, *const c_char, i32) -> Ptr;
    queue_forward: fn(Ptr, Ptr);
    queue_get_consumer: fn(Ptr) -> Ptr;
    queue_get_main: fn(Ptr) -> Ptr;
    queue_yield: fn(Ptr);
    queue_cb_event_enable: fn(Ptr, Option<OnEvent>, Ptr);
    metadata: fn(Ptr, c_int, Ptr, *mut Ptr, c_int) -> c_int;
    metadata_destroy: fn(Ptr);
    consume_batch_queue: fn(Ptr, c_int, *mut *mut Message, usize) -> isize;
    message_destroy: fn(*mut Message);
    message_timestamp: fn(*const Message, *mut c_int) -> i64;
    message_headers: fn(*const Message, *mut Ptr) -> c_int;
    header_get_all: fn(Ptr, usize, *mut *const c_char, *mut *const u8, *mut usize) -> c_int;
    headers_new: fn(usize) -> Ptr;
    headers_destroy: fn(Ptr);
    header_add: fn(Ptr, *const c_char, isize, *const u8, isize) -> c_int;
    topic_new: fn(Ptr, *const c_char, Ptr) -> Ptr;
    topic_destroy: fn(Ptr);
    topic_name: fn(Ptr) -> *const c_char;
    produceva: fn(Ptr, *const Argument, usize) -> Ptr;
    error_code: fn(Ptr) -> c_int;
    error_destroy: fn(Ptr);
    last_error: fn() -> c_int;
}

/// The library is not there, or not of a version that is known here.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLibrary;

const RTLD_NOLOAD: c_int = 4;
/// 2.4, the first with everything that is used, up to before 3.
const VERSIONS: std::ops::Range<c_int> = 0x0204_0000..0x0300_0000;

static API: OnceLock<Api> = OnceLock::new();

/// Finds the functions in a library that the process has loaded; it is never loaded from here.
pub fn load(path: &str) -> Result<(), BadLibrary> {
    if API.get().is_some() {
        return Ok(());
    }
    // SAFETY: nothing is loaded, so no initialiser runs; the library is never closed.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_NOLOAD) }.map_err(|_| BadLibrary)?;
    // SAFETY: `rd_kafka_version` has had this signature since it exists.
    let version: unsafe extern "C" fn() -> c_int =
        unsafe { *library.get(b"rd_kafka_version\0").map_err(|_| BadLibrary)? };
    // SAFETY: as above; the function only returns a constant.
    if !VERSIONS.contains(&unsafe { version() }) {
        return Err(BadLibrary);
    }
    // SAFETY: within these versions the signatures are librdkafka's ABI.
    let api = unsafe { Api::of(&library) }?;
    std::mem::forget(library);
    let _ = API.set(api);
    Ok(())
}

/// The functions, once `load` has found them.
pub fn api() -> Option<&'static Api> {
    API.get()
}
