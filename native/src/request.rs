//! What the key service is asked, as JSON. The readable twin is `worker/zerokms/wire.py`.

use std::borrow::Cow;
use std::ops::Range;

use base64_simd::STANDARD;

use crate::contexts::parts;
use crate::envelope::IV_BYTES;
use crate::keys::Strings;
use crate::open::Request;

/// The items of `retrieve-data-key`, with commas between them; `None` where a context is missing.
pub fn retrieves<'c>(requests: &[Request], context: impl Fn(u32, u32) -> Option<&'c [u8]>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(requests.len() * 320);
    for request in requests {
        begin(&mut out, &request.iv);
        out.extend_from_slice(b"\",\"descriptor\":");
        serde_json::to_writer(&mut out, &*request.descriptor).ok()?;
        out.extend_from_slice(b",\"tag\":[");
        for byte in &request.tag {
            let (text, length) = BYTES[usize::from(*byte)];
            // All four at once, and back: of a length that is known this is one store.
            out.extend_from_slice(&text);
            out.truncate(out.len() - text.len() + length);
        }
        if !request.tag.is_empty() {
            out.pop();
        }
        out.extend_from_slice(b"],\"context\":");
        out.extend_from_slice(context(request.slot, request.group)?);
        out.extend_from_slice(b",\"tag_version\":0}");
    }
    Some(out)
}

/// Contexts, framed as `crate::contexts::frame` does.
#[derive(Default)]
pub struct Framed(Strings);

impl Framed {
    pub fn push(&mut self, framed: &[u8]) {
        self.0.push(framed);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.0.get(index)
    }
}

/// Contexts of keys: their texts, or names and texts framed, of which a stretch is meant.
pub enum Contexts<'a> {
    Texts(&'a [Vec<String>]),
    Framed(&'a Framed, Range<usize>),
}

impl Contexts<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Framed(_, span) => span.len(),
        }
    }

    /// Appends a context's JSON.
    fn write(&self, index: usize, names: &[String], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Texts(texts) => {
                let texts = texts.get(index)?;
                (texts.len() == names.len()).then_some(())?;
                write_context(names.iter().map(Cow::from).zip(texts.iter().map(Cow::from)), out)
            }
            Self::Framed(framed, span) => {
                let mut texts = parts(framed.get(span.start + index)?);
                write_context(std::iter::from_fn(|| Some((texts.next()?, texts.next()?))), out)
            }
        }
    }
}

/// Runs of keys that differ in the texts of their contexts alone.
pub struct Runs<'a> {
    /// Everything of an item behind its iv, its closing brace included; where there are names what stands before its
    /// context.
    pub head: &'a [u8],
    pub names: &'a [String],
    pub contexts: Contexts<'a>,
    /// How many keys each context has.
    pub counts: &'a [usize],
}

/// The items of `generate-data-key`.
pub fn generates(ivs: &[u8], runs: &[Runs<'_>]) -> Option<Vec<u8>> {
    let mut each = ivs.chunks_exact(IV_BYTES);
    let (mut out, mut common) = (Vec::with_capacity(ivs.len() * 8), Vec::new());
    for runs in runs {
        if runs.contexts.len() != runs.counts.len() {
            return None;
        }
        for (index, count) in runs.counts.iter().enumerate() {
            common.clear();
            common.extend_from_slice(runs.head);
            if !runs.names.is_empty() {
                runs.contexts.write(index, runs.names, &mut common)?;
                common.push(b'}');
            }
            for _ in 0..*count {
                begin(&mut out, each.next()?);
                out.extend_from_slice(b"\",");
                out.extend_from_slice(&common);
            }
        }
    }
    each.next().is_none().then_some(out)
}

fn write_context<'t>(values: impl Iterator<Item = (Cow<'t, str>, Cow<'t, str>)>, out: &mut Vec<u8>) -> Option<()> {
    let mut before = b'[';
    for value in values {
        out.push(before);
        before = b',';
        out.extend_from_slice(b"{\"Value\":");
        serde_json::to_writer(&mut *out, &value).ok()?;
        out.push(b'}');
    }
    out.push(b']');
    Some(())
}

