//! What the driver's and cuBLASLt's errors mean for a batch, a device, and its user.

use crate::embed::device::DeviceError;
use cudarc::cublaslt::result::CublasError;
use cudarc::cublaslt::sys::cublasStatus_t;
use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

/// Errors after which every call of this process fails, until its context is gone: "this leaves the process in an
/// inconsistent state and any further CUDA work will return the same error" in the driver's documentation.
const STICKY: [CUresult; 21] = [
    CUresult::CUDA_ERROR_DEINITIALIZED,
    CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE,
    CUresult::CUDA_ERROR_INVALID_CONTEXT,
    CUresult::CUDA_ERROR_ECC_UNCORRECTABLE,
    CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE,
    CUresult::CUDA_ERROR_CONTAINED,
    CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
    CUresult::CUDA_ERROR_LAUNCH_TIMEOUT,
    CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED,
    CUresult::CUDA_ERROR_ASSERT,
    CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR,
    CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION,
    CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
    CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE,
    CUresult::CUDA_ERROR_INVALID_PC,
    CUresult::CUDA_ERROR_LAUNCH_FAILED,
    CUresult::CUDA_ERROR_TENSOR_MEMORY_LEAK,
    CUresult::CUDA_ERROR_MPS_RPC_FAILURE,
    CUresult::CUDA_ERROR_MPS_CLIENT_TERMINATED,
    CUresult::CUDA_ERROR_EXTERNAL_DEVICE,
    // No better is known of it.
    CUresult::CUDA_ERROR_UNKNOWN,
];

/// The driver's own words for its error. It is there to be asked: the error came from it.
pub(super) fn words(error: DriverError) -> String {
    let text = error.error_string().map_or_else(|_| "no description".into(), |text| text.to_string_lossy());
    format!("{text} ({:?})", error.0)
}

/// What an error of the driver, while `doing` something, means.
pub(super) fn of_driver(doing: &str, error: DriverError) -> DeviceError {
    sorted(error.0, format!("{doing}: {}", words(error)))
}

fn sorted(code: CUresult, detail: String) -> DeviceError {
    match code {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => DeviceError::OutOfMemory(detail),
        code if STICKY.contains(&code) => DeviceError::Lost(detail),
        _ => DeviceError::Failed(detail),
    }
}

/// What an error of cuBLASLt, while `doing` something, means. It does not tell a lost device from a failed product: the
/// next call of the driver does.
pub(super) fn of_blas(doing: &str, error: CublasError) -> DeviceError {
    let detail = format!("{doing}: cuBLASLt says {:?}", error.0);
    match error.0 {
        cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => DeviceError::OutOfMemory(detail),
        _ => DeviceError::Failed(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_errors_are_told_apart() {
        let of = |code| sorted(code, "why".to_owned());
        assert_eq!(of(CUresult::CUDA_ERROR_OUT_OF_MEMORY), DeviceError::OutOfMemory("why".to_owned()));
        assert_eq!(of(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS), DeviceError::Lost("why".to_owned()));
        assert_eq!(of(CUresult::CUDA_ERROR_ECC_UNCORRECTABLE), DeviceError::Lost("why".to_owned()));
        for code in
            [CUresult::CUDA_ERROR_INVALID_VALUE, CUresult::CUDA_ERROR_INVALID_PTX, CUresult::CUDA_ERROR_NO_DEVICE]
        {
            assert_eq!(of(code), DeviceError::Failed("why".to_owned()));
        }
    }

    #[test]
    fn blas_errors_are_told_apart() {
        let of = |status| of_blas("a product", CublasError(status));
        assert!(matches!(of(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED), DeviceError::OutOfMemory(_)));
        let failed = of(cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED);
        assert_eq!(failed, DeviceError::Failed("a product: cuBLASLt says CUBLAS_STATUS_EXECUTION_FAILED".to_owned()));
    }
}
