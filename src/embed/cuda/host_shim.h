// What kernels.cu needs of CUDA, for a host: a std::thread a CUDA thread, and barriers where a warp or a block waits.
// So the sanitizers see the kernels' reads and writes: one outside of a buffer, or two that no barrier keeps apart.
//
// The blocks of a grid run one after the other. Shared memory is static and belongs to the block that runs.

#pragma once

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct uint4 { unsigned x, y, z, w; } __align__(16);
struct float2 { float x, y; } __align__(8);
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
using std::min;
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

using half = _Float16;
struct half2 { half x, y; } __align__(4);
inline float2 __half22float2(half2 pair) { return {static_cast<float>(pair.x), static_cast<float>(pair.y)}; }
inline half2 __floats2half2_rn(float x, float y) { return {static_cast<half>(x), static_cast<half>(y)}; }
inline half2 __halves2half2(half x, half y) { return {x, y}; }

namespace host {

constexpr unsigned WARP = 32;

struct Warp {
    std::barrier<> meet{WARP};
    float shared[WARP];
    unsigned a[WARP][4], b[WARP][2];
};

inline thread_local Warp* warp;
inline thread_local std::barrier<>* block;

}  // namespace host

inline thread_local uint3 threadIdx, blockIdx;

inline void __syncthreads() { host::block->arrive_and_wait(); }

inline float __shfl_xor_sync(unsigned, float value, unsigned distance) {
    const unsigned lane = threadIdx.x % host::WARP;
    host::warp->shared[lane] = value;
    host::warp->meet.arrive_and_wait();
    const float other = host::warp->shared[lane ^ distance];
    host::warp->meet.arrive_and_wait();
    return other;
}

// mma.m16n8k16: which lane holds what is written down in the PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating
// point type": element i of a lane's part of a, b or d. This follows its formulas; kernels.cu has its own wording of
// them.
inline void multiply_add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const unsigned lane = threadIdx.x % host::WARP;
    std::memcpy(host::warp->a[lane], a, sizeof a);
    std::memcpy(host::warp->b[lane], b, sizeof b);
    host::warp->meet.arrive_and_wait();
    float left[16][16], right[16][8];
    for (unsigned from = 0; from < host::WARP; from++) {
        const unsigned group = from >> 2, in_group = from % 4;
        half parts[8];
        std::memcpy(parts, host::warp->a[from], sizeof parts);
        for (unsigned i = 0; i < 8; i++) {
            const unsigned row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
            const unsigned column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
            left[row][column] = static_cast<float>(parts[i]);
        }
        std::memcpy(parts, host::warp->b[from], sizeof(half) * 4);
        for (unsigned i = 0; i < 4; i++) {
            right[in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0)][group] = static_cast<float>(parts[i]);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = (lane >> 2) + (i < 2 ? 0 : 8), column = lane % 4 * 2 + (i & 1);
        for (unsigned k = 0; k < 16; k++) d[i] += left[row][k] * right[k][column];
    }
    host::warp->meet.arrive_and_wait();
}

namespace host {

// Runs a kernel: `kernel` is called once for each thread of each block. Threads that leave a kernel early must do so by
// whole warps, and by whole blocks where a __syncthreads follows; on a device, too.
inline void run(dim3 grid, unsigned threads, const std::function<void()>& kernel) {
    std::vector<std::unique_ptr<Warp>> warps;
    for (unsigned i = 0; i < threads / WARP; i++) warps.push_back(std::make_unique<Warp>());
    std::barrier<> within(threads), between(threads);
    std::vector<std::thread> all;
    for (unsigned thread = 0; thread < threads; thread++) {
        all.emplace_back([&, thread] {
            threadIdx = {thread, 0, 0};
            warp = warps[thread / WARP].get();
            block = &within;
            for (unsigned z = 0; z < grid.z; z++) {
                for (unsigned y = 0; y < grid.y; y++) {
                    for (unsigned x = 0; x < grid.x; x++) {
                        blockIdx = {x, y, z};
                        kernel();
                        between.arrive_and_wait();
                    }
                }
            }
        });
    }
    for (auto& thread : all) thread.join();
}

}  // namespace host
