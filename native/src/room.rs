//! Memory that is used again: a batch's output takes megabytes, whose pages the system would clear anew for each.

use std::sync::{Mutex, PoisonError};

const KEPT: usize = 4;
const LEAST: usize = 64 * 1024;
const MOST: usize = 32 * 1024 * 1024;

static KEPT_BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer with room for so many bytes.
pub fn take(size: usize) -> Vec<u8> {
    let mut kept = KEPT_BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    // Not one that is much larger, or a few large batches would hold their memory for ever.
    let fits = kept.iter().position(|buffer| buffer.capacity() >= size && buffer.capacity() / 4 <= size);
    fits.map_or_else(|| Vec::with_capacity(size), |place| kept.swap_remove(place))
}

/// Keeps a buffer for another batch; one that held what is secret must not come here.
pub fn give(mut buffer: Vec<u8>) {
    if (LEAST..=MOST).contains(&buffer.capacity()) {
        buffer.clear();
        let mut kept = KEPT_BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_where_it_fits() {
        let mut buffer = take(LEAST);
        buffer.push(1);
        let at = buffer.as_ptr();
        give(buffer);
        let (larger, smaller) = (take(LEAST * 5), take(LEAST / 5));
        assert!(larger.as_ptr() != at && smaller.as_ptr() != at);
        let again = take(LEAST / 2);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        (0..2 * KEPT).for_each(|_| give(Vec::with_capacity(LEAST)));
        assert_eq!(KEPT_BUFFERS.lock().unwrap().len(), KEPT);
    }
}
