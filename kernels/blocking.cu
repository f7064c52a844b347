// Holds a stream until the host has queued behind it all that is to be timed.
//
// The host numbers its turns. It cannot set a flag back for the next turn while the kernel of this one may not have
// seen it, so it only ever counts up.

__device__ unsigned long long nanoseconds()
{
    unsigned long long now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}

// One thread. `released` and `gave_up` are page-locked memory of the host, which a volatile access reaches every time.
// A host that waits for room in the launch queue never releases the stream, and the queue never empties: after
// `patience` nanoseconds the kernel ends all the same, and says which turn it was.
extern "C" __global__ void hold(const volatile int* released, volatile int* gave_up, int turn, long long patience)
{
    const unsigned long long begin = nanoseconds();
    while (*released < turn) {
        if (nanoseconds() - begin > static_cast<unsigned long long>(patience)) {
            *gave_up = turn;
            __threadfence_system();
            return;
        }
        // Asking without a pause would load the bus over which the host queues its work.
        __nanosleep(200);
    }
}
