//! The leaves of an erasable keyset's tree. The readable twin is `worker/authority/erasure/tree.py`.

use aws_lc_rs::digest::{digest, SHA256};
use zeroize::{Zeroize, Zeroizing};

pub const NODE: usize = 32;
pub const DEPTH: u32 = 64;
const LABEL: &[u8; 10] = b"zk-tree-v1";

/// Walks from a node at `depth` to the leaf at `position`; the position's first bit is the one below the root.
pub fn leaf(node: &[u8; NODE], position: u64, depth: u32) -> Zeroizing<[u8; NODE]> {
    let mut found = Zeroizing::new(*node);
    let mut block = [0u8; LABEL.len() + 1 + NODE];
    block[..LABEL.len()].copy_from_slice(LABEL);
    for below in (0..DEPTH.saturating_sub(depth)).rev() {
        block[LABEL.len()] = ((position >> below) & 1) as u8;
        block[LABEL.len() + 1..].copy_from_slice(&*found);
        found.copy_from_slice(digest(&SHA256, &block).as_ref());
    }
    block.zeroize();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_in_two_parts_is_the_walk() {
        let root = [7; NODE];
        let position = 0x8000_0000_0000_0001;
        let whole = leaf(&root, position, 0);
        let mut block = LABEL.to_vec();
        block.push(1);
        block.extend_from_slice(&root);
        let right: [u8; NODE] = digest(&SHA256, &block).as_ref().try_into().unwrap();
        assert_eq!(*leaf(&right, position, 1), *whole);
        assert_eq!(*leaf(&root, position, DEPTH), root);
        assert_ne!(*leaf(&root, position ^ 1, 0), *whole);
    }
}
