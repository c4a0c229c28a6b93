//! What a key is bound to by its context. The readable twin is `worker/authority/bound.py`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

const MOST: usize = 64;

/// What an identity claim may be read from.
pub type Claims = HashMap<String, String>;

#[derive(Deserialize, Serialize)]
enum Element {
    Tag(String),
    Value(String, String),
    #[serde(alias = "identityClaim")]
    IdentityClaim(String),
}

/// A context: elements of which each is exactly one of a tag, a value and an identity claim.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
pub struct Lock(Vec<Element>);

impl Lock {
    /// Reads a context as it was written; `None` leaves it to the twin.
    pub fn read(text: &str) -> Option<Self> {
        let lock: Self = serde_json::from_str(text).ok()?;
        (lock.0.len() <= MOST).then_some(lock)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the caller has every claim that it names.
    pub fn is_met(&self, claims: &Claims) -> bool {
        self.0.iter().all(|element| !matches!(element, Element::IdentityClaim(claim) if !claims.contains_key(claim)))
    }

    /// Its canonical bytes, resolved; `None` where a claim is missing.
    pub fn bound(&self, claims: &Claims) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.0.len() * 64);
        for element in &self.0 {
            match element {
                Element::Tag(label) => frame(&mut out, &["tag", label]),
                Element::Value(name, value) => frame(&mut out, &["value", name, value]),
                Element::IdentityClaim(claim) => frame(&mut out, &["claim", claim, claims.get(claim)?]),
            }
        }
        Some(out)
    }

    /// The names and texts of its values, in order.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|element| match element {
            Element::Value(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// It as the twin writes it, of which the audit has a hash; `None` where only the twin knows which characters print.
    pub fn printed(&self) -> Option<String> {
        let mut out = String::with_capacity(2 + self.0.len() * 96);
        out.push('[');
        for (at, element) in self.0.iter().enumerate() {
            out.push_str(if at == 0 { "Element(Tag=" } else { ", Element(Tag=" });
            let (tag, value, claim) = match element {
                Element::Tag(label) => (Some(label), None, None),
                Element::Value(name, value) => (None, Some((name, value)), None),
                Element::IdentityClaim(claim) => (None, None, Some(claim)),
            };
            print_or_none(tag, &mut out)?;
            out.push_str(", Value=");
            if let Some((name, value)) = value {
                out.push('(');
                print(name, &mut out)?;
                out.push_str(", ");
                print(value, &mut out)?;
                out.push(')');
            } else {
                out.push_str("None");
            }
            out.push_str(", IdentityClaim=");
            print_or_none(claim, &mut out)?;
            out.push(')');
        }
        out.push(']');
        Some(out)
    }

    /// It as JSON, for the twin.
    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn frame(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
}

fn print_or_none(text: Option<&String>, out: &mut String) -> Option<()> {
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
    fn each_element_is_exactly_one() {
        for text in [
            r#"[{"Tag":"a","Value":["b","c"]}]"#,
            r#"[{"Tag":null}]"#,
            r#"[{"Tag":"a","Tag":"a"}]"#,
            r#"[{"Value":["a"]}]"#,
            r#"[{"Value":["a","b","c"]}]"#,
            r#"[{"Value":{"0":"a","1":"b"}}]"#,
            r#"[{"Value":["a",null]}]"#,
            r#"[{"Tog":"a"}]"#,
            r#"["Tag"]"#,
            r#"[{}]"#,
            "null",
            "{}",
        ] {
            assert!(Lock::read(text).is_none(), "{text}");
        }
        let tags = |count| format!("[{}]", vec![r#"{"Tag":"a"}"#; count].join(","));
        assert!(Lock::read(&tags(MOST)).is_some());
        assert!(Lock::read(&tags(MOST + 1)).is_none());
    }

    #[test]
    fn a_claim_is_the_callers() {
        let lock = Lock::read(r#"[{"Tag":"t"},{"identityClaim":"sub"},{"Value":["n","v"]}]"#).unwrap();
        let claims = Claims::from([("sub".to_owned(), "ann".to_owned())]);
        let expected = b"\0\0\0\x03tag\0\0\0\x01t\0\0\0\x05claim\0\0\0\x03sub\0\0\0\x03ann\0\0\0\x05value\0\0\0\x01n\0\0\0\x01v";
        assert_eq!(lock.bound(&claims).unwrap(), expected);
        assert!(lock.bound(&Claims::new()).is_none());
        assert_eq!(lock.values().collect::<Vec<_>>(), [("n", "v")]);
        assert_eq!(lock.written(), br#"[{"Tag":"t"},{"IdentityClaim":"sub"},{"Value":["n","v"]}]"#);
    }

    #[test]
    fn texts_are_printed_as_the_twin_does() {
        let printed = |text: &str| Lock(vec![Element::Tag(text.to_owned())]).printed();
        for (text, expected) in [("it's", r#""it's""#), ("a'b\"", r#"'a\'b"'"#), ("\\\n\u{1f}\u{7f}é~ ", r"'\\\n\x1f\x7fé~ '")] {
            assert_eq!(printed(text).unwrap(), format!("[Element(Tag={expected}, Value=None, IdentityClaim=None)]"));
        }
        for text in ["\u{80}", "\u{a0}", "\u{ad}", "\u{378}", "\u{1f511}"] {
            assert!(printed(text).is_none());
        }
    }
}
