//! What the cipher alone costs, beside which the stages are measured.

use std::hint::black_box;
use std::time::Instant;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_256_GCM, AES_256_GCM_SIV};
use aws_lc_rs::digest::{digest, SHA256};

fn timed(name: &str, count: u32, mut act: impl FnMut()) {
    let best = (0..7)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..count {
                act();
            }
            start.elapsed().as_nanos() as f64 / f64::from(count)
        })
        .fold(f64::MAX, f64::min);
    println!("{name:<50}{best:>10.1} ns");
}

fn main() {
    let aad = [7u8; 119];
    for (name, algorithm) in [("AES-256-GCM-SIV", &AES_256_GCM_SIV), ("AES-256-GCM", &AES_256_GCM)] {
        let Ok(key) = UnboundKey::new(algorithm, &[1; 32]) else { return };
        let key = LessSafeKey::new(key);
        let mut value = [3u8; 18];
        timed(&format!("{name}, 18 bytes, 119 associated"), 100_000, || {
            let sealed = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key([2; 12]), Aad::from(&aad), &mut value);
            let _ = black_box(sealed);
        });
        timed(&format!("{name}, fresh key"), 100_000, || {
            let Ok(key) = UnboundKey::new(algorithm, black_box(&[1; 32])) else { return };
            let key = LessSafeKey::new(key);
            let sealed = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key([2; 12]), Aad::from(&aad[..60]), &mut value);
            let _ = black_box(sealed);
        });
    }
    let material = [5u8; 528];
    timed("SHA-256 of 528 bytes", 100_000, || {
        black_box(digest(&SHA256, black_box(&material)));
    });
}
