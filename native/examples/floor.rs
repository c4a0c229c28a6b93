//! What the primitives alone cost, beside which the stages are measured: nanoseconds, as JSON.
//!
//! Takes the bytes of the associated data, then the sizes of the plaintexts that take turns.

use std::hint::black_box;
use std::time::Instant;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_256_GCM_SIV, NONCE_LEN};
use aws_lc_rs::digest::{digest, SHA256};
use aws_lc_rs::error::Unspecified;

/// Short rounds: the best of many is one that nothing interrupted.
const COUNT: usize = 3_000;
const ROUNDS: usize = 300;
const MATERIAL_BYTES: usize = 528;

/// The best of several rounds of `COUNT` calls, a call.
fn timed(mut act: impl FnMut(usize) -> Result<(), Unspecified>) -> Result<f64, Unspecified> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for call in 0..COUNT {
            act(call)?;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / COUNT as f64);
    }
    Ok(best)
}

fn main() -> Result<(), Unspecified> {
    let mut sizes: Vec<usize> = std::env::args().skip(1).filter_map(|each| each.parse().ok()).collect();
    let aad = vec![7u8; if sizes.is_empty() { 104 } else { sizes.remove(0) }];
    let values: Vec<Vec<u8>> = if sizes.is_empty() { vec![18] } else { sizes }.into_iter().map(|size| vec![3; size]).collect();
    let sealed_by = |key: &LessSafeKey, call: usize, value: &mut Vec<u8>| {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&(call as u64).to_ne_bytes());
        value.clear();
        value.extend_from_slice(&values[call % values.len()]);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), value)
    };
    let key_of = |bytes: &[u8]| UnboundKey::new(&AES_256_GCM_SIV, bytes).map(LessSafeKey::new);
    let (key, mut value) = (key_of(&[1; 32])?, Vec::new());
    let seal = timed(|call| sealed_by(&key, call, &mut value))?;
    let sealed: Vec<Vec<u8>> = (0..values.len())
        .map(|call| {
            let mut each = Vec::new();
            sealed_by(&key, call, &mut each).map(|()| each)
        })
        .collect::<Result<_, _>>()?;
    let open = timed(|call| {
        let call = call % values.len();
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&(call as u64).to_ne_bytes());
        value.clear();
        value.extend_from_slice(&sealed[call]);
        key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), &mut value).map(|_| ())
    })?;
    let fresh = timed(|call| sealed_by(&key_of(black_box(&[1; 32]))?, call, &mut value))?;
    let material = [5u8; MATERIAL_BYTES];
    let hash = timed(|_| {
        black_box(digest(&SHA256, black_box(&material)));
        Ok(())
    })?;
    println!(r#"{{"seal": {seal:.1}, "open": {open:.1}, "seal_fresh": {fresh:.1}, "hash": {hash:.1}}}"#);
    Ok(())
}
