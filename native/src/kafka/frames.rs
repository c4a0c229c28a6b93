//! Which schema each key or value names.

use super::batch::{Batch, Part};

/// Which schema each key or value names, by what it begins with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frames {
    pub groups: Vec<(Vec<u8>, Vec<usize>)>,
    pub named: Vec<usize>,
    pub bare: Vec<usize>,
    pub absent: Vec<usize>,
}

const ID_BYTES: usize = 5;
const GUID_BYTES: usize = 17;

impl Batch {
    /// Parts the records by the schema that their key or value names; `header` may name it instead.
    pub fn frames(&self, part: Part, header: &str) -> Frames {
        let mut found = Frames::default();
        for index in 0..self.len() {
            let Some(data) = self.part(part, index) else {
                found.absent.push(index);
                continue;
            };
            if self.headers(index).iter().any(|(name, _)| name == header) {
                found.named.push(index);
                continue;
            }
            let head = match data.first() {
                Some(0) if data.len() >= ID_BYTES => &data[..ID_BYTES],
                Some(1) if data.len() >= GUID_BYTES => &data[..GUID_BYTES],
                _ => {
                    found.bare.push(index);
                    continue;
                }
            };
            match found.groups.iter_mut().rev().find(|(known, _)| known == head) {
                Some((_, members)) => members.push(index),
                None => found.groups.push((head.to_vec(), vec![index])),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::samples::batch;
    use super::*;

    #[test]
    fn frames_are_told_by_their_first_bytes() {
        let guid = [1u8; 20];
        let batch =
            batch(&[(0, 1, b"\0\0\0\0\x07x"), (0, 2, b"\0\0"), (0, 3, &guid), (0, 4, b"\0\0\0\0\x07"), (0, 5, b"")]);
        let frames = batch.frames(Part::Value, "h");
        assert_eq!(frames.groups, [(b"\0\0\0\0\x07".to_vec(), vec![0, 3]), (guid[..17].to_vec(), vec![2])]);
        assert_eq!((frames.bare, frames.absent.len()), (vec![1, 4], 0));
        assert_eq!(batch.frames(Part::Key, "h").absent.len(), 5);
    }
}
