// The kernels of the encoder: what stands between its matrix products, which are cuBLASLt's.
//
// scripts/kernels turns this file into kernels.ptx, and compiles it for the host as well (host_shim.h), where every
// kernel is compared with plain loops (host_test.cpp). kernels.rs knows the names and the parameters.
//
// Texts are packed, one after the other, without padding: text r has the tokens starts[r] .. starts[r + 1]. A matrix
// has a row a token, and a row's numbers lie side by side. Matrices are half precision, sums are single precision.

#ifdef LEINDEX_ON_HOST
#include "host_shim.h"
#else
#include <cuda_fp16.h>

// d += a * b for a warp: a is 16 x 16, b is 16 x 8, d is 16 x 8. With group = lane / 4 and pair = lane % 4 * 2, a lane
// has
//   a[0], a[1]   rows group and group + 8, columns pair and pair + 1;   a[2], a[3]   the same rows, columns 8 further
//   b[0]         rows pair and pair + 1, column group;                  b[1]         rows 8 further
//   d[0], d[1]   row group, columns pair and pair + 1;                  d[2], d[3]   row group + 8
// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

constexpr unsigned LANES = 32;
constexpr unsigned THREADS = 128;  // a block, in every kernel here
constexpr unsigned WARPS = THREADS / LANES;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float sum_of_warp(float value) {
    for (unsigned distance = LANES / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

// Two halves in one register, the first in the low bits.
__device__ __forceinline__ unsigned packed(half2 pair) { return *reinterpret_cast<const unsigned*>(&pair); }
__device__ __forceinline__ unsigned packed(half low, half high) { return packed(__halves2half2(low, high)); }

// Layer normalisation: a warp a row.

// Pairs of numbers a lane holds: rows of up to 32 lanes * 16 pairs * 2 = 1024 numbers.
constexpr unsigned PAIRS_A_LANE = 16;

// out = (x - mean) / sqrt(variance + epsilon) * scale + shift. The variance is summed over differences from the mean,
// not over squares: numbers far from zero lose nothing.
__device__ __forceinline__ void normalise(half2* out, const float2 (&x)[PAIRS_A_LANE], const float2* scale,
                                          const float2* shift, unsigned lane, unsigned hidden, float epsilon) {
    const unsigned pairs = hidden / 2;
    float sum = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < PAIRS_A_LANE; i++) {
        if (lane + i * LANES < pairs) sum += x[i].x + x[i].y;
    }
    const float mean = sum_of_warp(sum) / static_cast<float>(hidden);
    float squares = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < PAIRS_A_LANE; i++) {
        if (lane + i * LANES < pairs) {
            const float a = x[i].x - mean, b = x[i].y - mean;
            squares += a * a + b * b;
        }
    }
    const float factor = rsqrtf(sum_of_warp(squares) / static_cast<float>(hidden) + epsilon);
#pragma unroll
    for (unsigned i = 0; i < PAIRS_A_LANE; i++) {
        const unsigned at = lane + i * LANES;
        if (at < pairs) {
            const float2 by = scale[at], and_then = shift[at];
            out[at] = __floats2half2_rn((x[i].x - mean) * factor * by.x + and_then.x,
                                        (x[i].y - mean) * factor * by.y + and_then.y);
        }
    }
}

// out[token] = normalised (words[ids[token]] + places[positions[token]]).
// Grid: tokens / WARPS, rounded up.
extern "C" __global__ void __launch_bounds__(THREADS)
    embed_norm(half* out, const unsigned* ids, const unsigned* positions, const half* words, const half* places,
               const float* scale, const float* shift, unsigned tokens, unsigned hidden, float epsilon) {
    const unsigned lane = threadIdx.x % LANES;
    const unsigned token = blockIdx.x * WARPS + threadIdx.x / LANES;
    if (token >= tokens) return;
    const half2* word = reinterpret_cast<const half2*>(words + static_cast<size_t>(ids[token]) * hidden);
    const half2* place = reinterpret_cast<const half2*>(places + static_cast<size_t>(positions[token]) * hidden);
    float2 x[PAIRS_A_LANE];
#pragma unroll
    for (unsigned i = 0; i < PAIRS_A_LANE; i++) {
        const unsigned at = lane + i * LANES;
        x[i] = make_float2(0.0f, 0.0f);
        if (at < hidden / 2) {
            const float2 a = __half22float2(word[at]), b = __half22float2(place[at]);
            x[i] = make_float2(a.x + b.x, a.y + b.y);
        }
    }
    normalise(reinterpret_cast<half2*>(out + static_cast<size_t>(token) * hidden), x,
              reinterpret_cast<const float2*>(scale), reinterpret_cast<const float2*>(shift), lane, hidden, epsilon);
}

