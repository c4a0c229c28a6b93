//! What a key is bound to by its context. The readable twin is `worker/authority/bound.py`.

mod print;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Formatter};

use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::contexts::strings;
use crate::keys::Strings;

const MOST: usize = 64;

/// What an identity claim may be read from.
pub type Claims = HashMap<String, String>;

#[derive(Deserialize, Serialize)]
enum Element<'a> {
    Tag(#[serde(borrow)] Cow<'a, str>),
    Value(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] Cow<'a, str>),
    #[serde(alias = "identityClaim")]
    IdentityClaim(#[serde(borrow)] Cow<'a, str>),
}

const KINDS: [&str; 3] = ["tag", "value", "claim"];

impl<'a> Element<'a> {
    /// Appends what a key is bound to, but for what a claim resolves to.
    fn frame(&self, out: &mut Vec<u8>) {
        let [tag, value, claim] = KINDS;
        match self {
            Self::Tag(label) => frame(out, &[tag, label]),
            Self::Value(name, text) => frame(out, &[value, name, text]),
            Self::IdentityClaim(name) => frame(out, &[claim, name]),
        }
    }

    /// The next element of what `frame` wrote.
    fn next(framed: &mut impl Iterator<Item = Cow<'a, str>>) -> Option<Self> {
        let [tag, value, _] = KINDS;
        let (kind, first) = (framed.next()?, framed.next()?);
        if kind == tag {
            Some(Self::Tag(first))
        } else if kind == value {
            Some(Self::Value(first, framed.next()?))
        } else {
            Some(Self::IdentityClaim(first))
        }
    }
}

/// Contexts side by side, each as a key is bound to it.
#[derive(Default)]
pub struct Locks {
    framed: Strings,
    /// Those that name claims, ascending: what they are bound to depends on the caller.
    claiming: Vec<usize>,
}

impl Locks {
    /// Reads one more as it was written; `None` leaves all to the twin.
    pub fn read(&mut self, text: &str) -> Option<()> {
        let mut from = serde_json::Deserializer::from_str(text);
        let is_claiming = Elements(&mut self.framed.bytes).deserialize(&mut from).ok()?;
        from.end().ok()?;
        if is_claiming {
            self.claiming.push(self.framed.len());
        }
        self.framed.end();
        Some(())
    }

    pub fn len(&self) -> usize {
        self.framed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.framed.is_empty()
    }

    pub fn get(&self, number: usize) -> Option<Lock<'_>> {
        self.framed.get(number).map(Lock)
    }

    pub fn iter(&self) -> impl Iterator<Item = Lock<'_>> {
        (0..self.len()).map_while(|number| self.get(number))
    }

    /// Numbers of those that name a claim which the caller has not.
    pub fn barred(&self, claims: &Claims) -> Vec<usize> {
        let is_barred = |&number: &usize| self.get(number).is_none_or(|lock| lock.bound(claims).is_none());
        self.claiming.iter().copied().filter(is_barred).collect()
    }

    /// What each is bound to, resolved; `None` where a claim is missing.
    pub fn bound<'l>(&'l self, claims: &Claims) -> Bound<'l> {
        let resolved = |&number: &usize| (number, self.get(number).and_then(|lock| lock.bound(claims)));
        Bound { locks: self, resolved: self.claiming.iter().map(resolved).collect() }
    }
}

/// What contexts are bound to for a caller.
pub struct Bound<'l> {
    locks: &'l Locks,
    resolved: HashMap<usize, Option<Vec<u8>>>,
}

impl Bound<'_> {
    /// Of one context; `None` where a claim is missing, or there is no such context.
    pub fn get(&self, number: usize) -> Option<&[u8]> {
        if self.resolved.is_empty() {
            return self.locks.framed.get(number);
        }
        self.resolved.get(&number).map_or_else(|| self.locks.framed.get(number), Option::as_deref)
    }
}

/// A context: elements of which each is exactly one of a tag, a value and an identity claim.
#[derive(Clone, Copy)]
pub struct Lock<'l>(&'l [u8]);

impl<'l> Lock<'l> {
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    fn elements(self) -> impl Iterator<Item = Element<'l>> {
        let mut framed = strings(self.0);
        std::iter::from_fn(move || Element::next(&mut framed))
    }

    /// Its canonical bytes, resolved; `None` where a claim is missing.
    fn bound(self, claims: &Claims) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.0.len() + 64);
        for element in self.elements() {
            element.frame(&mut out);
            if let Element::IdentityClaim(claim) = &element {
                frame(&mut out, &[claims.get(&**claim)?]);
            }
        }
        Some(out)
    }

    /// The names and texts of its values, in order.
    pub fn values(self) -> impl Iterator<Item = (Cow<'l, str>, Cow<'l, str>)> {
        self.elements().filter_map(|element| match element {
            Element::Value(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// It as JSON, for the twin.
    pub fn written(self) -> Vec<u8> {
        serde_json::to_vec(&self.elements().collect::<Vec<_>>()).unwrap_or_default()
    }
}

/// Appends the elements of a context; tells whether one names a claim.
struct Elements<'o>(&'o mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = bool;

    fn expecting(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.write_str("a context")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let (mut count, mut is_claiming) = (0, false);
        while let Some(element) = elements.next_element::<Element<'de>>()? {
            count += 1;
            if count > MOST {
                return Err(A::Error::invalid_length(count, &self));
            }
            is_claiming |= matches!(element, Element::IdentityClaim(_));
            element.frame(self.0);
        }
        Ok(is_claiming)
    }
}

fn frame(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Locks> {
        let mut locks = Locks::default();
        locks.read(text)?;
        Some(locks)
    }

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
            "[] []",
            "null",
            "{}",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
        let tags = |count| format!("[{}]", vec![r#"{"Tag":"a"}"#; count].join(","));
        assert!(read(&tags(MOST)).is_some());
        assert!(read(&tags(MOST + 1)).is_none());
    }

    #[test]
    fn a_claim_is_the_callers() {
        let mut locks = Locks::default();
        locks.read("[ ]").unwrap();
        locks.read(r#"[{"Tag":"t"},{"identityClaim":"sub"},{"Value":["n","\u0076"]}]"#).unwrap();
        let claims = Claims::from([("sub".to_owned(), "ann".to_owned())]);
        let expected = b"\0\0\0\x03tag\0\0\0\x01t\0\0\0\x05claim\0\0\0\x03sub\0\0\0\x03ann\0\0\0\x05value\0\0\0\x01n\0\0\0\x01v";
        let bound = locks.bound(&claims);
        assert_eq!([bound.get(0), bound.get(1), bound.get(2)], [Some(&b""[..]), Some(expected), None]);
        let bound = locks.bound(&Claims::new());
        assert_eq!([bound.get(0), bound.get(1)], [Some(&b""[..]), None]);
        assert_eq!((locks.barred(&claims), locks.barred(&Claims::new())), (vec![], vec![1]));
        let lock = locks.get(1).unwrap();
        assert_eq!(lock.values().collect::<Vec<_>>(), [("n".into(), "v".into())]);
        assert_eq!(lock.written(), br#"[{"Tag":"t"},{"IdentityClaim":"sub"},{"Value":["n","v"]}]"#);
    }
}
