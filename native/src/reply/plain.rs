//! An answer that stands exactly as our authority writes it.

/// Reads `count` items; `None` leaves the answer to the parser, which judges it.
pub fn plainly(body: &[u8], count: usize, before: &[u8], mut item: impl FnMut(usize, &mut Rest<'_>) -> Option<()>) -> Option<()> {
    let mut rest = Rest(body);
    rest.skip(br#"{"keys":["#)?;
    for at in 0..count {
        if at > 0 {
            rest.skip(b",")?;
        }
        rest.skip(before)?;
        item(at, &mut rest)?;
    }
    rest.skip(b"]}")?;
    rest.0.is_empty().then_some(())
}

/// What of an answer is not read yet.
pub struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    pub fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// What stands between `expected` and the next quote.
    pub fn text(&mut self, expected: &[u8]) -> Option<&'a [u8]> {
        self.skip(expected)?;
        let end = self.0.iter().position(|byte| *byte == b'"')?;
        self.take(end)
    }
}
