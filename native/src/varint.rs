//! Avro's zigzag varints of at most 64 bits.

/// A varint in its shortest form; the longest takes 10 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    bytes: [u8; 10],
    len: u8,
}

impl Encoded {
    pub const EMPTY: Self = Self { bytes: [0; 10], len: 0 };

    /// Bytes to stand as they are; `None` for more than a varint's 10.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut out = Self::EMPTY;
        out.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        out.len = bytes.len() as u8;
        Some(out)
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

pub fn encode(value: i64) -> Encoded {
    let mut rest = zigzag(value);
    let mut out = Encoded::EMPTY;
    while rest > 0x7f {
        out.bytes[usize::from(out.len)] = (rest as u8 & 0x7f) | 0x80;
        out.len += 1;
        rest >>= 7;
    }
    out.bytes[usize::from(out.len)] = rest as u8;
    out.len += 1;
    out
}

/// Appends a length, which no buffer in memory makes negative.
pub fn push_length(out: &mut Vec<u8>, length: usize) {
    let mut rest = (length as u64) << 1;
    // As most envelopes' lengths: one place to find in the buffer.
    if (0x80..0x4000).contains(&rest) {
        return out.extend_from_slice(&[rest as u8 | 0x80, (rest >> 7) as u8]);
    }
    while rest > 0x7f {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes `push_length` appends.
pub fn length_bytes(length: usize) -> usize {
    let bits = 64 - ((length as u64) << 1 | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// The number at `at` and the position behind it; `None` where it ends early or has more than 64 bits.
#[inline]
pub fn read(data: &[u8], at: usize) -> Option<(i64, usize)> {
    let first = *data.get(at)?;
    if first < 0x80 {
        return Some((unzigzag(u64::from(first)), at + 1));
    }
    let mut value = u64::from(first & 0x7f);
    for i in 1..10 {
        let byte = *data.get(at + i)?;
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((unzigzag(value), at + i + 1));
        }
    }
    None
}

/// A varint that is the whole of `data`, in its shortest form.
pub fn whole(data: &[u8]) -> Option<i64> {
    let (value, end) = read(data, 0)?;
    let shortest = end == 1 || data[end - 1] != 0;
    (end == data.len() && shortest).then_some(value)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        for value in [0, 1, -1, 63, 64, -64, -65, 8191, 1 << 40, i64::MAX, i64::MIN] {
            let form = encode(value);
            assert_eq!(read(form.as_slice(), 0), Some((value, form.as_slice().len())));
            assert_eq!(whole(form.as_slice()), Some(value));
        }
    }

    #[test]
    fn lengths_are_counted_as_written() {
        for length in [0, 1, 63, 64, 127, 8191, 8192, 1 << 20, 1 << 27, (1 << 40) + 7] {
            let mut out = Vec::new();
            push_length(&mut out, length);
            assert_eq!(out.len(), length_bytes(length));
            assert_eq!(whole(&out), Some(length as i64));
        }
    }

    #[test]
    fn refuses_what_is_no_number_of_64_bits() {
        assert_eq!(read(&[], 0), None);
        assert_eq!(read(&[0x80; 10], 0), None);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], 0), None);
        assert_eq!(whole(&[0x80, 0x00]), None);
        assert_eq!(read(&[0x80, 0x00], 0), Some((0, 2)));
    }
}
