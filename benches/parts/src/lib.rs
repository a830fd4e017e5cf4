//! The parts, each as a round of work that is the same every time: inputs come from a generator with a fixed seed, and a round
//! returns a number that depends on all of its work, so that none of it can be left out.

mod input;
mod parts;

pub use parts::{COUNTED, TIMED, part};

/// A round of work; its inputs are made when it is.
pub type Round = Box<dyn FnMut() -> u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_the_same_every_time() {
        for name in COUNTED.iter().chain(TIMED) {
            let mut round = part(name).unwrap_or_else(|| panic!("{name} is not there"));
            let first = round();
            assert!(first > 0, "{name} does nothing");
            assert_eq!(round(), first, "{name}");
            assert_eq!(part(name).map(|mut again| again()), Some(first), "{name}, set up again");
        }
        assert!(part("nothing").is_none());
    }
}
