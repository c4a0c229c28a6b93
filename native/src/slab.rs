//! Places of a vector by numbers that are used again.

/// Puts an item where one has gone, else at the end; returns its number.
pub fn put<T>(items: &mut Vec<T>, free: &mut Vec<u32>, item: T) -> u32 {
    if let Some(number) = free.pop() {
        items[number as usize] = item;
        return number;
    }
    items.push(item);
    items.len() as u32 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_free_is_used_again() {
        let (mut items, mut free) = (vec!['a', 'b'], vec![0]);
        assert_eq!(put(&mut items, &mut free, 'c'), 0);
        assert_eq!(put(&mut items, &mut free, 'd'), 2);
        assert_eq!((items, free), (vec!['c', 'b', 'd'], vec![]));
    }
}
