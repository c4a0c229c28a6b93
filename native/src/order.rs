//! The order in which a batch is sealed.

use crate::contexts::NONE;
use crate::program::Program;
use crate::walk::Found;

/// Datums by their contexts, those of a context in their own order: a key that serves several of them is set up once, and
/// what leads to keys is read as it lies in memory.
///
/// `None` where there are no contexts, and where a datum has several: which value a context's next key is for must not
/// depend on how fast it is sealed.
pub fn by_context(program: &Program, found: &Found) -> Option<Vec<u32>> {
    let (contexts, datums) = (found.contexts.first()?.len(), found.groups.len());
    if contexts == 0 || found.are_mixed || program.tables.iter().any(|&table| table != 0) {
        return None;
    }
    // What has no values goes with the first context.
    let place = |group: u32| if group == NONE { 0 } else { group as usize };
    let mut ends = vec![0u32; contexts];
    for &group in &found.groups {
        *ends.get_mut(place(group))? += 1;
    }
    let mut before = 0;
    for end in &mut ends {
        before += std::mem::replace(end, before);
    }
    let mut order = vec![0; datums];
    for (index, &group) in (0..).zip(&found.groups) {
        let end = &mut ends[place(group)];
        order[*end as usize] = index;
        *end += 1;
    }
    Some(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::frame;
    use crate::program::{Kind, Node, Slot};
    use crate::varint::Encoded;
    use crate::walk::Cut;

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
            let start = found.cuts.len();
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
            found.end(start);
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
    fn what_has_no_contexts_stays_in_its_order() {
        let program = program(&[b"n"]);
        assert_eq!(by_context(&program, &Found::new(&program, 0)), None);
    }
}