// state[token] = normalised (state[token] + added[token]).
// Grid: tokens / WARPS, rounded up.
extern "C" __global__ void __launch_bounds__(THREADS)
    add_norm(half* state, const half* added, const float* scale, const float* shift, unsigned tokens, unsigned hidden,
             float epsilon) {
    const unsigned lane = threadIdx.x % LANES;
    const unsigned token = blockIdx.x * WARPS + threadIdx.x / LANES;
    if (token >= tokens) return;
    half2* row = reinterpret_cast<half2*>(state + static_cast<size_t>(token) * hidden);
    const half2* more = reinterpret_cast<const half2*>(added + static_cast<size_t>(token) * hidden);
    float2 x[PAIRS_A_LANE];
#pragma unroll
    for (unsigned i = 0; i < PAIRS_A_LANE; i++) {
        const unsigned at = lane + i * LANES;
        x[i] = make_float2(0.0f, 0.0f);
        if (at < hidden / 2) {
            const float2 a = __half22float2(row[at]), b = __half22float2(more[at]);
            x[i] = make_float2(a.x + b.x, a.y + b.y);
        }
    }
    normalise(row, x, reinterpret_cast<const float2*>(scale), reinterpret_cast<const float2*>(shift), lane, hidden,
              epsilon);
}

// Attention: softmax(scale * Q K^T) V for one head of one text, without writing the weights to memory. The softmax is
// rescaled whenever a tile of keys brings a new maximum (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018; Dao et al., "FlashAttention", 2022).

constexpr unsigned QUERIES_A_WARP = 16;
constexpr unsigned QUERIES = QUERIES_A_WARP * WARPS;
constexpr unsigned KEYS = 64;
// Stands for minus infinity, which would make NaN of a difference.
constexpr float LOWEST = -1.0e38f;

// Copies rows first .. first + KEYS of a head's keys or values into shared memory. Rows that the text does not have are
// zero: a weight of zero times what happens to be there might be NaN.
template <unsigned DIMS, unsigned STRIDE>
__device__ __forceinline__ void load_tile(half* tile, const half* from, size_t row_stride, unsigned first,
                                          unsigned length) {
    constexpr unsigned PIECES = DIMS / 8;  // of 16 bytes
    for (unsigned i = threadIdx.x; i < KEYS * PIECES; i += THREADS) {
        const unsigned key = i / PIECES, column = i % PIECES * 8;
        uint4 piece = make_uint4(0, 0, 0, 0);
        if (first + key < length) piece = *reinterpret_cast<const uint4*>(from + (first + key) * row_stride + column);
        *reinterpret_cast<uint4*>(tile + key * STRIDE + column) = piece;
    }
}

