// How many cycles the multiprocessors made, and in how many nanoseconds, between two places of a stream.
//
// Every multiprocessor counts its own cycles, and a block cannot choose where it runs. So there are several blocks, each
// multiprocessor keeps its own account, and only one that was met at both places adds to it.

__device__ unsigned int multiprocessor()
{
    unsigned int id;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
    return id;
}

__device__ long long nanoseconds()
{
    long long now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}

// Blocks of one thread. `met` has one element for each multiprocessor, `begun` two: cycles and nanoseconds.
// Of blocks on the same multiprocessor the first one counts.
extern "C" __global__ void begin_cycles(int turn, int* met, long long* begun, unsigned int count)
{
    const unsigned int id = multiprocessor();
    if (id < count && atomicExch(&met[id], turn) != turn) {
        begun[2 * id] = clock64();
        begun[2 * id + 1] = nanoseconds();
    }
}

// Adds to `sums` what has gone by since `begin_cycles` of the same turn.
extern "C" __global__ void end_cycles(int turn, int* met, const long long* begun, long long* sums, unsigned int count)
{
    const unsigned int id = multiprocessor();
    if (id < count && atomicCAS(&met[id], turn, -turn) == turn) {
        sums[2 * id] += clock64() - begun[2 * id];
        sums[2 * id + 1] += nanoseconds() - begun[2 * id + 1];
    }
}
