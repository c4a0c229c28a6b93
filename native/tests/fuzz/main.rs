//! Every parser of the extension under mutated input, and what must hold of whatever it takes.
//!
//! `cargo test --release --test fuzz` gives each target `RUNS` inputs; with `FUZZ_S` it goes on for so many seconds a
//! target. `SEED` repeats a run. Inputs begin as `corpus/<target>/*` and as sound examples made here; one that leads to
//! an outcome of a kind not seen before is mutated further, and with `FUZZ_KEEP=1` becomes part of the corpus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod datums;
mod mutate;
mod texts;
mod wires;

use std::collections::hash_map::DefaultHasher;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::Random;

const RUNS: u64 = 20_000;
const KEPT: usize = 2_000;
const LONGEST: usize = 4_096;

/// A parser, sound inputs, and a run of it that panics where something does not hold and tells the kind of outcome.
struct Target {
    name: &'static str,
    examples: fn() -> Vec<Vec<u8>>,
    run: fn(&[u8]) -> u64,
}

/// A number for an outcome, by which a new kind of it is known.
fn kind(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target.name)
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(corpus(target)).into_iter().flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    let mut found: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    found.extend((target.examples)());
    found
}

fn run(target: &Target, input: &[u8], seed: u64) -> u64 {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).unwrap_or_else(|_| {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} does not hold for {hex} (SEED={seed})", target.name)
    })
}

fn fuzz(target: &Target) {
    let seed = from_environment("SEED").unwrap_or(1);
    let (end, keeps) = (from_environment("FUZZ_S").map(Duration::from_secs), std::env::var("FUZZ_KEEP").is_ok());
    let (mut random, start) = (Random::new(seed), Instant::now());
    let (mut pool, mut seen) = (inputs(target), HashSet::new());
    assert!(!pool.is_empty(), "{} has nothing to begin with", target.name);
    for input in &pool {
        seen.insert(run(target, input, seed));
    }
    let (known, mut runs) = (seen.len(), 0u64);
    while end.map_or(runs < RUNS, |end| start.elapsed() < end) {
        runs += 1;
        let other = random.below(pool.len());
        let mut input = pool[random.below(pool.len())].clone();
        for _ in 0..=random.below(4) {
            random.mutate(&mut input, &pool[other]);
        }
        input.truncate(LONGEST);
        if seen.insert(run(target, &input, seed)) {
            if keeps {
                std::fs::create_dir_all(corpus(target)).unwrap();
                std::fs::write(corpus(target).join(format!("{:016x}", kind(&input))), &input).unwrap();
            }
            if pool.len() < KEPT {
                pool.push(input);
            }
        }
    }
    println!("{}: {runs} inputs, {} kinds of outcome, {known} of them at the start", target.name, seen.len());
}

macro_rules! targets {
    ($($name:ident: $module:ident;)*) => { $(
        #[test]
        fn $name() {
            fuzz(&Target { name: stringify!($name), examples: $module::$name::examples, run: $module::$name::run });
        }
    )* };
}

targets! {
    datum: datums;
    sealed_datum: datums;
    row: datums;
    json: datums;
    varint: wires;
    frame: wires;
    leased_envelope: wires;
    record_envelope: wires;
    typed_plaintext: wires;
    fresh_keys: texts;
    granted_keys: texts;
    asked_keys: texts;
}
