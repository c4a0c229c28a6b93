//! The permutation algebra on blocks of 16 bytes, in registers where the processor shuffles bytes, in plain code where
//! it does not. The only `unsafe` of the derivation is here.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use zeroize::Zeroize;

pub const BLOCK: usize = 16;
pub const BLOCKS: usize = 33;
pub const MATERIAL: usize = BLOCK * BLOCKS;

pub type Block = [u8; BLOCK];

/// What turns 33 chained blocks into 33 others: `out_j = own * in_{order j} xor before * in_{order j - 1} xor
/// chain * out_{j-1}`, where `in_{-1}` and `out_{-1}` are the iv. Without `before` the input is not chained.
///
/// Every index of `own`, `before` and `chain` is below 16, every one of `order` below 33: `Chain::new` sees to it.
#[derive(Clone)]
pub struct Chain {
    own: Block,
    before: Option<Block>,
    chain: Block,
    order: [u8; BLOCKS],
}

impl Chain {
    pub fn new(own: Block, before: Option<Block>, chain: Block, order: [u8; BLOCKS]) -> Option<Self> {
        let sound = is_permutation(&own)
            && before.as_ref().is_none_or(|p| is_permutation(p))
            && is_permutation(&chain)
            && is_permutation(&order);
        sound.then_some(Self { own, before, chain, order })
    }

    /// Overwrites the permutations; what is left is no chain.
    pub fn wipe(&mut self) {
        self.own.zeroize();
        self.before.zeroize();
        self.chain.zeroize();
        self.order.zeroize();
    }

    /// Runs the chain, and says whether the blocks before chaining are pairwise distinct.
    #[inline]
    pub fn run(&self, iv: &Block, input: &[u8; MATERIAL], out: &mut [u8; MATERIAL]) -> bool {
        let mut firsts = [0u32; BLOCKS];
        self.apply(iv, input, out, &mut firsts);
        self.is_distinct(iv, input, &firsts)
    }

    /// Runs the chain; `firsts` are the first words of the blocks before chaining.
    #[inline]
    pub fn apply(&self, iv: &Block, input: &[u8; MATERIAL], out: &mut [u8; MATERIAL], firsts: &mut [u32; BLOCKS]) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("ssse3") {
            // SAFETY: the processor has SSSE3, which is all that the function asks for.
            unsafe { x86::run(self, iv, input, out, firsts) };
            return;
        }
        #[cfg(target_arch = "aarch64")]
        {
            neon::run(self, iv, input, out, firsts);
            return;
        }
        #[allow(unreachable_code)]
        self.run_portable(iv, input, out, firsts);
    }

    pub fn run_portable(
        &self,
        iv: &Block,
        input: &[u8; MATERIAL],
        out: &mut [u8; MATERIAL],
        firsts: &mut [u32; BLOCKS],
    ) {
        let mut previous = *iv;
        for (j, first) in firsts.iter_mut().enumerate() {
            let unchained = self.unchained(iv, input, j);
            *first = u32::from_le_bytes([unchained[0], unchained[1], unchained[2], unchained[3]]);
            let mut block = [0; BLOCK];
            for (i, byte) in block.iter_mut().enumerate() {
                *byte = unchained[i] ^ previous[usize::from(self.chain[i])];
            }
            out[j * BLOCK..][..BLOCK].copy_from_slice(&block);
            previous = block;
        }
    }

    fn unchained(&self, iv: &Block, input: &[u8; MATERIAL], j: usize) -> Block {
        let number = usize::from(self.order[j]);
        let at = number * BLOCK;
        let own = &input[at..at + BLOCK];
        let earlier = if number == 0 { &iv[..] } else { &input[at - BLOCK..at] };
        let mut block = [0; BLOCK];
        for (i, byte) in block.iter_mut().enumerate() {
            *byte = own[usize::from(self.own[i])];
            if let Some(before) = &self.before {
                *byte ^= earlier[usize::from(before[i])];
            }
        }
        block
    }

    /// Equal first words are met by chance once in ten million batches of blocks; then the whole blocks decide.
    fn is_distinct(&self, iv: &Block, input: &[u8; MATERIAL], firsts: &[u32; BLOCKS]) -> bool {
        if !is_any_twice(firsts) {
            return true;
        }
        let mut whole: Vec<Block> = (0..BLOCKS).map(|j| self.unchained(iv, input, j)).collect();
        whole.sort_unstable();
        whole.windows(2).all(|pair| pair[0] != pair[1])
    }
}

