//! An encoder on an NVIDIA card: what it needs is found when it is asked for, not when the program is built or started.
//!
//! * `driver` finds the libraries and says what is missing; `probe` is for people.
//! * `plan` is where everything lies on the card, `pack` brings the weights there.
//! * `forward` is the sequence of steps, `kernels` are ours (`kernels.cu`), the products are cuBLASLt's.
//! * `memory` owns what the card reads and writes, `launch` begins work: the islands of unsafe code.
//! * `device` is the [`EmbedDevice`](super::device::EmbedDevice).

mod device;
mod driver;
mod error;
mod forward;
mod kernels;
mod launch;
mod memory;
mod pack;
mod plan;
#[cfg(test)]
mod tests;

pub(crate) use device::{CudaDevice, CudaOptions};
pub(crate) use driver::probe;
