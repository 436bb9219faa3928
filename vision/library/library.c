#include "vision/library/library.h"

#include <dlfcn.h>

tern_status tn_library_open(void **handle, const char *soname, tern_error *err) {
    *handle = dlopen(soname, RTLD_NOW);
    if (*handle) return TERN_OK;
    const char *why = dlerror();
    return tn_fail(err, TERN_UNSUPPORTED, "%s can not be loaded (%.200s); install it, or rebuild", soname,
                   why ? why : "?");
}

tern_status tn_library_find(void *handle, const char *soname, const tn_library_function *functions, size_t count,
                            void *out, tern_error *err) {
    for (size_t i = 0; i < count; i++) {
        void *function = dlsym(handle, functions[i].name);
        if (!function)
            return tn_fail(err, TERN_UNSUPPORTED, "%s has no function %s; rebuild tern with the library that is there",
                           soname, functions[i].name);
        memcpy((char *)out + functions[i].offset, &function, sizeof function);
    }
    return TERN_OK;
}

tern_status tn_library_load(const char *soname, const tn_library_function *functions, size_t count, void *out,
                            tern_error *err) {
    void *handle;
    TN_TRY(tn_library_open(&handle, soname, err));
    return tn_library_find(handle, soname, functions, count, out, err);
}
