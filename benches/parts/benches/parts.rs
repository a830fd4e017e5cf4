//! Every part by the clock: `cargo bench -p leindex-parts`, or one with `-- tokenizer`.

use criterion::{Criterion, criterion_group, criterion_main};
use leindex_parts::{COUNTED, TIMED, part};
use std::hint::black_box;

fn parts(c: &mut Criterion) {
    for name in COUNTED.iter().chain(TIMED) {
        // Its input is made only if it is wanted.
        let mut round = None;
        c.bench_function(name, |bencher| {
            let round = round.get_or_insert_with(|| part(name).unwrap_or_else(|| panic!("{name} is not there")));
            bencher.iter(|| black_box(round()));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = parts
}
criterion_main!(benches);
