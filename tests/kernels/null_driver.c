/* NVIDIA's driver where there is none: it loads, and tells whoever asks that there is no device.

   cuDNN looks up the driver's functions when it is loaded, and needs none of them to plan for a device that is only
   described. It complains of every function that it does not find, hence the list. */

#include <string.h>

enum { SUCCESS = 0, NO_DEVICE = 100, CUDA_13_2 = 13020 };

typedef int Result;

#define ABSENT(name) Result name(void) { return NO_DEVICE; }

ABSENT(cuCtxGetCurrent)
ABSENT(cuCtxGetLimit)
ABSENT(cuCtxPopCurrent)
ABSENT(cuCtxPushCurrent)
ABSENT(cuDeviceGet)
ABSENT(cuInit)
ABSENT(cuKernelGetAttribute)
ABSENT(cuKernelGetFunction)
ABSENT(cuKernelSetAttribute)
ABSENT(cuLaunchCooperativeKernel)
ABSENT(cuLaunchKernel)
ABSENT(cuLaunchKernelEx)
ABSENT(cuLibraryGetKernel)
ABSENT(cuLibraryLoadData)
ABSENT(cuLibraryLoadFromFile)
ABSENT(cuLibraryUnload)
ABSENT(cuLinkAddData)
ABSENT(cuLinkComplete)
ABSENT(cuLinkCreate)
ABSENT(cuLinkDestroy)
ABSENT(cuModuleGetFunction)
ABSENT(cuModuleLoadData)
ABSENT(cuModuleUnload)
ABSENT(cuOccupancyMaxPotentialClusterSize)
ABSENT(cuStreamGetCtx)
ABSENT(cuTensorMapEncodeIm2col)
ABSENT(cuTensorMapEncodeTiled)

Result cuDriverGetVersion(int *version) {
    *version = CUDA_13_2;
    return SUCCESS;
}

Result cuDeviceGetCount(int *count) {
    *count = 0;
    return NO_DEVICE;
}

Result cuGetErrorName(Result error, const char **text) {
    (void)error;
    *text = "CUDA_ERROR_NO_DEVICE";
    return SUCCESS;
}

Result cuGetErrorString(Result error, const char **text) {
    (void)error;
    *text = "no CUDA-capable device is detected";
    return SUCCESS;
}

Result cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long flags, int *status) {
    (void)version;
    (void)flags;
    static const struct {
        const char *name;
        void *function;
    } present[] = {
        {"cuDriverGetVersion", (void *)cuDriverGetVersion}, {"cuDeviceGetCount", (void *)cuDeviceGetCount},
        {"cuGetErrorName", (void *)cuGetErrorName},         {"cuGetErrorString", (void *)cuGetErrorString},
        {"cuGetProcAddress", (void *)cuGetProcAddress_v2},
    };
    void *function = (void *)cuInit;
    for (unsigned i = 0; i < sizeof present / sizeof *present; i++)
        if (!strcmp(name, present[i].name)) function = present[i].function;
    *found = function;
    if (status) *status = 0;
    return SUCCESS;
}

Result cuGetProcAddress(const char *name, void **found, int version, unsigned long flags) {
    return cuGetProcAddress_v2(name, found, version, flags, 0);
}
