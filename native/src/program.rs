//! A schema's plan as a flat table of nodes, which the walk follows by their numbers.

use crate::varint::Encoded;

/// Deepest nesting of records, arrays and maps in one datum.
pub const MAX_NESTING: usize = 64;
/// Most items that take no bytes in one datum.
pub const MAX_WIDTHLESS_ITEMS: u64 = 1 << 20;
/// Largest datum that is walked here, so that every place fits 32 bits.
pub const MAX_DATUM_BYTES: usize = 1 << 30;
/// Most nodes of one program.
pub const MAX_NODES: usize = 1 << 20;

pub type NodeId = u32;

#[derive(Debug)]
pub enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Bytes,
    Text,
    Fixed(usize),
    Enum(i64),
    Union(Box<[NodeId]>),
    Record(Box<[NodeId]>),
    /// A record some of whose fields are wanted beside others.
    Beside(Box<Beside>),
    Blocks {
        item: NodeId,
        keyed: bool,
        widthless: bool,
        /// Sized blocks become plain ones, since what is inside changes its length.
        rewrite: bool,
    },
    Covered(Box<Covered>),
}

/// A declared field.
#[derive(Debug)]
pub struct Covered {
    pub slot: u32,
    /// The type that stands here.
    pub node: NodeId,
    /// The branch of a visible null here, and what stands in its place on the other side.
    pub null: Option<(i64, Encoded)>,
    /// What stands before the value on the other side: the branch of its union.
    pub prefix: Encoded,
    /// Whether an envelope stands here, not a value.
    pub sealed: bool,
}

#[derive(Debug)]
pub struct Beside {
    pub fields: Box<[NodeId]>,
    pub wanting: Box<[Wanting]>,
    /// Of the root only: the fields whose text is asked for, in that order.
    pub extract: Box<[Option<(u32, Text)>]>,
}

/// A declared field that needs values beside it, by the numbers of their fields.
#[derive(Debug)]
pub struct Wanting {
    pub field: u32,
    pub slot: u32,
    pub context: Box<[(u32, Text)]>,
    pub bind: Box<[Bound]>,
    /// Whether its context is that of the one before it, name by name; `Program::new` finds out.
    pub repeats: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Bound {
    Field(u32),
    Key,
}

/// How a value reads as text.
#[derive(Debug, PartialEq, Eq)]
pub enum Text {
    Verbatim,
    LowerCase,
    Number,
    Boolean,
    Symbols(Box<[String]>),
    Uuid,
    Nullable(i64, Box<Text>),
}

/// How a field's values are carried by typed plaintext; `Avro` carries any bytes as they stand.
#[derive(Debug)]
pub enum Kind {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Enum(Box<[Box<[u8]>]>),
    Date,
    TimestampMs,
    Avro,
}

/// What a slot's values become.
#[derive(Debug)]
pub struct Slot {
    pub leased: bool,
    pub kind: Kind,
    /// The branch of null where the type is a union of null and one other.
    pub null_branch: Option<u8>,
    /// Null and value look alike, so no typed form may be used.
    pub hides_null: bool,
    pub fingerprint: [u8; 8],
    /// Names of the context's texts, each framed.
    pub context: Box<[Box<[u8]>]>,
    /// Names of what is bound, each framed.
    pub bind: Box<[Box<[u8]>]>,
}

#[derive(Debug)]
pub struct Program {
    nodes: Vec<Node>,
    pub slots: Vec<Slot>,
    /// For each slot, which of the tables of contexts is its own: slots with equal names share one.
    pub tables: Vec<usize>,
    root: NodeId,
    pub extracts: usize,
}

impl Program {
    /// Refuses a table in which a number leads nowhere.
    pub fn new(mut nodes: Vec<Node>, slots: Vec<Slot>, root: NodeId, extracts: usize) -> Result<Self, &'static str> {
        if nodes.len() > MAX_NODES || slots.len() > MAX_NODES {
            return Err("the program has too many nodes");
        }
        let (known, slotted) = (|id: NodeId| (id as usize) < nodes.len(), |slot: u32| (slot as usize) < slots.len());
        let sound = known(root)
            && nodes.iter().all(|node| match node {
                Node::Union(inner) | Node::Record(inner) => inner.iter().all(|&id| known(id)),
                Node::Blocks { item, .. } => known(*item),
                Node::Covered(covered) => known(covered.node) && slotted(covered.slot),
                Node::Beside(beside) => beside_is_sound(beside, &known, &slots, extracts),
                _ => true,
            });
        if !sound {
            return Err("the program refers to what it does not have");
        }
        for node in &mut nodes {
            if let Node::Beside(beside) = node {
                mark_repeated(&mut beside.wanting, &slots);
            }
        }
        let first = |slot: &Slot| slots.iter().position(|other| other.context == slot.context).unwrap_or_default();
        let tables = slots.iter().map(first).collect();
        Ok(Self { nodes, slots, tables, root, extracts })
    }

    pub fn root(&self) -> NodeId {
        self.root
    }

    #[inline]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }
}

fn mark_repeated(wanting: &mut [Wanting], slots: &[Slot]) {
    let names = |wanted: &Wanting| &slots[wanted.slot as usize].context;
    let repeats: Vec<bool> =
        wanting.windows(2).map(|pair| names(&pair[0]) == names(&pair[1]) && pair[0].context == pair[1].context).collect();
    for (wanted, repeats) in wanting.iter_mut().skip(1).zip(repeats) {
        wanted.repeats = repeats;
    }
}

fn beside_is_sound(beside: &Beside, known: &impl Fn(NodeId) -> bool, slots: &[Slot], extracts: usize) -> bool {
    let count = beside.fields.len();
    let inside = |field: u32| (field as usize) < count;
    beside.fields.iter().all(|&id| known(id))
        && (beside.extract.is_empty() || beside.extract.len() == extracts)
        && beside.extract.iter().flatten().all(|(field, _)| inside(*field))
        && beside.wanting.iter().all(|wanting| {
            let Some(slot) = slots.get(wanting.slot as usize) else { return false };
            inside(wanting.field)
                && wanting.context.len() == slot.context.len()
                && wanting.bind.len() == slot.bind.len()
                && wanting.context.iter().all(|(field, _)| inside(*field))
                && wanting.bind.iter().all(|bound| matches!(bound, Bound::Field(f) if inside(*f)) || matches!(bound, Bound::Key))
        })
}
