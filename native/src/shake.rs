//! SHAKE256, of four messages at once where the processor can: independent sponges share its registers.

use libcrux_sha3::portable;

/// How many messages are worth gathering.
pub const AT_ONCE: usize = 4;

/// Squeezes one output of each input; all outputs are of one length.
pub fn shake256(inputs: &[&[u8]], outs: &mut [&mut [u8]]) {
    #[cfg(target_arch = "x86_64")]
    if let (&[a, b, c, d], [w, x, y, z]) = (inputs, &mut *outs) {
        let alike = [b, c, d].iter().all(|other| other.len() == a.len()) && [&x, &y, &z].iter().all(|out| out.len() == w.len());
        if alike && is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { four([a, b, c, d], [w, x, y, z]) };
            return;
        }
    }
    for (input, out) in inputs.iter().zip(outs) {
        portable::shake256(out, input);
    }
}

/// # Safety
/// The processor has AVX2. Inputs are of one length, and so are outputs.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn four([a, b, c, d]: [&[u8]; AT_ONCE], [w, x, y, z]: [&mut [u8]; AT_ONCE]) {
    libcrux_sha3::avx2::x4::shake256(a, b, c, d, w, x, y, z);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of lengths about the rate of 136 bytes.
    const LENGTHS: [usize; 9] = [0, 1, 135, 136, 137, 140, 271, 272, 700];

    fn squeezed(inputs: &[&[u8]], length: usize) -> Vec<Vec<u8>> {
        let mut outs = vec![vec![0; length]; inputs.len()];
        shake256(inputs, &mut outs.iter_mut().map(|out| &mut out[..]).collect::<Vec<_>>());
        outs
    }

    #[test]
    fn four_at_once_are_each_its_own() {
        for length in LENGTHS {
            let inputs: [Vec<u8>; AT_ONCE] = std::array::from_fn(|n| (0..length).map(|i| (i * 7 + n) as u8).collect());
            let inputs = inputs.each_ref().map(|input| &input[..]);
            for out in [1, 136, 512] {
                let alone: Vec<Vec<u8>> = inputs.iter().map(|&input| squeezed(&[input], out).remove(0)).collect();
                assert_eq!(squeezed(&inputs, out), alone);
            }
        }
    }

    #[test]
    fn messages_of_several_lengths_are_taken() {
        let inputs: [&[u8]; AT_ONCE] = [b"", b"a", b"bc", b"def"];
        let alone: Vec<Vec<u8>> = inputs.iter().map(|&input| squeezed(&[input], 512).remove(0)).collect();
        assert_eq!(squeezed(&inputs, 512), alone);
    }

    #[test]
    fn the_empty_message_is_the_standards() {
        let expected = [0x46, 0xb9, 0xdd, 0x2b, 0x0b, 0xa8, 0x8d, 0x13, 0x23, 0x3b, 0x3f, 0xeb, 0x74, 0x3e, 0xeb, 0x24];
        assert_eq!(squeezed(&[b"", b"", b"", b""], 16), vec![expected.to_vec(); AT_ONCE]);
    }
}
