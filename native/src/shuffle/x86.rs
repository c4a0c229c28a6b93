//! The chain in registers of SSSE3.

use std::arch::x86_64::{
    __m128i, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_shuffle_epi8, _mm_storeu_si128, _mm_xor_si128,
};

use super::{Block, Chain, BLOCK, BLOCKS, MATERIAL};

/// # Safety
/// The processor has SSSE3. Loads and stores stay within the arrays, since every number of `order` is below 33.
#[target_feature(enable = "ssse3")]
pub unsafe fn run(
    chain: &Chain,
    iv: &Block,
    input: &[u8; MATERIAL],
    out: &mut [u8; MATERIAL],
    firsts: &mut [u32; BLOCKS],
) {
    let (own, through) = (load(&chain.own), load(&chain.chain));
    let before = chain.before.as_ref().map(|p| load(p));
    let iv = load(iv);
    let mut previous = iv;
    for (j, first) in firsts.iter_mut().enumerate() {
        let number = usize::from(chain.order[j]);
        let mut block = _mm_shuffle_epi8(block_of(input, number), own);
        if let Some(before) = before {
            let earlier = if number == 0 { iv } else { block_of(input, number - 1) };
            block = _mm_xor_si128(block, _mm_shuffle_epi8(earlier, before));
        }
        *first = _mm_cvtsi128_si32(block) as u32;
        previous = _mm_xor_si128(block, _mm_shuffle_epi8(previous, through));
        let place = &mut out[j * BLOCK..][..BLOCK];
        // SAFETY: `place` is 16 bytes, and the store needs no alignment.
        unsafe { _mm_storeu_si128(place.as_mut_ptr().cast(), previous) };
    }
}

/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn is_any_twice(words: &[u32; BLOCKS]) -> bool {
    super::is_any_twice_portable(words)
}

#[inline]
#[target_feature(enable = "ssse3")]
fn load(block: &Block) -> __m128i {
    // SAFETY: a block is 16 bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "ssse3")]
fn block_of(input: &[u8; MATERIAL], number: usize) -> __m128i {
    let block = &input[number * BLOCK..][..BLOCK];
    // SAFETY: `block` is 16 bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}