fn begin(out: &mut Vec<u8>, iv: &[u8]) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"iv\":\"");
    STANDARD.encode_append(iv, out);
}

/// Each byte as a number with a comma behind it, and how long that is.
const BYTES: [([u8; 4], usize); 256] = {
    let mut all = [([0; 4], 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let digits = [b'0' + (byte / 100) as u8, b'0' + (byte / 10 % 10) as u8, b'0' + (byte % 10) as u8];
        all[byte] = match byte {
            0..10 => ([digits[2], b',', 0, 0], 2),
            10..100 => ([digits[1], digits[2], b',', 0], 3),
            _ => ([digits[0], digits[1], digits[2], b','], 4),
        };
        byte += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_json() {
        let none = [Vec::new()];
        let whole = |head, counts| Runs { head, names: &[], contexts: Contexts::Texts(&none), counts };
        let made = generates(&[0; 48], &[whole(b"\"a\":1}", &[2]), whole(b"\"b\":2}", &[1])]).unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&[b"[", &made[..], b"]"].concat()).unwrap();
        assert_eq!(parsed[2]["b"], 2);
        assert_eq!(parsed[0]["iv"], "AAAAAAAAAAAAAAAAAAAAAA==");
        assert!(generates(&[0; 48], &[whole(b"}", &[2])]).is_none());
        assert!(generates(&[0; 16], &[whole(b"}", &[2])]).is_none());
        assert!(generates(&[0; 16], &[whole(b"}", &[1, 0])]).is_none());
        let names = ["a".to_owned(), "b".to_owned()];
        let contexts = [vec!["x\"".to_owned(), "\u{1f511}".to_owned()], vec!["y".to_owned(), String::new()]];
        let runs = |contexts| Runs { head: b"\"context\":", names: &names, contexts, counts: &[1, 2] };
        let made = generates(&[0; 48], &[runs(Contexts::Texts(&contexts))]).unwrap();
        let framed_names = ["a", "b"].map(|name| [&[0, 0, 0, 1], name.as_bytes()].concat().into());
        let mut framed = Framed::default();
        framed.push(b"");
        for texts in &contexts {
            let mut one = Vec::new();
            crate::contexts::frame(&mut one, &framed_names, texts.iter().map(String::as_bytes));
            framed.push(&one);
        }
        assert_eq!(generates(&[0; 48], &[runs(Contexts::Framed(&framed, 1..3))]).unwrap(), made);
        assert!(generates(&[0; 48], &[runs(Contexts::Framed(&framed, 2..3))]).is_none());
        assert!(generates(&[0; 48], &[runs(Contexts::Framed(&framed, 2..4))]).is_none());
        let parsed: serde_json::Value = serde_json::from_slice(&[b"[", &made[..], b"]"].concat()).unwrap();
        assert_eq!(parsed[0]["context"], serde_json::json!([{"Value": ["a", "x\""]}, {"Value": ["b", "\u{1f511}"]}]));
        assert_eq!(parsed[2]["context"], serde_json::json!([{"Value": ["a", "y"]}, {"Value": ["b", ""]}]));
        assert!(generates(&[0; 16], &[Runs { head: b"", names: &names[..1], contexts: Contexts::Texts(&contexts[..1]), counts: &[1] }]).is_none());
        let tag: Vec<u8> = (0..=255).collect();
        let request = Request {
            slot: 0,
            group: 0,
            keyset: None,
            iv: [1; 16],
            tag: tag.clone().into(),
            descriptor: "a\"\u{1f511}\\b".into(),
            header: Box::default(),
        };
        let made = retrieves(&[request.clone(), request], |_, _| Some(b"[]")).unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&[b"[", &made[..], b"]"].concat()).unwrap();
        assert_eq!(parsed[1]["descriptor"], "a\"\u{1f511}\\b");
        assert_eq!(parsed[0]["tag"], serde_json::json!(tag));
    }
}
