// How quickly memory is read and written: the triad of STREAM (McCalpin, 1995), and reading alone.
//
// `count` is in vectors of four float32.

__device__ long long first()
{
    return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ long long stride()
{
    return static_cast<long long>(gridDim.x) * blockDim.x;
}

// Values between 1 and 2 that differ: some memories are quicker with what can be compressed.
__device__ float value(unsigned int index)
{
    return 1.0f + static_cast<float>((index * 2654435761u) >> 8) * 0x1p-24f;
}

extern "C" __global__ void fill(float4* values, long long count)
{
    for (long long i = first(); i < count; i += stride()) {
        const unsigned int index = 4u * static_cast<unsigned int>(i);
        values[i] = make_float4(value(index), value(index + 1), value(index + 2), value(index + 3));
    }
}

extern "C" __global__ void triad(float4* a, const float4* b, const float4* c, float scale, long long count)
{
#pragma unroll 4
    for (long long i = first(); i < count; i += stride()) {
        const float4 x = b[i];
        const float4 y = c[i];
        a[i] = make_float4(x.x + scale * y.x, x.y + scale * y.y, x.z + scale * y.z, x.w + scale * y.w);
    }
}

// The sum is never negative, which the compiler cannot know: it must read everything, and nothing is written.
extern "C" __global__ void read_only(const float4* values, float* out, long long count)
{
    float sum = 0.0f;
#pragma unroll 4
    for (long long i = first(); i < count; i += stride()) {
        const float4 x = values[i];
        sum += (x.x + x.y) + (x.z + x.w);
    }
    if (sum < 0.0f) {
        *out = sum;
    }
}
