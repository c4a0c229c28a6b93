//! JSON: the key service's answers, and what is asked of the authority.

use super::kind;
use _native::shuffle::MATERIAL;
use base64_simd::STANDARD;

fn material(byte: u8) -> String {
    STANDARD.encode_to_string(vec![byte; MATERIAL])
}

pub mod fresh_keys {
    use super::{kind, material};
    use _native::reply::generated;

    pub fn examples() -> Vec<Vec<u8>> {
        let policy = r#""decryption_policy":{"conditions":[{"claim":"sub","value":"x"},{"claim":"y"}]}"#;
        let keys = [
            format!(r#"{{"key_material":"{}","tag":"AAE="}}"#, material(1)),
            format!(r#"{{"tag":"","new":[{{}}],{policy},"key_material":"{}"}}"#, material(0xff).replace('/', "\\/")),
        ];
        vec![format!(r#"{{"keys":[{}]}}"#, keys[0]).into(), format!(r#"{{"more":1,"keys":[{}]}}"#, keys.join(",")).into()]
    }

    pub fn run(input: &[u8]) -> u64 {
        let mut taken = [[false; 3]; 3];
        let found: Vec<_> = (0..3).map(|count| generated(input, count, |at, _| taken[count][at] = true)).collect();
        for (count, made) in found.iter().enumerate() {
            if let Ok(made) = made {
                assert!(taken[count][..count].iter().all(|taken| *taken), "each key has its material");
                assert_eq!(made.tags.len(), count);
                assert!(made.policies.is_empty() || made.policies.len() == count);
                for policy in made.policies.iter().flatten() {
                    assert!(!policy.to_msgpack().is_empty());
                }
            }
        }
        assert!(found.iter().filter(|made| made.is_ok()).count() < 2, "an answer has one number of keys");
        kind(found.into_iter().map(|made| made.map(|made| made.policies.iter().flatten().count()).map_err(|why| why.len())).collect::<Vec<_>>())
    }
}

pub mod granted_keys {
    use super::{kind, material};
    use _native::reply::retrieved;

    pub fn examples() -> Vec<Vec<u8>> {
        let granted = format!(r#"{{"Ok":{{"key_material":"{}"}}}}"#, material(1));
        vec![
            format!(r#"{{"keys":[{granted}]}}"#).into(),
            format!(r#"{{"keys":[{{"Err":"no \u006b\ud83d\udd11"}},{granted}]}}"#).into(),
        ]
    }

    pub fn run(input: &[u8]) -> u64 {
        let mut taken = [[false; 3]; 3];
        let found: Vec<_> = (0..3).map(|count| retrieved(input, count, |at, _| taken[count][at] = true)).collect();
        for (count, refused) in found.iter().enumerate() {
            if let Ok(refused) = refused {
                let granted = taken[count].iter().filter(|taken| **taken).count();
                assert_eq!(granted + refused.len(), count, "a key is granted or refused");
            }
        }
        kind(found.into_iter().map(|got| got.map(|refused| refused.len()).map_err(|why| why.len())).collect::<Vec<_>>())
    }
}

pub mod asked_keys {
    use super::kind;
    use _native::asked::read;
    use serde::de::IgnoredAny;

    /// Read without a bound on nesting, which is the twin's to judge.
    #[derive(serde::Deserialize)]
    struct Head {
        keys: Vec<IgnoredAny>,
    }

    pub fn examples() -> Vec<Vec<u8>> {
        let body = |keys: &str| {
            format!(r#"{{"client_id":"c","keyset_id":null,"keys":[{keys}],"unverified_context":{{"a":["b"]}}}}"#).into_bytes()
        };
        let tag = format!("[{}]", vec!["7"; 32].join(","));
        let (iv, context) = ("AQEBAQEBAQEBAQEBAQEBAQ==", r#"[{"Value":["id","7"]}]"#);
        let fresh = format!(r#"{{"iv":"{iv}","descriptor":"a/b","context":{context}}}"#);
        let again = format!(r#"{{"id":"{iv}","descriptor":"a\/b","tag":{tag},"tag_version":0,"context":[]}}"#);
        vec![body(&fresh), body(&format!("{fresh},{fresh}")), body(&again), body("")]
    }

    pub fn run(input: &[u8]) -> u64 {
        let found: Vec<_> = [false, true].iter().map(|&tagged| read(input, tagged)).collect();
        for asked in found.iter().flatten() {
            let head: Head = serde_json::from_slice(&asked.head).expect("the head is JSON");
            assert!(head.keys.is_empty(), "the head has no keys");
            let counted: usize = asked.descriptors.iter().map(|(_, count)| count).sum();
            assert_eq!(counted, asked.len());
        }
        kind(found.into_iter().map(|asked| asked.map(|a| (a.len(), a.descriptors.len(), a.locks.len(), a.hashes(b"s").1.len()))).collect::<Vec<_>>())
    }
}
