//! The order in which a batch is sealed.

use crate::contexts::NONE;
use crate::program::Program;
use crate::walk::{Cut, Found};

/// How many datums a context has on average, at least, for which its keys are worth bringing together.
const EACH: usize = 3;

/// Datums by their contexts, those of a context in their own order, so that a key that serves several of them is set up once.
///
/// `None` where a context has few, and where a datum has several contexts: which value a context's next key is for must not
/// depend on how fast it is sealed.
pub fn by_context(program: &Program, found: &Found) -> Option<Vec<u32>> {
    let (contexts, datums) = (found.contexts.first()?.len(), found.ends.len());
    if contexts == 0 || contexts * EACH > datums || program.tables.iter().any(|&table| table != 0) {
        return None;
    }
    let mut groups = Vec::with_capacity(datums);
    let mut ends = vec![0u32; contexts];
    for index in 0..datums {
        let group = group(found.cuts_of(index))?;
        groups.push(group);
        *ends.get_mut(group as usize)? += 1;
    }
    let mut before = 0;
    for end in &mut ends {
        before += std::mem::replace(end, before);
    }
    let mut order = vec![0; datums];
    for (index, group) in (0..).zip(groups) {
        let place = &mut ends[group as usize];
        order[*place as usize] = index;
        *place += 1;
    }
    Some(order)
}

/// The context of all of a datum's values; `None` where they have several.
#[inline]
fn group(cuts: &[Cut]) -> Option<u32> {
    let mut groups = cuts.iter().filter(|cut| cut.slot != NONE).map(|cut| cut.group);
    let Some(first) = groups.next() else { return Some(0) };
    groups.all(|group| group == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::frame;
    use crate::program::{Kind, Node, Slot};
    use crate::varint::Encoded;

    fn program(names: &[&[u8]]) -> Program {
        let slot = |name: &&[u8]| Slot {
            leased: true,
            kind: Kind::Avro,
            null_branch: None,
            hides_null: false,
            fingerprint: [0; 8],
            context: [(*name).into()].into(),
            bind: [].into(),
        };
        Program::new(vec![Node::Null], names.iter().map(slot).collect(), 0, 0).unwrap()
    }

    /// Datums by their values' contexts; what has none is no value.
    fn found(program: &Program, datums: &[&[Option<u32>]]) -> Found {
        let mut found = Found::new(program, datums.len());
        for number in 0..=datums.iter().flat_map(|datum| datum.iter().flatten()).copied().max().unwrap_or(0) {
            let mut framed = Vec::new();
            frame(&mut framed, &program.slots[0].context, [&number.to_be_bytes()[..]].into_iter());
            assert_eq!(found.contexts[0].number(&framed), number);
        }
        for datum in datums {
            found.cuts.extend(datum.iter().map(|group| Cut {
                start: 0,
                end: 0,
                first: 0,
                last: 0,
                slot: group.map_or(NONE, |_| 0),
                group: group.unwrap_or(NONE),
                bound: NONE,
                prefix: Encoded::EMPTY,
            }));
            found.ends.push(found.cuts.len() as u32);
        }
        found
    }

    fn order(names: &[&[u8]], datums: &[&[Option<u32>]]) -> Option<Vec<u32>> {
        let program = program(names);
        by_context(&program, &found(&program, datums))
    }

    #[test]
    fn datums_of_a_context_come_together_in_their_order() {
        let (a, b): (&[_], &[_]) = (&[Some(0), None, Some(0)], &[Some(1)]);
        assert_eq!(order(&[b"n", b"n"], &[a, b, b, a, b, &[], a]), Some(vec![0, 3, 5, 6, 1, 2, 4]));
    }

    #[test]
    fn the_order_stays_where_it_would_change_a_values_key() {
        let (a, b): (&[_], &[_]) = (&[Some(0)], &[Some(1)]);
        assert!(order(&[b"n"], &[a, b, a, b, a, b]).is_some());
        assert_eq!(order(&[b"n", b"m"], &[a, b, a, b, a, b]), None);
        assert_eq!(order(&[b"n"], &[a, b, a, b, a, &[Some(1), Some(0)]]), None);
    }

    #[test]
    fn the_order_stays_where_a_key_serves_few() {
        assert_eq!(order(&[b"n"], &[&[Some(0)], &[Some(1)], &[Some(0)], &[Some(1)], &[Some(0)]]), None);
        assert_eq!(order(&[b"n"], &[]), None);
    }
}
