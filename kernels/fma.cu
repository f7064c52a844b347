// Multiply-adds in registers: what arithmetic alone can reach.

// Sums that do not depend on each other: enough to fill the pipeline of one multiprocessor's part with one warp.
constexpr int SUMS = 16;
// Turns of the loop that are written out, so that counting them costs next to nothing.
constexpr int UNROLLED = 8;

// Each thread does 2 * SUMS * UNROLLED * rounds operations; all sums approach addend / (1 - factor).
// The total is never negative, which the compiler cannot know.
template <typename T>
__device__ void multiply_add(T* out, T factor, T addend, int rounds)
{
    T sums[SUMS];
#pragma unroll
    for (int j = 0; j < SUMS; ++j) {
        sums[j] = static_cast<T>(threadIdx.x + j);
    }
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int turn = 0; turn < UNROLLED; ++turn) {
#pragma unroll
            for (int j = 0; j < SUMS; ++j) {
                sums[j] = fma(sums[j], factor, addend);
            }
        }
    }
    T total = 0;
#pragma unroll
    for (int j = 0; j < SUMS; ++j) {
        total += sums[j];
    }
    if (total < 0) {
        *out = total;
    }
}

extern "C" __global__ void fma_fp32(float* out, float factor, float addend, int rounds)
{
    multiply_add(out, factor, addend, rounds);
}

extern "C" __global__ void fma_fp64(double* out, double factor, double addend, int rounds)
{
    multiply_add(out, factor, addend, rounds);
}
