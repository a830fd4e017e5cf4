//! Calls into the driver and cuBLASLt that are not about memory: what is there, and beginning work. An island of unsafe
//! code.
//!
//! cudarc panics when a library or a function is missing. So the functions that are used here and in `memory` are
//! listed, and looked for before the first of them is called; [`Found`] is the proof.

#![allow(unsafe_code)]

use super::driver::Found;
use super::error::{of_blas, of_driver};
use super::forward::{Ops, Product};
use super::kernels::{Arg, Kernel, PTX, THREADS, Value, signature};
use super::memory::{Arena, Context};
use super::plan::Plan;
use crate::embed::device::DeviceError;
use cudarc::cublaslt::{result as blas, sys as blas_sys};
use cudarc::driver::{result, sys};
use std::ffi::{CString, c_void};

/// The functions of the driver that are called.
pub(super) const DRIVER_FUNCTIONS: [&str; 31] = [
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyHtoD_v2",
    "cuMemsetD8_v2",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamWaitEvent",
];
/// The function that tells times. Drivers before 12.8 have another one, which cudarc does not know any more.
pub(super) const TIMING_FUNCTION: &str = "cuEventElapsedTime_v2";
/// The functions of cuBLASLt that are called.
pub(super) const BLAS_FUNCTIONS: [&str; 13] = [
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtGetVersion",
    "cublasLtMatmul",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutDestroy",
];

