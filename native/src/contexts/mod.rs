//! Contexts as numbers: those of one batch, and those that a key cache holds.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

mod directory;
mod met;
mod rows;

pub use directory::Directory;
pub use met::Contexts;
pub use rows::Rows;

/// No number: of a context, of a place, of a slot.
pub const NONE: u32 = u32::MAX;

/// The hash of a framed context. It is keyed: producers choose the texts, and shall not choose what collides.
pub fn hash(framed: &[u8]) -> u64 {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    STATE.get_or_init(RandomState::new).hash_one(framed)
}

/// Appends `u32 n, n * (F(name) F(value))`; the names are framed already.
pub fn frame<'v>(out: &mut Vec<u8>, names: &[Box<[u8]>], values: impl Iterator<Item = &'v [u8]>) {
    out.extend_from_slice(&(names.len() as u32).to_be_bytes());
    for (name, value) in names.iter().zip(values) {
        out.extend_from_slice(name);
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// The names and texts of a framed context, by turns: `u32 n, n * (F(name) F(text))`.
pub fn parts(framed: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    strings(framed.get(4..).unwrap_or_default())
}

/// Framed texts, one after the other.
pub fn strings(framed: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = framed;
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let part = rest.get(4..4 + length)?;
        rest = &rest[4 + length..];
        Some(String::from_utf8_lossy(part))
    })
}

/// The texts of a framed context.
pub fn texts(framed: &[u8]) -> Vec<String> {
    parts(framed).skip(1).step_by(2).map(Cow::into_owned).collect()
}

#[cfg(test)]
mod samples {
    use super::frame;

    /// A context of one text.
    pub fn framed(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        frame(&mut out, &[b"\0\0\0\x01n".as_slice().into()], [text.as_bytes()].into_iter());
        out
    }
}
