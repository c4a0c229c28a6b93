//! Secrets side by side in memory that is overwritten in one go.

use std::ops::{Deref, DerefMut};

use crate::aead::cleanse;

/// Secrets of `N` bytes each, whose memory never moves and is overwritten when they are dropped.
pub struct Secrets<const N: usize>(Box<[[u8; N]]>);

impl<const N: usize> Secrets<N> {
    /// So many places, of zeros.
    pub fn zeros(count: usize) -> Self {
        Self(vec![[0; N]; count].into())
    }

    /// Copies of secrets.
    pub fn of(secrets: &[[u8; N]]) -> Self {
        Self(secrets.into())
    }
}

impl<const N: usize> Deref for Secrets<N> {
    type Target = [[u8; N]];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<const N: usize> DerefMut for Secrets<N> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<const N: usize> Drop for Secrets<N> {
    fn drop(&mut self) {
        cleanse(self.0.as_flattened_mut());
    }
}
