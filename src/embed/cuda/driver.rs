//! Finding what a card needs when it is asked for: the driver, cuBLASLt, and a card that is new enough.

use super::launch;
use super::memory::Context;
use leindex_fallback::within;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

/// The oldest driver that loads the kernels: they are in the format of CUDA 12.0.
const DRIVER: u32 = 12_000;
/// The oldest cards that have what the kernels use: Ampere.
pub(super) const CAPABILITY: (u32, u32) = (8, 0);
/// How long a driver may take. One that is not loaded yet takes seconds, and a broken one takes forever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Proof that the driver and cuBLASLt are there with all functions that are used, and that the driver is initialised.
#[derive(Clone, Debug)]
pub(super) struct Found {
    has_timing: bool,
}

impl Found {
    /// Whether the driver can tell the times of events.
    pub(super) fn has_timing(&self) -> bool {
        self.has_timing
    }
}

/// A library that is looked for at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Library {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// Whether it could be opened.
    pub(crate) is_there: bool,
    /// The file that was opened, where the system can say.
    pub(crate) path: Option<PathBuf>,
    /// The names that were tried, in order, in the places that the system's loader looks into.
    pub(crate) tried: Vec<String>,
}

/// A card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    /// Its number, in the order of the driver.
    pub(crate) number: usize,
    /// As the driver calls it.
    pub(crate) name: String,
    /// Its compute capability: 8 and 6 for 8.6.
    pub(crate) capability: (u32, u32),
    /// Bytes of its memory that are free now.
    pub(crate) memory_free: usize,
    /// Bytes of its memory.
    pub(crate) memory_total: usize,
}

/// What was found for CUDA on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The libraries that were looked for.
    pub(crate) libraries: Vec<Library>,
    /// The version of CUDA that the driver knows: 12 and 8 for 12.8.
    pub(crate) driver_version: Option<(u32, u32)>,
    /// The version of cuBLASLt, as the library writes it.
    pub(crate) blas_version: Option<usize>,
    /// The cards that the driver shows to this process.
    pub(crate) cards: Vec<Card>,
    /// What is missing and what to do about it, a sentence each. Empty when a card can be used.
    pub(crate) missing: Vec<String>,
}

impl Probe {
    /// Whether a card can be used.
    pub(crate) fn is_usable(&self) -> bool {
        self.card().is_some()
    }

    /// The first card that can be used.
    pub(crate) fn card(&self) -> Option<&Card> {
        self.cards.iter().find(|card| self.missing.is_empty() && card.capability >= CAPABILITY)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for library in &self.libraries {
            match (&library.path, library.is_there) {
                (Some(path), _) => writeln!(f, "{}: {}", library.name, path.display())?,
                (None, true) => writeln!(f, "{}: found", library.name)?,
                (None, false) => writeln!(f, "{}: not found", library.name)?,
            }
        }
        if let Some((major, minor)) = self.driver_version {
            writeln!(f, "CUDA of the driver: {major}.{minor}")?;
        }
        if let Some(version) = self.blas_version {
            writeln!(f, "version of cuBLASLt: {version}")?;
        }
        for card in &self.cards {
            let (free, total) = (card.memory_free >> 20, card.memory_total >> 20);
            let (major, minor) = card.capability;
            writeln!(f, "card {}: {}, capability {major}.{minor}, {free} of {total} MiB free", card.number, card.name)?;
        }
        self.missing.iter().try_for_each(|missing| writeln!(f, "missing: {missing}"))
    }
}

/// Looks for everything that an encoder on a card needs. It opens libraries and, where there is one, the card; it never
/// panics, and ends within half a minute.
pub(crate) fn probe() -> Probe {
    let looked = in_time(|| {
        let mut probe = Probe::default();
        if let Some(found) = look(&mut probe) {
            cards(&found, &mut probe);
        }
        probe
    });
    looked.unwrap_or_else(|missing| Probe { missing: vec![missing], ..Probe::default() })
}

/// Looks for the libraries and initialises the driver.
///
/// # Errors
/// What is missing and what to do about it.
pub(super) fn find() -> Result<Found, String> {
    in_time(|| {
        let mut probe = Probe::default();
        look(&mut probe).ok_or_else(|| probe.missing.join(" "))
    })?
}

/// Does something in a thread of its own, and goes on without it when it takes too long or panics: a driver that waits
/// for a broken card cannot be interrupted.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    within(PATIENCE, None, work).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => {
            format!("NVIDIA's driver did not answer for {} s: see whether nvidia-smi does.", PATIENCE.as_secs())
        }
        _ => "Asking NVIDIA's driver failed in a way that is not known.".to_owned(),
    })
}

/// Fills in the libraries, and is `Some` when they can be used.
fn look(probe: &mut Probe) -> Option<Found> {
    let (driver, lack_of_driver) = library(
        "NVIDIA's driver (libcuda.so.1)",
        &["cuda", "nvcuda"],
        launch::lacking_in_driver(&launch::DRIVER_FUNCTIONS),
        "Install version 525 or later from your distribution or from nvidia.com; a container must be started with the \
         NVIDIA container toolkit (--gpus all).",
    );
    let (blas, lack_of_blas) = library(
        "cuBLAS (libcublasLt.so.12 or .13)",
        &["cublasLt"],
        launch::lacking_in_blas(&launch::BLAS_FUNCTIONS),
        "Install the package libcublas of CUDA 12 or 13 from NVIDIA, or `pip install nvidia-cublas-cu12` and add the \
         directory of libcublasLt.so.12 to LD_LIBRARY_PATH.",
    );
    let (has_driver, has_blas) = (lack_of_driver.is_none(), lack_of_blas.is_none());
    probe.libraries = vec![driver, blas];
    probe.missing.extend(lack_of_driver.into_iter().chain(lack_of_blas));
    let is_ready = has_driver && initialise(probe);
    if !(is_ready && has_blas) {
        return None;
    }
    let has_timing = launch::lacking_in_driver(&[launch::TIMING_FUNCTION]).is_some_and(|lacking| lacking.is_empty());
    let found = Found { has_timing };
    probe.blas_version = Some(launch::blas_version(&found));
    Some(found)
}

