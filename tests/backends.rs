//! Rings and threads make the same index of the same tree, whatever its shape and however many workers there are.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod support;

use leindex_engine::io::select;
use leindex_engine::{BackendChoice, EngineBuilder, Shards};
use support::{Place, Random, Vocabulary, assert_same, fresh_with};

/// One directory of very many files, a chain of directories, one that holds nearly everything, and files larger than the
/// buffer that reads share.
fn odd_tree(random: &mut Random, words: &Vocabulary) -> Place {
    let place = Place::new();
    for index in 0..20_000 {
        place.write(format!("wide/{index}.txt"), words.word(random));
    }
    let mut chain = String::from("deep");
    for depth in 0..60 {
        chain.push_str("/d");
        place.write(format!("{chain}/{depth}.rs"), words.text(random, 50));
    }
    for index in 0..500 {
        place.write(format!("skewed/most/{}/{index}.c", index % 3), words.text(random, 200));
        place.write(format!("skewed/few{index}/empty"), "");
    }
    for (index, count) in [60_000, 100_000, 150_000, 400_000, 1_000_000].into_iter().enumerate() {
        place.write(format!("large/{index}.txt"), words.text(random, count));
    }
    place.write("binary", [0_u8, 1, 2, 0xff].repeat(100_000));
    place
}

#[test]
fn rings_and_threads_make_the_same_index() {
    if let Err(error) = select(BackendChoice::Uring) {
        return eprintln!("SKIPPED: {error}");
    }
    let mut random = Random(3);
    let words = Vocabulary::new(400);
    let place = odd_tree(&mut random, &words);
    let queries = words.queries(&mut random, 40);
    let by_threads = fresh_with(&place.root(), |builder| builder.backend(BackendChoice::Threads));
    // The second with readers beside the shards, whose content travels in parcels.
    for shards in [1, 2, 16] {
        let settings = |builder: EngineBuilder| builder.backend(BackendChoice::Uring).shards(Shards::Count(shards));
        let by_rings = fresh_with(&place.root(), settings);
        let hits = assert_same(&by_rings.engine, &by_threads.engine, &queries, &format!("{shards} shards"));
        assert!(hits > 1000, "{hits} hits: the queries find too little to tell");
    }
}