fn is_any_twice(words: &[u32; BLOCKS]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which is all that the function asks for.
        return unsafe { x86::is_any_twice(words) };
    }
    is_any_twice_portable(words)
}

/// The last with all others, and those each with the next 16 in their ring, which are all pairs: loops of whole registers.
#[inline(always)]
fn is_any_twice_portable(words: &[u32; BLOCKS]) -> bool {
    const RING: usize = BLOCKS - 1;
    let (last, words) = (words[RING], &words[..RING]);
    let mut ring = [0; RING + RING / 2];
    ring[..RING].copy_from_slice(words);
    ring[RING..].copy_from_slice(&words[..RING / 2]);
    let mut equal = words.iter().fold(0, |equal, &word| equal | u32::from(word == last));
    for distance in 1..=RING / 2 {
        for (word, other) in words.iter().zip(&ring[distance..distance + RING]) {
            equal |= u32::from(word == other);
        }
    }
    equal != 0
}

pub fn is_permutation(items: &[u8]) -> bool {
    let mut seen = 0u64;
    items.iter().all(|&item| {
        let fresh = usize::from(item) < items.len() && seen & (1 << item) == 0;
        seen |= 1u64.checked_shl(u32::from(item)).unwrap_or(0);
        fresh
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permutation<const N: usize>(seed: u64) -> [u8; N] {
        let mut items: [u8; N] = std::array::from_fn(|i| i as u8);
        let mut state = seed;
        for i in (1..N).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            items.swap(i, (state >> 33) as usize % (i + 1));
        }
        items
    }

    fn random(seed: u64) -> [u8; MATERIAL] {
        let mut state = seed;
        std::array::from_fn(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
    }

    #[test]
    fn registers_and_plain_code_agree() {
        for seed in 0..200 {
            let before = (seed % 2 == 0).then(|| permutation(seed + 1));
            let chain = Chain::new(permutation(seed), before, permutation(seed + 2), permutation(seed + 3)).unwrap();
            let (iv, input) = (permutation(seed + 9), random(seed));
            let (mut fast, mut plain) = ([0; MATERIAL], [0; MATERIAL]);
            assert!(chain.run(&iv, &input, &mut fast));
            chain.run_portable(&iv, &input, &mut plain, &mut [0; BLOCKS]);
            assert_eq!(fast, plain);
        }
    }

    #[test]
    fn equal_blocks_are_seen() {
        let identity: Block = std::array::from_fn(|i| i as u8);
        let order: [u8; BLOCKS] = std::array::from_fn(|i| i as u8);
        let chain = Chain::new(identity, Some(identity), identity, order).unwrap();
        let mut out = [0; MATERIAL];
        assert!(!chain.run(&[5; 16], &[0; MATERIAL], &mut out));
        let mut input = random(3);
        let first: Block = input[..BLOCK].try_into().unwrap();
        for i in 0..BLOCK {
            input[7 * BLOCK + i] = input[6 * BLOCK + i] ^ first[i] ^ 5;
        }
        assert!(!chain.run(&[5; 16], &input, &mut out));
        input[7 * BLOCK + 9] ^= 1;
        assert!(chain.run(&[5; 16], &input, &mut out));
    }

    #[test]
    fn every_pair_is_compared() {
        let identity: Block = std::array::from_fn(|i| i as u8);
        let order: [u8; BLOCKS] = std::array::from_fn(|i| i as u8);
        let chain = Chain::new(identity, None, identity, order).unwrap();
        for i in 0..BLOCKS {
            for j in 0..i {
                let mut input = random((i * BLOCKS + j) as u64);
                assert!(chain.run(&[5; 16], &input, &mut [0; MATERIAL]));
                input.copy_within(i * BLOCK..(i + 1) * BLOCK, j * BLOCK);
                assert!(!chain.run(&[5; 16], &input, &mut [0; MATERIAL]), "{i} {j}");
            }
        }
    }

    #[test]
    fn only_permutations_are_taken() {
        assert!(is_permutation(&[2, 0, 1]));
        for items in [&[0u8, 0, 1][..], &[0, 3, 1], &[255, 0, 1]] {
            assert!(!is_permutation(items));
        }
    }
}
