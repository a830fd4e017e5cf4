//! The kernels as the host knows them: their names, their code and what they take.
//!
//! `scripts/kernels` makes `kernels.ptx` from `kernels.cu`; it is committed, so that a build needs no CUDA.

/// The code of the kernels, for cards of capability 8.0 and later. Its format is that of CUDA 12.0: older drivers do
/// not load it.
pub(super) const PTX: &str = include_str!("kernels.ptx");
/// Threads a block, in every kernel.
pub(super) const THREADS: u32 = 128;
/// Rows a block of the normalising kernels: one a warp.
pub(super) const ROWS: usize = 4;
/// Queries a block of the attention kernels.
pub(super) const QUERIES: usize = 64;

/// The kernels of `kernels.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    EmbedNorm,
    AddNorm,
    Attention32,
    Attention64,
    Pool,
}

impl Kernel {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Kernel; 5] =
        [Kernel::EmbedNorm, Kernel::AddNorm, Kernel::Attention32, Kernel::Attention64, Kernel::Pool];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kernel::EmbedNorm => "embed_norm",
            Kernel::AddNorm => "add_norm",
            Kernel::Attention32 => "attention_32",
            Kernel::Attention64 => "attention_64",
            Kernel::Pool => "pool",
        }
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// An address, in bytes from the beginning of the device's block.
    At(usize),
    /// `unsigned`.
    Count(u32),
    /// `float`.
    Number(f32),
}

impl Value {
    /// Its type as PTX names it.
    pub(super) fn ptx_type(self) -> &'static str {
        match self {
            Value::At(_) => ".u64",
            Value::Count(_) => ".u32",
            Value::Number(_) => ".f32",
        }
    }
}

/// An argument with the name that the parameter has in `kernels.cu`. A test compares names and types with that file.
pub(super) type Arg = (&'static str, Value);

/// The types of a kernel's parameters, from the PTX itself: a launch with others would read memory that is not there.
pub(super) fn signature(ptx: &'static str, kernel: Kernel) -> Option<Vec<&'static str>> {
    let (_, rest) = ptx.split_once(&format!(".visible .entry {}(", kernel.name()))?;
    let (params, _) = rest.split_once(')')?;
    params.split(',').map(|param| param.split_whitespace().nth(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_in_the_ptx() {
        for (index, kernel) in Kernel::ALL.into_iter().enumerate() {
            assert_eq!(kernel as usize, index);
            let types = signature(PTX, kernel).unwrap();
            assert!(
                types.len() >= 5 && types.iter().all(|name| matches!(*name, ".u64" | ".u32" | ".f32")),
                "{types:?}"
            );
        }
        assert!(PTX.contains(".target sm_80") && PTX.contains(".version 8.0"));
    }

    #[test]
    fn the_constants_are_those_of_the_kernels() {
        let cuda = include_str!("kernels.cu");
        for constant in [
            "constexpr unsigned THREADS = 128;",
            "constexpr unsigned WARPS = THREADS / LANES;",
            "constexpr unsigned QUERIES_A_WARP = 16;",
            "constexpr unsigned QUERIES = QUERIES_A_WARP * WARPS;",
        ] {
            assert!(cuda.contains(constant), "{constant}");
        }
        assert_eq!((THREADS / 32) as usize, ROWS);
        assert_eq!(16 * ROWS, QUERIES);
    }
}