// Makes scores of a tile into weights, keeps maxima and sums, and gives the factors for what was summed before.
// s[n][0..2] belong to one query, s[n][2..4] to another; four lanes share a query.
__device__ __forceinline__ void soften(float (&s)[KEYS / 8][4], float (&highest)[2], float (&sum)[2],
                                       float (&factor)[2], unsigned first, unsigned pair, unsigned length,
                                       float scale_log2) {
    float top[2] = {highest[0], highest[1]};
#pragma unroll
    for (unsigned n = 0; n < KEYS / 8; n++) {
#pragma unroll
        for (unsigned c = 0; c < 4; c++) {
            const bool is_key = first + n * 8 + pair + c % 2 < length;
            s[n][c] = is_key ? s[n][c] * scale_log2 : LOWEST;
            top[c / 2] = fmaxf(top[c / 2], s[n][c]);
        }
    }
#pragma unroll
    for (unsigned q = 0; q < 2; q++) {
        top[q] = fmaxf(top[q], __shfl_xor_sync(ALL_LANES, top[q], 1));
        top[q] = fmaxf(top[q], __shfl_xor_sync(ALL_LANES, top[q], 2));
        factor[q] = exp2f(highest[q] - top[q]);
        highest[q] = top[q];
        sum[q] *= factor[q];
    }
#pragma unroll
    for (unsigned n = 0; n < KEYS / 8; n++) {
#pragma unroll
        for (unsigned c = 0; c < 4; c++) {
            s[n][c] = exp2f(s[n][c] - highest[c / 2]);
            sum[c / 2] += s[n][c];
        }
    }
}

// A row of qkv holds the token's query, key and value, hidden numbers each, the heads side by side.
template <unsigned DIMS>
__device__ __forceinline__ void attend(half* context, const half* qkv, const unsigned* starts, unsigned hidden,
                                       float scale_log2) {
    // Eight more than the numbers of a row: lanes that read the same column of eight rows hit different banks.
    constexpr unsigned STRIDE = DIMS + 8;
    __shared__ __align__(16) half keys[KEYS * STRIDE];
    __shared__ __align__(16) half values[KEYS * STRIDE];

    const unsigned start = starts[blockIdx.x], length = starts[blockIdx.x + 1] - start;
    if (blockIdx.z * QUERIES >= length) return;
    const unsigned lane = threadIdx.x % LANES, group = lane / 4, pair = lane % 4 * 2;
    const unsigned first_query = blockIdx.z * QUERIES + threadIdx.x / LANES * QUERIES_A_WARP;
    const size_t row_stride = 3 * static_cast<size_t>(hidden);
    const half* head = qkv + start * row_stride + blockIdx.y * DIMS;

    // The warp's queries, as the left side of the product. A warp whose queries are all past the end only loads.
    const unsigned queries[2] = {first_query + group, first_query + group + 8};
    unsigned q[DIMS / 16][4];
#pragma unroll
    for (unsigned k = 0; k < DIMS / 16; k++) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            const unsigned query = queries[i % 2], column = k * 16 + i / 2 * 8 + pair;
            q[k][i] = query < length ? *reinterpret_cast<const unsigned*>(head + query * row_stride + column) : 0;
        }
    }
    float out[DIMS / 8][4] = {};
    float highest[2] = {LOWEST, LOWEST}, sum[2] = {0.0f, 0.0f};

    for (unsigned first = 0; first < length; first += KEYS) {
        __syncthreads();  // the tile before has been read by all
        load_tile<DIMS, STRIDE>(keys, head + hidden, row_stride, first, length);
        load_tile<DIMS, STRIDE>(values, head + 2 * hidden, row_stride, first, length);
        __syncthreads();
        if (first_query >= length) continue;

        float s[KEYS / 8][4] = {};
#pragma unroll
        for (unsigned n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (unsigned k = 0; k < DIMS / 16; k++) {
                const half* key = keys + (n * 8 + group) * STRIDE + k * 16 + pair;
                const unsigned b[2] = {*reinterpret_cast<const unsigned*>(key),
                                       *reinterpret_cast<const unsigned*>(key + 8)};
                multiply_add(s[n], q[k], b);
            }
        }
        float factor[2];
        soften(s, highest, sum, factor, first, pair, length, scale_log2);
#pragma unroll
        for (unsigned n = 0; n < DIMS / 8; n++) {
#pragma unroll
            for (unsigned c = 0; c < 4; c++) out[n][c] *= factor[c / 2];
        }
        // A result of the first product is laid out as the left side of the second one needs it.
#pragma unroll
        for (unsigned k = 0; k < KEYS / 16; k++) {
            const unsigned weights[4] = {
                packed(__floats2half2_rn(s[2 * k][0], s[2 * k][1])),
                packed(__floats2half2_rn(s[2 * k][2], s[2 * k][3])),
                packed(__floats2half2_rn(s[2 * k + 1][0], s[2 * k + 1][1])),
                packed(__floats2half2_rn(s[2 * k + 1][2], s[2 * k + 1][3]))};
#pragma unroll
            for (unsigned n = 0; n < DIMS / 8; n++) {
                const half* value = values + (k * 16 + pair) * STRIDE + n * 8 + group;
                const unsigned b[2] = {packed(value[0], value[STRIDE]), packed(value[8 * STRIDE], value[9 * STRIDE])};
                multiply_add(out[n], weights, b);
            }
        }
    }
    if (first_query >= length) return;
