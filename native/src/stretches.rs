//! Single-use keys by slot: stretches of the answers that brought them, in the order in which they came. The readable twin
//! is `worker/zerokms/keys/held.py`.

use crate::contexts::NONE;
use crate::prefetch;
use crate::slab;

/// Keys of an answer, by its number, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub answer: u32,
    pub start: u32,
    pub count: u32,
}

/// Stretches that are held no more, and the answers that they are numbers of.
#[derive(Debug, PartialEq, Eq)]
pub struct Drawn<A> {
    pub answers: Vec<A>,
    pub parts: Vec<Stretch>,
}

impl<A> Drawn<A> {
    /// Appends keys; those that follow the last ones are of the same stretch.
    fn push(&mut self, next: Stretch) {
        match self.parts.last_mut() {
            Some(last) if last.answer == next.answer && last.start + last.count == next.start => last.count += next.count,
            _ => self.parts.push(next),
        }
    }

    pub fn count(&self) -> usize {
        self.parts.iter().map(|part| part.count as usize).sum()
    }
}

struct Link {
    of: Stretch,
    next: u32,
    born: f64,
}

struct Answer<A> {
    of: A,
    /// How many of its stretches are held.
    held: usize,
    /// Its place in what is drawn now, and in which draw that was.
    place: u32,
    draw: u64,
}

/// The stretches of many slots.
pub struct Stretches<A> {
    /// For each slot its first stretch, and its last one.
    ends: Vec<(u32, u32)>,
    links: Vec<Link>,
    free: Vec<u32>,
    answers: Vec<Option<Answer<A>>>,
    unused: Vec<u32>,
    draws: u64,
}

impl<A> Default for Stretches<A> {
    fn default() -> Self {
        Self { ends: Vec::new(), links: Vec::new(), free: Vec::new(), answers: Vec::new(), unused: Vec::new(), draws: 0 }
    }
}

impl<A: Clone> Stretches<A> {
    /// Lets the processor fetch where a slot's stretches are.
    #[inline]
    pub fn soon(&self, slot: usize) {
        if let Some(ends) = self.ends.get(slot) {
            prefetch::fetch(ends);
        }
    }

    /// Gives a slot a stretch of an answer, `of.answer` being `add`'s number; `born` is when it was asked for.
    pub fn put(&mut self, slot: usize, of: Stretch, born: f64) {
        let Some(Some(answer)) = self.answers.get_mut(of.answer as usize) else { return };
        answer.held += 1;
        let link = Link { of, next: NONE, born };
        let number = slab::put(&mut self.links, &mut self.free, link);
        if self.ends.len() <= slot {
            self.ends.resize(slot + 1, (NONE, NONE));
        }
        let (first, last) = &mut self.ends[slot];
        match std::mem::replace(last, number) {
            NONE => *first = number,
            before => self.links[before as usize].next = number,
        }
    }

    /// Takes an answer over, of which stretches are put next; returns its number. `settle` forgets it where none is.
    pub fn add(&mut self, of: A) -> u32 {
        let answer = Some(Answer { of, held: 0, place: 0, draw: 0 });
        slab::put(&mut self.answers, &mut self.unused, answer)
    }

    /// Forgets an answer of which nothing is held.
    pub fn settle(&mut self, number: u32) {
        if let Some(answer) = self.answers.get_mut(number as usize) {
            if answer.as_ref().is_some_and(|answer| answer.held == 0) {
                *answer = None;
                self.unused.push(number);
            }
        }
    }

    /// Draws so many keys of each slot, the first that came first; `None` where one has not so many.
    pub fn draw(&mut self, wanted: impl ExactSizeIterator<Item = (usize, u32)> + Clone) -> Option<Drawn<A>> {
        self.draws += 1;
        let mut drawn = Drawn { answers: Vec::new(), parts: Vec::with_capacity(wanted.len()) };
        let (mut further, mut nearer) = (wanted.clone().skip(prefetch::AHEAD), wanted.clone().skip(prefetch::AHEAD / 2));
        for (slot, mut count) in wanted {
            if let Some((slot, _)) = further.next() {
                self.soon(slot);
            }
            let near = nearer.next().and_then(|(slot, _)| self.links.get(self.ends.get(slot)?.0 as usize));
            if let Some(link) = near {
                prefetch::fetch(link);
            }
            while count > 0 {
                let link = self.links.get(self.ends.get(slot)?.0 as usize)?;
                let here = link.of.count.min(count);
                self.cut(slot, here, &mut drawn);
                count -= here;
            }
        }
        Some(drawn)
    }

