//! Memory asked for before it is used: neither a table of many contexts nor a batch's output fits into the processor's
//! cache.

/// How many places ahead memory is asked for: what one access to main memory takes, by what a place takes.
pub const AHEAD: usize = 16;

const LINE: usize = 64;

/// Lets the processor fetch every line of a value that will be read soon.
#[inline]
pub fn fetch<T>(value: &T) {
    let start: *const T = value;
    for offset in (0..size_of::<T>()).step_by(LINE) {
        line(start.wrapping_byte_add(offset));
    }
    // One that begins within a line may end in one more.
    if (size_of::<T>() + LINE - 1) % LINE + 1 > align_of::<T>() {
        line(start.wrapping_byte_add(size_of::<T>().saturating_sub(1)));
    }
}

/// Lets the processor fetch what will be read soon of items that lie side by side.
#[inline]
pub fn fetch_all<T>(items: &[T]) {
    let size = size_of_val(items);
    for offset in (0..size).step_by(LINE) {
        line(items.as_ptr().wrapping_byte_add(offset));
    }
    // Those that begin within a line may end in one more.
    line(items.as_ptr().wrapping_byte_add(size.saturating_sub(1)));
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn line<T>(at: *const T) {
    use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
    // SAFETY: a prefetch reads nothing that the program sees, and never faults.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line<T>(_: *const T) {}

/// Has the room behind what was written to a buffer fetched before it is written to.
#[derive(Debug, Default)]
pub struct Frontier(usize);

/// How many bytes ahead of what is written room is fetched.
const WITHIN: usize = 1024;

impl Frontier {
    #[inline]
    pub fn advance(&mut self, out: &Vec<u8>) {
        self.0 = self.0.max(out.len());
        let until = (out.len() + WITHIN).min(out.capacity());
        while self.0 < until {
            line(out.as_ptr().wrapping_byte_add(self.0));
            self.0 += LINE;
        }
    }
}

/// The items again; `soon` sees each of them `AHEAD` items before it comes.
pub fn ahead<I: Iterator + Clone>(items: I, soon: impl Fn(I::Item)) -> impl Iterator<Item = I::Item> {
    let mut further = items.clone();
    further.by_ref().take(AHEAD).for_each(&soon);
    items.inspect(move |_| {
        if let Some(item) = further.next() {
            soon(item);
        }
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn no_room_is_fetched_but_a_buffers_own() {
        let (mut room, mut out) = (Frontier::default(), Vec::with_capacity(3 * WITHIN));
        for written in [0, 1, WITHIN, 3 * WITHIN] {
            out.resize(written, 0u8);
            room.advance(&out);
            let until = (written + WITHIN).min(out.capacity());
            assert!((until..until + LINE).contains(&room.0), "{written}");
        }
        let mut none = Frontier::default();
        none.advance(&Vec::new());
        assert_eq!(none.0, 0);
    }

    #[test]
    fn items_are_seen_before_they_come() {
        for count in [0, 1, AHEAD, 3 * AHEAD] {
            let seen = RefCell::new(Vec::new());
            let soon = |item| {
                fetch(&item);
                seen.borrow_mut().push(item);
            };
            for (number, item) in ahead(0..count, soon).enumerate() {
                assert_eq!(item, number);
                assert_eq!(seen.borrow().len(), count.min(number + 1 + AHEAD));
            }
            assert_eq!(seen.into_inner(), (0..count).collect::<Vec<_>>());
        }
    }
}
