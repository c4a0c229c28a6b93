//! A place within a datum that only moves on, and the limits of what is nested and repeated in one.

use crate::program::{MAX_NESTING, MAX_WIDTHLESS_ITEMS};
use crate::varint;
use crate::walk::Refused;

pub struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
    depth: usize,
    widthless: u64,
}

/// A block of an array or a map: how many items, and where it says that it ends.
pub struct Block {
    pub count: u64,
    end: Option<usize>,
}

impl<'a> Cursor<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, depth: 0, widthless: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.data.len()
    }

    #[inline]
    pub fn take(&mut self, size: usize) -> Result<&'a [u8], Refused> {
        let end = self.at.checked_add(size).ok_or(Refused)?;
        let taken = self.data.get(self.at..end).ok_or(Refused)?;
        self.at = end;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        self.take(N)?.try_into().map_err(|_| Refused)
    }

    #[inline]
    pub fn long(&mut self) -> Result<i64, Refused> {
        let (value, end) = varint::read(self.data, self.at).ok_or(Refused)?;
        self.at = end;
        Ok(value)
    }

    /// A number of 32 bits, which takes 5 bytes at most.
    pub fn int(&mut self) -> Result<i32, Refused> {
        let before = self.at;
        let number = i32::try_from(self.long()?).map_err(|_| Refused)?;
        if self.at - before > 5 { Err(Refused) } else { Ok(number) }
    }

    pub fn boolean(&mut self) -> Result<bool, Refused> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Refused),
        }
    }

    /// The number of a branch or of a symbol.
    pub fn index(&mut self) -> Result<usize, Refused> {
        usize::try_from(self.long()?).map_err(|_| Refused)
    }

    #[inline]
    pub fn span(&mut self) -> Result<&'a [u8], Refused> {
        let size = self.index()?;
        self.take(size)
    }

    #[inline]
    pub fn text(&mut self) -> Result<&'a str, Refused> {
        std::str::from_utf8(self.span()?).map_err(|_| Refused)
    }

    pub fn enter(&mut self) -> Result<(), Refused> {
        self.depth += 1;
        if self.depth > MAX_NESTING { Err(Refused) } else { Ok(()) }
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The next block; none at the end of the array or map. Its items stand until `close`.
    pub fn block(&mut self, widthless: bool) -> Result<Option<Block>, Refused> {
        let count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        let mut end = None;
        if count < 0 {
            let size = self.index()?;
            end = Some(self.at.checked_add(size).filter(|&end| end <= self.data.len()).ok_or(Refused)?);
        }
        let count = count.unsigned_abs();
        if widthless {
            self.widthless = self.widthless.saturating_add(count);
            if self.widthless > MAX_WIDTHLESS_ITEMS {
                return Err(Refused);
            }
        } else if count > (self.data.len() - self.at) as u64 {
            return Err(Refused);
        }
        Ok(Some(Block { count, end }))
    }

    pub fn close(&self, block: &Block) -> Result<(), Refused> {
        if block.end.is_some_and(|end| end != self.at) { Err(Refused) } else { Ok(()) }
    }
}
