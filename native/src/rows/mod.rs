//! Output datums as rows of PostgreSQL's binary COPY. What no column holds exactly is `Refused`: the twin, which is
//! `worker/sink/postgres/copy.py`, writes the rows again and says which one and why.

mod copy;
mod put;

pub use copy::copied;

#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

type Step<T> = Result<T, Refused>;

/// What stands in the datum.
#[derive(Debug)]
pub enum Kind {
    Boolean,
    Number,
    Float,
    Double,
    Sized,
    Fixed(usize),
    Symbols(Box<[String]>),
}

/// What stands in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Boolean,
    /// A whole number of so many bytes: what is read times a factor, moved, and within bounds.
    Whole {
        width: usize,
        factor: i64,
        offset: i64,
        low: i64,
        high: i64,
    },
    Float,
    Double,
    Text,
    Uuid,
    Bytes,
}

#[derive(Debug)]
pub struct Field {
    /// Of a union: which of its branches are null.
    pub branches: Option<Box<[bool]>>,
    pub kind: Kind,
    /// None: the field has no column.
    pub form: Option<Form>,
}

/// What the columns beside a row's own hold.
#[derive(Debug)]
pub enum Beside {
    /// Behind them topic, partition, offset, timestamp.
    Coordinates([Form; 4]),
    /// Before them the record's key as text; of several rows of a key the last one counts.
    Key(Form),
}

#[derive(Debug)]
pub struct Shape {
    pub fields: Box<[Field]>,
    pub beside: Beside,
}

/// A record; without a datum it is a tombstone.
pub struct Record<'a> {
    pub key: Option<&'a [u8]>,
    pub datum: Option<&'a [u8]>,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub at_ms: Option<i64>,
}