/// Opens the driver's library; `None` when there is none, otherwise those of the functions that it lacks.
pub(super) fn lacking_in_driver(functions: &[&'static str]) -> Option<Vec<&'static str>> {
    // SAFETY: opening a library runs its initialisers; those of the driver's library are made for any process.
    unsafe { sys::is_culib_present() }.then(|| {
        // SAFETY: as above. The symbol is looked up and not used, so its type does not matter.
        let has = |name: &&str| unsafe { sys::culib().get::<*const c_void>(name.as_bytes()).is_ok() };
        functions.iter().copied().filter(|name| !has(name)).collect()
    })
}

/// As [`lacking_in_driver`], for cuBLASLt.
pub(super) fn lacking_in_blas(functions: &[&'static str]) -> Option<Vec<&'static str>> {
    // SAFETY: as in `lacking_in_driver`.
    unsafe { blas_sys::is_culib_present() }.then(|| {
        // SAFETY: as in `lacking_in_driver`.
        let has = |name: &&str| unsafe { blas_sys::culib().get::<*const c_void>(name.as_bytes()).is_ok() };
        functions.iter().copied().filter(|name| !has(name)).collect()
    })
}

/// The version of CUDA that the driver knows, 12080 for 12.8. The functions of the driver must be there.
pub(super) fn driver_version() -> Option<u32> {
    let mut version = 0;
    // SAFETY: the driver writes one integer. It may be asked before `cuInit`. Test: `a_probe_says_what_is_missing`.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().ok()?;
    u32::try_from(version).ok()
}

/// The version of cuBLASLt, 120803 for 12.8.3.
pub(super) fn blas_version(_: &Found) -> usize {
    // SAFETY: takes nothing, and returns a number.
    unsafe { blas_sys::cublasLtGetVersion() }
}

/// The capability of a card: 8 and 6 for 8.6.
pub(super) fn capability(context: &Context) -> Result<(u32, u32), DeviceError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let ask = |attribute| {
        // SAFETY: the device is that of a context, and so came from the driver.
        let answer = unsafe { result::device::get_attribute(context.device(), attribute) };
        answer.map(i32::unsigned_abs).map_err(|error| of_driver("asking for the card's capability", error))
    };
    Ok((ask(MAJOR)?, ask(MINOR)?))
}

/// Our kernels, as the driver has compiled them for the card.
pub(super) struct Module {
    raw: sys::CUmodule,
    kernels: Vec<(sys::CUfunction, Vec<&'static str>)>,
}

// SAFETY: one owner; handles of the driver are not tied to a thread.
unsafe impl Send for Module {}

impl Module {
    /// Compiles the kernels, in the context of the arena. The driver keeps the result in a cache of its own.
    pub(super) fn load(arena: &Arena) -> Result<Module, DeviceError> {
        arena.enter()?;
        let image = CString::new(PTX).map_err(|_| DeviceError::Failed("a NUL in the kernels".to_owned()))?;
        // SAFETY: the image is text that ends in NUL, and is not needed afterwards.
        let raw = unsafe { result::module::load_data(image.as_ptr().cast()) };
        let raw = raw.map_err(|error| of_driver("loading the kernels", error))?;
        let mut module = Module { raw, kernels: Vec::new() };
        for kernel in Kernel::ALL {
            let name = CString::new(kernel.name()).map_err(|_| DeviceError::Failed("a NUL in a name".to_owned()))?;
            // SAFETY: the module is loaded.
            let function = unsafe { result::module::get_function(raw, name) };
            let function = function.map_err(|error| of_driver("looking for a kernel", error))?;
            let types =
                signature(PTX, kernel).ok_or_else(|| DeviceError::Failed("a kernel without types".to_owned()))?;
            module.kernels.push((function, types));
        }
        Ok(module)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded once, unloaded once. No kernel runs: a device settles its arena before it drops its parts.
        let _ = unsafe { result::module::unload(self.raw) };
    }
}

/// A handle of cuBLASLt, and what destroys it.
struct Handle<T: Copy>(T, unsafe fn(T) -> Result<(), blas::CublasError>);

impl<T: Copy> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: every handle is made together with the function that destroys its kind, and destroyed once.
        let _ = unsafe { (self.1)(self.0) };
    }
}

type Layout = Handle<blas_sys::cublasLtMatrixLayout_t>;
type Description = Handle<blas_sys::cublasLtMatmulDesc_t>;

fn layout(rows: usize, columns: usize) -> Result<Layout, DeviceError> {
    let half = blas_sys::cudaDataType_t::CUDA_R_16F;
    // A column follows the other without gaps, so the distance is the number of rows.
    blas::create_matrix_layout(half, rows as u64, columns as u64, rows as i64)
        .map(|raw| Handle(raw, blas::destroy_matrix_layout))
        .map_err(|error| of_blas("describing a matrix", error))
}

fn set<T>(
    description: &Description,
    attribute: blas_sys::cublasLtMatmulDescAttributes_t,
    value: &T,
) -> Result<(), DeviceError> {
    // SAFETY: the description lives, and the value is read before this returns.
    unsafe { blas::set_matmul_desc_attribute(description.0, attribute, (&raw const *value).cast(), size_of::<T>()) }
        .map_err(|error| of_blas("describing a product", error))
}

/// `CUBLAS_OP_T`, which is in a header of cuBLAS that cudarc has no bindings of here.
const TRANSPOSED: i32 = 1;

fn description(epilogue: blas_sys::cublasLtEpilogue_t) -> Result<Description, DeviceError> {
    use blas_sys::cublasLtMatmulDescAttributes_t::{CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_TRANSA};
    let compute = blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
    let description = blas::create_matmul_desc(compute, blas_sys::cudaDataType_t::CUDA_R_32F)
        .map(|raw| Handle(raw, blas::destroy_matmul_desc))
        .map_err(|error| of_blas("describing a product", error))?;
    set(&description, CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
    set(&description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
    Ok(description)
}

/// What a way of doing a product may use: so many bytes of workspace.
fn preference(workspace: usize) -> Result<Handle<blas_sys::cublasLtMatmulPreference_t>, DeviceError> {
    let attribute = blas_sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    let failed = |error| of_blas("describing the workspace", error);
    let preference = Handle(blas::create_matmul_pref().map_err(failed)?, blas::destroy_matmul_pref);
    let bytes = (&raw const workspace).cast();
    // SAFETY: the preference lives, and the value, a `usize` as this attribute wants it, is read before this returns.
    unsafe { blas::set_matmul_pref_attribute(preference.0, attribute, bytes, size_of::<usize>()) }.map_err(failed)?;
    Ok(preference)
}

/// A product for one number of tokens, and the way that cuBLASLt thinks best.
struct Prepared {
    a: Layout,
    b: Layout,
    d: Layout,
    algorithm: blas_sys::cublasLtMatmulAlgo_t,
}

/// The products of one shape, for every multiple of the plan's step.
struct Shape {
    m: usize,
    k: usize,
    gelu: bool,
    sizes: Vec<Prepared>,
}

/// cuBLASLt, with all products prepared that a plan may need.
pub(super) struct Blas {
    shapes: Vec<Shape>,
    plain: Description,
    gelu: Description,
    step: usize,
    workspace: (usize, usize),
    handle: Handle<blas_sys::cublasLtHandle_t>,
}

// SAFETY: one owner; handles of cuBLASLt are not tied to a thread.
unsafe impl Send for Blas {}

impl Blas {
    /// Opens cuBLASLt and prepares the products: at most four shapes, in at most 64 sizes each.
    ///
    /// # Errors
    /// When it does not work with the driver, or has no way for a product.
    pub(super) fn open(_: &Found, arena: &Arena, plan: &Plan) -> Result<Blas, DeviceError> {
        use blas_sys::cublasLtEpilogue_t::{CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS};
        arena.enter()?;
        let handle = blas::create_handle().map_err(|error| of_blas("opening cuBLASLt", error))?;
        let handle = Handle(handle, blas::destroy_handle);
        let mut opened = Blas {
            shapes: Vec::new(),
            plain: description(CUBLASLT_EPILOGUE_BIAS)?,
            gelu: description(CUBLASLT_EPILOGUE_GELU_BIAS)?,
            step: plan.step,
            workspace: (plan.workspace.at, plan.workspace.bytes),
            handle,
        };
        for layer in &plan.layers {
            for (linear, gelu) in [(layer.qkv, false), (layer.out, false), (layer.up, true), (layer.down, false)] {
                let (m, k) = (linear.outputs, linear.inputs);
                if !opened.shapes.iter().any(|shape| (shape.m, shape.k, shape.gelu) == (m, k, gelu)) {
                    // All biases are aligned alike, so what is found for one holds for all.
                    opened.set_bias(gelu, arena.address(linear.bias.at)?)?;
                    let sizes = (1..=plan.most() / plan.step).map(|size| opened.prepare(m, size * plan.step, k, gelu));
                    let sizes = sizes.collect::<Result<_, _>>()?;
                    opened.shapes.push(Shape { m, k, gelu, sizes });
                }
            }
        }
        Ok(opened)
    }

    fn description(&self, gelu: bool) -> &Description {
        if gelu { &self.gelu } else { &self.plain }
    }

    fn set_bias(&self, gelu: bool, bias: sys::CUdeviceptr) -> Result<(), DeviceError> {
        let attribute = blas_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
        set(self.description(gelu), attribute, &bias)
    }

    fn prepare(&self, m: usize, n: usize, k: usize, gelu: bool) -> Result<Prepared, DeviceError> {
        let failed = |error| of_blas(&format!("preparing a product of {m} x {n} x {k}"), error);
        let preference = preference(self.workspace.1)?;
        let (a, b, d) = (layout(k, m)?, layout(k, n)?, layout(m, n)?);
        let description = self.description(gelu).0;
        // SAFETY: all handles live.
        let found =
            unsafe { blas::get_matmul_algo_heuristic(self.handle.0, description, a.0, b.0, d.0, d.0, preference.0) };
        Ok(Prepared { algorithm: found.map_err(failed)?.algo, a, b, d })
    }

    fn prepared(&self, product: &Product) -> Option<&Prepared> {
        let Product { m, n, k, gelu, .. } = *product;
        let shape = self.shapes.iter().find(|shape| (shape.m, shape.k, shape.gelu) == (m, k, gelu))?;
        shape.sizes.get((n / self.step).checked_sub(1)?).filter(|_| n.is_multiple_of(self.step))
    }
}

/// The card, as what carries out the steps of a batch: each is queued in the arena's stream of kernels.
pub(super) struct Card<'a> {
    pub(super) arena: &'a Arena,
    pub(super) module: &'a Module,
    pub(super) blas: &'a Blas,
}

impl Ops for Card<'_> {
    fn product(&mut self, product: &Product) -> Result<(), DeviceError> {
        let Card { arena, blas: prepared, .. } = self;
        let way = prepared.prepared(product);
        let way = way.ok_or_else(|| DeviceError::Failed(format!("a product that was not prepared: {product:?}")))?;
        prepared.set_bias(product.gelu, arena.address(product.bias)?)?;
        let (alpha, beta) = (1.0f32, 0.0f32);
        let pointer = |at| arena.address(at).map(|address| address as *mut c_void);
        let (a, b, d) = (pointer(product.a)?, pointer(product.b)?, pointer(product.d)?);
        let workspace = pointer(prepared.workspace.0)?;
        // SAFETY: the handles live. The matrices and the workspace lie in the block, in spans that the plan made for
        // the largest number of tokens, and the product was prepared for no more than that. The two factors are read
        // before this returns. The block outlives the product: an arena waits for the card before it frees anything.
        unsafe {
            blas::matmul(
                prepared.handle.0,
                prepared.description(product.gelu).0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                a,
                way.a.0,
                b,
                way.b.0,
                d,
                way.d.0,
                d,
                way.d.0,
                &raw const way.algorithm,
                workspace,
                prepared.workspace.1,
                arena.compute_stream().cast(),
            )
        }
        .map_err(|error| of_blas("beginning a product", error))
    }

    fn launch(&mut self, kernel: Kernel, grid: [usize; 3], args: &[Arg]) -> Result<(), DeviceError> {
        /// A place for any argument; the driver reads as many of its bytes as the parameter's type has.
        #[repr(C)]
        union Place {
            address: u64,
            count: u32,
            number: f32,
        }
        let (function, types) = &self.module.kernels[kernel as usize];
        if !args.iter().map(|(_, value)| value.ptx_type()).eq(types.iter().copied()) {
            return Err(DeviceError::Failed(format!("{} does not take {args:?}", kernel.name())));
        }
        let place = |(_, value): &Arg| {
            Ok(match *value {
                Value::At(at) => Place { address: self.arena.address(at)? },
                Value::Count(count) => Place { count },
                Value::Number(number) => Place { number },
            })
        };
        let places = args.iter().map(place).collect::<Result<Vec<_>, DeviceError>>()?;
        let mut pointers: Vec<*mut c_void> = places.iter().map(|place| (&raw const *place).cast_mut().cast()).collect();
        let size = |side: usize| u32::try_from(side).map_err(|_| DeviceError::Failed("too large a grid".to_owned()));
        let grid = (size(grid[0])?, size(grid[1])?, size(grid[2])?);
        let stream = self.arena.compute_stream();
        // SAFETY: the module is loaded and outlives its kernels, and so does the block. The arguments are as many and
        // of the types that the kernel's own code says, and are copied before this returns. What kernels do with them
        // is bounded by the plan: `kernels.cu` runs under the address sanitizer with buffers of exactly the sizes that
        // the plan gives, and `the_sequence_is_that_of_a_bert` follows the addresses.
        unsafe { result::launch_kernel(*function, grid, (THREADS, 1, 1), 0, stream, &mut pointers) }
            .map_err(|error| of_driver(&format!("launching {}", kernel.name()), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cublas_takes_what_products_are_described_with() {
        // These calls need the library and no card; it checks attributes and their sizes.
        if lacking_in_blas(&BLAS_FUNCTIONS) != Some(Vec::new()) {
            return println!("SKIPPED: cuBLAS is not installed, its descriptions were not tested");
        }
        use blas_sys::cublasLtEpilogue_t::{CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS};
        for epilogue in [CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS] {
            let description = description(epilogue).unwrap();
            let attribute = blas_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            set(&description, attribute, &0x1000u64).unwrap();
            assert!(set(&description, attribute, &0u16).is_err(), "a size that is wrong was taken");
        }
        layout(384, 64).unwrap();
        preference(32 << 20).unwrap();
    }
}
