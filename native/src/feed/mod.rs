//! The keys of one slot's values, handed out value by value.

mod chains;
mod leases;
mod singles;

pub use leases::{Leases, Sealing};
pub use singles::Singles;

use crate::aead::Failed;

/// Why a batch could not be sealed; nothing of it is to be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsealed {
    /// The keys do not add up to the values, or one was used before.
    Keys,
    Library,
}

impl From<Failed> for Unsealed {
    fn from(_: Failed) -> Self {
        Self::Library
    }
}

pub enum Feed<'k> {
    Leased(Leases<'k>),
    Single(Singles),
}

impl Feed<'_> {
    /// Whether its keys are too many to be near when their turn comes.
    pub fn is_far(&self) -> bool {
        match self {
            Self::Leased(leases) => leases.are_far(),
            Self::Single(keys) => keys.are_far(),
        }
    }

    /// Lets the processor fetch what a context's next value will need: of many keys it is no longer, or not yet, near.
    #[inline]
    pub fn soon(&self, context: usize) {
        match self {
            Self::Leased(leases) => leases.soon(context),
            Self::Single(keys) => keys.soon(context),
        }
    }

    /// What a value may grow by, at most.
    pub fn growth(&self) -> usize {
        match self {
            Self::Leased(leases) => leases.growth,
            Self::Single(_) => 256,
        }
    }
}
