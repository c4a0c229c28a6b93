//! Envelopes of both formats, written and taken apart. Grammar: docs/envelopes.md.

mod leased;
mod record;

pub use leased::{leased_header_end, parse_leased, push_leased, BadLabel, Header, Lease};
pub use record::{parse_record, push_str, KeyLabel, Record, RecordSealer};

pub const FINGERPRINT_BYTES: usize = 8;
pub const IV_BYTES: usize = 16;
pub const KEYSET_BYTES: usize = 16;

fn take(data: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    (length <= data.len()).then(|| data.split_at(length))
}