#pragma unroll
    for (unsigned i = 0; i < 2; i++) {
        sum[i] += __shfl_xor_sync(ALL_LANES, sum[i], 1);
        sum[i] += __shfl_xor_sync(ALL_LANES, sum[i], 2);
        const float share = 1.0f / sum[i];
        if (queries[i] < length) {
            half* row = context + static_cast<size_t>(start + queries[i]) * hidden + blockIdx.y * DIMS;
#pragma unroll
            for (unsigned n = 0; n < DIMS / 8; n++) {
                *reinterpret_cast<half2*>(row + n * 8 + pair) =
                    __floats2half2_rn(out[n][2 * i] * share, out[n][2 * i + 1] * share);
            }
        }
    }
}

// context[token], columns of the head = attention of the token over its text.
// Grid: texts, heads, tokens of the longest text / QUERIES rounded up. scale_log2 = log2(e) / sqrt(numbers a head).
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_32(half* context, const half* qkv, const unsigned* starts, unsigned hidden, float scale_log2) {
    attend<32>(context, qkv, starts, hidden, scale_log2);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_64(half* context, const half* qkv, const unsigned* starts, unsigned hidden, float scale_log2) {
    attend<64>(context, qkv, starts, hidden, scale_log2);
}

// Pooling.

// Pairs of numbers a thread sums: rows of up to 128 threads * 4 pairs * 2 = 1024 numbers.
constexpr unsigned PAIRS_A_THREAD = 4;

// out[text] = the mean of the text's rows of state, or with first_only its first row, made of length one.
// Grid: texts.
extern "C" __global__ void __launch_bounds__(THREADS)
    pool(float* out, const half* state, const unsigned* starts, unsigned hidden, unsigned first_only) {
    __shared__ float of_warps[WARPS];
    const unsigned start = starts[blockIdx.x], end = starts[blockIdx.x + 1], pairs = hidden / 2;
    const unsigned used = first_only != 0 ? min(start + 1, end) : end;
    float2 sum[PAIRS_A_THREAD] = {};
    for (unsigned token = start; token < used; token++) {
        const half2* row = reinterpret_cast<const half2*>(state + static_cast<size_t>(token) * hidden);
#pragma unroll
        for (unsigned i = 0; i < PAIRS_A_THREAD; i++) {
            const unsigned at = threadIdx.x + i * THREADS;
            if (at < pairs) {
                const float2 x = __half22float2(row[at]);
                sum[i].x += x.x;
                sum[i].y += x.y;
            }
        }
    }
    // A mean and a sum differ in length only, and the length is made one.
    float squares = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < PAIRS_A_THREAD; i++) squares += sum[i].x * sum[i].x + sum[i].y * sum[i].y;
    squares = sum_of_warp(squares);
    if (threadIdx.x % LANES == 0) of_warps[threadIdx.x / LANES] = squares;
    __syncthreads();
    float total = 0.0f;
    for (unsigned warp = 0; warp < WARPS; warp++) total += of_warps[warp];
    const float factor = 1.0f / fmaxf(sqrtf(total), 1.0e-12f);
    float2* row = reinterpret_cast<float2*>(out + static_cast<size_t>(blockIdx.x) * hidden);
#pragma unroll
    for (unsigned i = 0; i < PAIRS_A_THREAD; i++) {
        const unsigned at = threadIdx.x + i * THREADS;
        if (at < pairs) row[at] = make_float2(sum[i].x * factor, sum[i].y * factor);
    }
}