    /// Draws what a slot has that was asked for until `limit`.
    pub fn lose(&mut self, slot: usize, limit: f64) -> Drawn<A> {
        self.draws += 1;
        let mut drawn = Drawn { answers: Vec::new(), parts: Vec::new() };
        let mut kept = Vec::new();
        while let Some(link) = self.ends.get(slot).and_then(|ends| self.links.get(ends.0 as usize)) {
            let Link { of, born, .. } = *link;
            if born <= limit {
                self.cut(slot, of.count, &mut drawn);
            } else {
                kept.push((of, born));
                self.unlink(slot);
            }
        }
        for (of, born) in kept {
            self.put(slot, of, born);
            if let Some(Some(answer)) = self.answers.get_mut(of.answer as usize) {
                answer.held -= 1;
            }
        }
        drawn
    }

    /// When a slot's oldest keys were asked for; infinite where it has none.
    pub fn born(&self, slot: usize) -> f64 {
        self.each(slot).map(|(born, ..)| born).fold(f64::INFINITY, f64::min)
    }

    /// The stretches of a slot: when they were asked for, their answers, and where they are there.
    pub fn each(&self, slot: usize) -> impl Iterator<Item = (f64, &A, Stretch)> {
        let mut next = self.ends.get(slot).map_or(NONE, |ends| ends.0);
        std::iter::from_fn(move || {
            let link = self.links.get(next as usize)?;
            next = link.next;
            Some((link.born, &self.answers.get(link.of.answer as usize)?.as_ref()?.of, link.of))
        })
    }

    /// Draws the first keys of a slot's first stretch.
    fn cut(&mut self, slot: usize, count: u32, drawn: &mut Drawn<A>) {
        let link = &mut self.links[self.ends[slot].0 as usize];
        let number = link.of.answer;
        let Some(Some(answer)) = self.answers.get_mut(number as usize) else { return };
        if answer.draw != self.draws {
            (answer.draw, answer.place) = (self.draws, drawn.answers.len() as u32);
            drawn.answers.push(answer.of.clone());
        }
        drawn.push(Stretch { answer: answer.place, start: link.of.start, count });
        link.of.start += count;
        link.of.count -= count;
        if link.of.count == 0 {
            answer.held -= 1;
            self.unlink(slot);
            self.settle(number);
        }
    }

    /// Takes a slot's first stretch out of its chain.
    fn unlink(&mut self, slot: usize) {
        let (first, last) = &mut self.ends[slot];
        let number = *first;
        *first = self.links[number as usize].next;
        if *first == NONE {
            *last = NONE;
        }
        self.free.push(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(answer: u32, start: u32, count: u32) -> Stretch {
        Stretch { answer, start, count }
    }

    #[test]
    fn what_came_first_goes_first_and_each_once() {
        let mut held = Stretches::default();
        let a = held.add("a");
        held.put(3, part(a, 0, 2), 1.0);
        held.put(1, part(a, 2, 1), 1.0);
        let b = held.add("b");
        held.put(3, part(b, 0, 2), 0.5);
        assert_eq!((held.born(3), held.born(1), held.born(2), held.born(9)), (0.5, 1.0, f64::INFINITY, f64::INFINITY));

        let drawn = held.draw([(3, 3), (1, 1)].into_iter()).unwrap();

        assert_eq!(drawn, Drawn { answers: vec!["a", "b"], parts: vec![part(0, 0, 2), part(1, 0, 1), part(0, 2, 1)] });
        assert_eq!(held.each(3).collect::<Vec<_>>(), [(0.5, &"b", part(b, 1, 1))]);
        assert!(held.draw([(3, 2)].into_iter()).is_none());
        assert!(held.draw([(9, 1)].into_iter()).is_none());
        assert_eq!(held.answers.iter().flatten().count(), 0);
    }

    #[test]
    fn what_came_together_goes_as_one() {
        let mut held = Stretches::default();
        let a = held.add('a');
        for (slot, start) in [(7, 0), (2, 5), (4, 10)] {
            held.put(slot, part(a, start, 5), 0.0);
        }
        assert_eq!(held.draw([(7, 5), (2, 5), (4, 5)].into_iter()).unwrap().parts, [part(0, 0, 15)]);
        assert_eq!((held.add('b'), held.links.len(), held.free.len()), (a, 3, 3));
        held.settle(a);
        assert_eq!(held.add('c'), a);
    }

    #[test]
    fn what_is_old_is_lost() {
        let mut held = Stretches::default();
        for (answer, born) in [("a", 1.0), ("b", 9.0), ("c", 2.0), ("d", 8.0)] {
            let number = held.add(answer);
            held.put(0, part(number, 0, 3), born);
        }
        let lost = held.lose(0, 2.0);
        assert_eq!((lost.answers.as_slice(), lost.count()), (&["a", "c"][..], 6));
        assert_eq!(held.each(0).map(|(born, of, _)| (born, *of)).collect::<Vec<_>>(), [(9.0, "b"), (8.0, "d")]);
        assert_eq!(held.lose(0, f64::INFINITY).count(), 6);
        assert_eq!((held.lose(5, 0.0).count(), held.answers.iter().flatten().count()), (0, 0));
    }
}