/// A library, and what is wrong with it. `lacking` are the functions it does not have, if it is there at all.
fn library(
    name: &'static str,
    stems: &[&str],
    lacking: Option<Vec<&'static str>>,
    advice: &str,
) -> (Library, Option<String>) {
    let is_there = lacking.is_some();
    let lack = match lacking {
        None => Some(format!("{name} is not installed. {advice}")),
        Some(functions) if functions.is_empty() => None,
        Some(functions) => Some(format!("{name} is too old, it lacks {}. {advice}", functions.join(", "))),
    };
    let tried = stems.iter().flat_map(|stem| cudarc::get_lib_name_candidates(stem)).collect();
    let path = stems.iter().find_map(|stem| opened(stem)).filter(|_| is_there);
    (Library { name, is_there, path, tried }, lack)
}

/// The file of a library that this process has opened, as Linux lists it.
fn opened(stem: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mut paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    paths
        .find(|path| path.rsplit('/').next().is_some_and(|file| file.starts_with(&format!("lib{stem}.so"))))
        .map(PathBuf::from)
}

/// Initialises the driver, and says what it knows of itself.
fn initialise(probe: &mut Probe) -> bool {
    let version = launch::driver_version().unwrap_or(0);
    let parts = (version / 1000, version % 1000 / 10);
    probe.driver_version = Some(parts);
    if version < DRIVER {
        probe.missing.push(format!(
            "NVIDIA's driver is too old: it knows CUDA {}.{}, and 12.0 is needed. Install version 525 or later.",
            parts.0, parts.1
        ));
        return false;
    }
    let Err(error) = cudarc::driver::result::init() else { return true };
    let words = super::error::words(error);
    probe.missing.push(format!("NVIDIA's driver finds no card: {words}. See whether nvidia-smi shows one."));
    false
}

/// Fills in the cards.
fn cards(found: &Found, probe: &mut Probe) {
    let count = cudarc::driver::result::device::get_count().unwrap_or(0);
    for ordinal in 0..count {
        match card(found, ordinal) {
            Ok(card) => probe.cards.push(card),
            Err(error) => probe.missing.push(format!("Card {ordinal} cannot be used: {error}.")),
        }
    }
    // One card that can be used is enough.
    if probe.cards.iter().any(|card| card.capability >= CAPABILITY) {
        probe.missing.clear();
    } else if !probe.cards.is_empty() {
        probe.missing.push("No card is new enough: capability 8.0 (Ampere, 2020) or later is needed.".to_owned());
    } else if probe.missing.is_empty() {
        probe
            .missing
            .push("The driver shows no card to this process: see CUDA_VISIBLE_DEVICES and nvidia-smi.".to_owned());
    }
}

fn card(found: &Found, ordinal: i32) -> Result<Card, crate::embed::device::DeviceError> {
    let context = Context::open(found, ordinal)?;
    let (memory_free, memory_total) = context.memory()?;
    let number = ordinal.unsigned_abs() as usize;
    Ok(Card { number, name: name(&context), capability: launch::capability(&context)?, memory_free, memory_total })
}

/// What the driver calls a card.
pub(super) fn name(context: &Context) -> String {
    cudarc::driver::result::device::get_name(context.device()).unwrap_or_else(|_| "an NVIDIA card".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_says_what_is_missing() {
        let probe = probe();
        let text = probe.to_string();
        assert_eq!(probe.libraries.len(), 2, "{text}");
        assert!(
            probe.libraries[0].tried.iter().any(|name| name.ends_with("cuda.so.1") || name.contains("nvcuda")),
            "{text}"
        );
        if probe.is_usable() {
            assert!(probe.driver_version >= Some((12, 0)), "{text}");
            return;
        }
        // Every library that is missing is named with what to install, and the device says the same.
        for library in &probe.libraries {
            let said = format!("missing: {} is not installed. Install ", library.name);
            assert_eq!(!library.is_there, text.contains(&said), "{text}");
            if !library.is_there {
                assert!(find().unwrap_err().contains(library.name));
            }
        }
    }

    #[test]
    fn the_first_card_that_is_new_enough_is_used() {
        let card =
            |number, capability| Card { number, name: String::new(), capability, memory_free: 0, memory_total: 1 };
        let mut probe = Probe { cards: vec![card(0, (7, 5)), card(2, (8, 0)), card(3, (9, 0))], ..Probe::default() };
        assert_eq!(probe.card().map(|card| card.number), Some(2));
        probe.missing.push("Something.".to_owned());
        assert!(!probe.is_usable());
    }

    #[test]
    fn what_a_library_lacks_is_named() {
        let (found, lack) = library("libx", &["x"], Some(vec!["a", "b"]), "Install it.");
        assert!(found.is_there && found.path.is_none());
        assert_eq!(lack.unwrap(), "libx is too old, it lacks a, b. Install it.");
        assert_eq!(library("libx", &["x"], Some(vec![]), "Install it.").1, None);
        assert_eq!(library("libx", &["x"], None, "Install it.").1.unwrap(), "libx is not installed. Install it.");
    }

    #[test]
    fn what_takes_too_long_or_panics_is_left() {
        assert_eq!(in_time(|| 7), Ok(7));
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let failed = in_time(|| panic!("on purpose"));
        std::panic::set_hook(hook);
        assert!(failed.is_err_and(|text: String| text.contains("failed in a way")));
    }
}
