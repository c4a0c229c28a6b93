//! Contexts as text, of which the audit has a hash.

use std::borrow::Cow;

use super::{Element, Lock};

impl Lock<'_> {
    /// Appends it as the twin writes it, of which the audit has a hash; `None` where only the twin knows which characters
    /// print.
    pub fn print(self, out: &mut String) -> Option<()> {
        out.push('[');
        for (at, element) in self.elements().enumerate() {
            out.push_str(if at == 0 { "Element(Tag=" } else { ", Element(Tag=" });
            let (tag, value, claim) = match &element {
                Element::Tag(label) => (Some(label), None, None),
                Element::Value(name, value) => (None, Some((name, value)), None),
                Element::IdentityClaim(claim) => (None, None, Some(claim)),
            };
            print_or_none(tag, out)?;
            out.push_str(", Value=");
            if let Some((name, value)) = value {
                out.push('(');
                print(name, out)?;
                out.push_str(", ");
                print(value, out)?;
                out.push(')');
            } else {
                out.push_str("None");
            }
            out.push_str(", IdentityClaim=");
            print_or_none(claim, out)?;
            out.push(')');
        }
        out.push(']');
        Some(())
    }
}

fn print_or_none(text: Option<&Cow<'_, str>>, out: &mut String) -> Option<()> {
    match text {
        Some(text) => print(text, out),
        None => {
            out.push_str("None");
            Some(())
        }
    }
}

/// Writes a text as Python's `repr` does; `None` beyond the alphabets whose every character has printed since long.
fn print(text: &str, out: &mut String) -> Option<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '\x7f' => {
                out.push_str("\\x");
                out.extend([4, 0].iter().filter_map(|shift| char::from_digit((c as u32 >> shift) & 15, 16)));
            }
            '\\' => out.push_str("\\\\"),
            _ if c == quote => out.extend(['\\', c]),
            ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}' => out.push(c),
            _ => return None,
        }
    }
    out.push(quote);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_printed_as_the_twin_does() {
        let printed = |text: &str| {
            let (mut framed, mut out) = (Vec::new(), String::new());
            Element::Tag(text.into()).frame(&mut framed);
            Lock(&framed).print(&mut out).map(|()| out)
        };
        for (text, expected) in [("it's", r#""it's""#), ("a'b\"", r#"'a\'b"'"#), ("\\\n\u{1f}\u{7f}é~ ", r"'\\\n\x1f\x7fé~ '")] {
            assert_eq!(printed(text).unwrap(), format!("[Element(Tag={expected}, Value=None, IdentityClaim=None)]"));
        }
        for text in ["\u{80}", "\u{a0}", "\u{ad}", "\u{378}", "\u{1f511}"] {
            assert!(printed(text).is_none());
        }
    }
}
