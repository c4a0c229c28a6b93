//! The chain in registers of NEON.

use std::arch::aarch64::{uint8x16_t, veorq_u8, vgetq_lane_u32, vld1q_u8, vqtbl1q_u8, vreinterpretq_u32_u8, vst1q_u8};

use super::{Block, Chain, BLOCK, BLOCKS, MATERIAL};

pub fn run(chain: &Chain, iv: &Block, input: &[u8; MATERIAL], out: &mut [u8; MATERIAL], firsts: &mut [u32; BLOCKS]) {
    let (own, through, iv) = (load(&chain.own), load(&chain.chain), load(iv));
    let before = chain.before.as_ref().map(|p| load(p));
    let mut previous = iv;
    for (j, first) in firsts.iter_mut().enumerate() {
        let number = usize::from(chain.order[j]);
        // SAFETY: NEON is part of every aarch64; the store is of 16 bytes into a slice of 16.
        unsafe {
            let mut block = vqtbl1q_u8(load(&input[number * BLOCK..][..BLOCK]), own);
            if let Some(before) = before {
                let earlier = if number == 0 { iv } else { load(&input[(number - 1) * BLOCK..][..BLOCK]) };
                block = veorq_u8(block, vqtbl1q_u8(earlier, before));
            }
            *first = vgetq_lane_u32::<0>(vreinterpretq_u32_u8(block));
            previous = veorq_u8(block, vqtbl1q_u8(previous, through));
            vst1q_u8(out[j * BLOCK..][..BLOCK].as_mut_ptr(), previous);
        }
    }
}

fn load(block: &[u8]) -> uint8x16_t {
    assert!(block.len() >= BLOCK);
    // SAFETY: the slice has 16 bytes, and the load needs no alignment.
    unsafe { vld1q_u8(block.as_ptr()) }
}
