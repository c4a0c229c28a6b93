//! Which messages are handed over together.
//!
//! An idempotent producer has one request of a partition under way (librdkafka takes the messages in flight for
//! requests), and while others of that partition wait behind it its thread polls without ever sleeping. So of each
//! partition a round holds what fits into one request, and the next round is handed over when that is acknowledged.

/// What a request of one partition may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub bytes: usize,
    pub messages: usize,
}

/// What a batch's head and a message take beside key, value and headers, at most.
const HEAD: usize = 1024;
const FRAMING: usize = 40;

/// An order of messages in which each round follows the one before it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// Empty where they stay in the order in which they are.
    order: Vec<u32>,
    /// Where each round ends.
    ends: Vec<usize>,
}

struct Filling {
    partition: i32,
    bytes: usize,
    messages: usize,
    round: usize,
}

impl Rounds {
    /// One round of all messages.
    pub fn one(count: usize) -> Self {
        Self { order: Vec::new(), ends: vec![count] }
    }

    /// Parts messages, each a partition and the bytes of its key, value and headers; those of a partition keep their
    /// order.
    pub fn of(messages: impl Iterator<Item = (i32, usize)>, limit: Limit) -> Self {
        let mut fillings: Vec<Filling> = Vec::new();
        let (mut rounds, mut sizes): (Vec<u32>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut at = 0;
        for (partition, bytes) in messages {
            if fillings.get(at).is_none_or(|filling| filling.partition != partition) {
                at = fillings.iter().position(|filling| filling.partition == partition).unwrap_or(fillings.len());
                if at == fillings.len() {
                    fillings.push(Filling { partition, bytes: HEAD, messages: 0, round: 0 });
                }
            }
            let filling = &mut fillings[at];
            let full = filling.bytes + bytes + FRAMING > limit.bytes || filling.messages >= limit.messages;
            if full && filling.messages > 0 {
                (filling.bytes, filling.messages, filling.round) = (HEAD, 0, filling.round + 1);
            }
            filling.bytes += bytes + FRAMING;
            filling.messages += 1;
            if sizes.len() <= filling.round {
                sizes.resize(filling.round + 1, 0);
            }
            sizes[filling.round] += 1;
            rounds.push(filling.round as u32);
        }
        if sizes.len() <= 1 {
            return Self::one(rounds.len());
        }
        let mut next: Vec<usize> = sizes.iter().scan(0, |start, size| Some(std::mem::replace(start, *start + size))).collect();
        let mut order = vec![0; rounds.len()];
        for (message, &round) in rounds.iter().enumerate() {
            let place = &mut next[round as usize];
            order[*place] = message as u32;
            *place += 1;
        }
        Self { order, ends: next }
    }

    /// The message at a place of the order.
    pub fn message(&self, place: usize) -> usize {
        self.order.get(place).map_or(place, |&message| message as usize)
    }

    /// Where the round ends that a place belongs to.
    pub fn end(&self, place: usize) -> usize {
        self.ends[self.ends.partition_point(|&end| end <= place).min(self.ends.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { bytes: HEAD + 3 * (10 + FRAMING), messages: 100 };

    fn order(rounds: &Rounds, count: usize) -> Vec<usize> {
        (0..count).map(|place| rounds.message(place)).collect()
    }

    #[test]
    fn what_fits_into_a_request_of_each_partition_is_one_round() {
        let rounds = Rounds::of([0, 1, 0, 1, 0, 1].map(|partition| (partition, 10)).into_iter(), LIMIT);
        assert_eq!(rounds, Rounds::one(6));
        assert_eq!((order(&rounds, 6), rounds.end(0), rounds.end(6)), (vec![0, 1, 2, 3, 4, 5], 6, 6));
        assert_eq!(Rounds::of([].into_iter(), LIMIT), Rounds::one(0));
    }

    #[test]
    fn a_partition_that_has_more_goes_on_in_the_next_round_in_its_order() {
        let partitions = [0, 0, 0, 0, 1, 0, 1, 0, 0];
        let rounds = Rounds::of(partitions.map(|partition| (partition, 10)).into_iter(), LIMIT);
        assert_eq!(order(&rounds, 9), [0, 1, 2, 4, 6, 3, 5, 7, 8]);
        assert_eq!([0, 4, 5, 7, 8].map(|place| rounds.end(place)), [5, 5, 8, 8, 9]);
    }

    #[test]
    fn a_message_larger_than_a_request_goes_alone() {
        let rounds = Rounds::of([(0, 1), (0, 5000), (0, 1)].into_iter(), LIMIT);
        assert_eq!((order(&rounds, 3), rounds.end(0), rounds.end(1), rounds.end(2)), (vec![0, 1, 2], 1, 2, 3));
    }

    #[test]
    fn a_request_has_so_many_messages_at_most() {
        let limit = Limit { bytes: 1 << 20, messages: 2 };
        let rounds = Rounds::of([(7, 1); 5].into_iter(), limit);
        assert_eq!([0, 1, 2, 3, 4].map(|place| rounds.end(place)), [2, 2, 4, 4, 5]);
    }
}
