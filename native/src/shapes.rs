//! A type as a table of shapes, which refer to each other by their numbers.

use crate::program::MAX_NODES;

/// `N` are names and symbols as they are put, `L` is what a value may be besides.
pub enum Shape<N, L> {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Box<[N]>),
    /// Branches, some with a name that tells them.
    Union(Box<[(u32, Option<N>)]>),
    Record(Box<[(N, u32)]>),
    Array {
        item: u32,
        widthless: bool,
    },
    Map(u32),
    Other(L),
}

/// Each number that a shape holds leads to another one.
pub struct Shapes<N, L> {
    table: Box<[Shape<N, L>]>,
    root: u32,
}

impl<N, L> Shapes<N, L> {
    /// `None` where a shape refers to one that is not there.
    pub fn new(table: Box<[Shape<N, L>]>, root: u32) -> Option<Self> {
        let known = |id: &u32| (*id as usize) < table.len();
        let sound = table.len() <= MAX_NODES
            && known(&root)
            && table.iter().all(|shape| match shape {
                Shape::Union(branches) => branches.iter().all(|(id, _)| known(id)),
                Shape::Record(fields) => fields.iter().all(|(_, id)| known(id)),
                Shape::Array { item: id, .. } | Shape::Map(id) => known(id),
                _ => true,
            });
        sound.then_some(Self { table, root })
    }

    pub fn root(&self) -> u32 {
        self.root
    }

    #[inline]
    pub fn get(&self, id: u32) -> &Shape<N, L> {
        &self.table[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_is_refused() {
        let of = |shape: Shape<(), ()>| Shapes::new([shape, Shape::Null].into(), 0).is_some();
        assert!(of(Shape::Map(1)));
        assert!(!of(Shape::Map(2)));
        assert!(!of(Shape::Array { item: 2, widthless: false }));
        assert!(!of(Shape::Record([((), 0), ((), 2)].into())));
        assert!(!of(Shape::Union([(1, None), (2, None)].into())));
        assert!(Shapes::<(), ()>::new([Shape::Null].into(), 1).is_none());
    }
}
