//! What serves a context's values, one stretch after the other.

use super::Unsealed;
use crate::contexts::NONE;
use crate::prefetch;

/// Stretches of keys, context after context, in the order in which they were granted.
pub struct Chains<T> {
    /// For each context its present stretch; behind them, those that come later.
    links: Vec<Link<T>>,
    /// For each context its last stretch.
    tails: Vec<u32>,
}

struct Link<T> {
    left: u32,
    next: u32,
    of: Option<T>,
}

impl<T> Chains<T> {
    pub fn new(contexts: usize) -> Self {
        let links = (0..contexts).map(|_| Link { left: 0, next: NONE, of: None }).collect();
        Self { links, tails: vec![NONE; contexts] }
    }

    pub fn push(&mut self, context: u32, left: u32, of: T) -> Result<(), Unsealed> {
        let tail = self.tails.get_mut(context as usize).ok_or(Unsealed::Keys)?;
        let link = Link { left, next: NONE, of: Some(of) };
        if *tail == NONE {
            *tail = context;
            self.links[context as usize] = link;
        } else {
            let number = self.links.len() as u32;
            self.links[std::mem::replace(tail, number) as usize].next = number;
            self.links.push(link);
        }
        Ok(())
    }

    /// Lets the processor fetch a context's present stretch.
    #[inline]
    pub fn soon(&self, context: usize) {
        if let Some(link) = self.links.get(context) {
            prefetch::fetch(link);
        }
    }

    /// What a context's next value is for, as far as that is known.
    #[inline]
    pub fn coming(&self, context: usize) -> Option<&T> {
        self.links.get(context)?.of.as_ref()
    }

    /// What a context's next value is for.
    #[inline]
    pub fn next(&mut self, context: usize) -> Option<&mut T> {
        while self.links.get(context)?.left == 0 {
            self.follow(context)?;
        }
        let link = self.links.get_mut(context)?;
        link.left -= 1;
        link.of.as_mut()
    }

    /// Lets a context's next stretch take the place of the present one.
    #[cold]
    fn follow(&mut self, context: usize) -> Option<()> {
        let next = self.links.get(context)?.next;
        let link = self.links.get_mut(next as usize)?;
        let link = Link { left: link.left, next: link.next, of: link.of.take() };
        // The last one was moved from its place.
        if link.next == NONE {
            self.tails[context] = context as u32;
        }
        self.links[context] = link;
        Some(())
    }
}
