/* SPDX-License-Identifier: MIT */
/*
 * Sized structs: every one begins with uint32_t struct_size, so the first four bytes are all that is read
 * before the size is known. Structs are copied as bytes; they hold no padding that matters.
 */
#include "struct_copy.h"

#include <string.h>

#include "error.h"

#define LEAST_SIZE 8 /* struct_size and one field: less is no struct of ours */

static llrt_status read_size(const void *from, const char *what, size_t *size, llrt_error *err)
{
    uint32_t n;
    memcpy(&n, from, sizeof n);
    *size = n;
    if (n >= LEAST_SIZE) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "struct_size",
                            "%s: struct_size is %u, expected its sizeof (call its init function)",
                            what, n);
}

llrt_status llrti_struct_copy_in(void *to, size_t to_size, const void *from, const char *what,
                                 llrt_error *err)
{
    size_t size;
    LLRTI_TRY(read_size(from, what, &size, err));
    for (size_t i = to_size; i < size; i++) {
        if (((const unsigned char *)from)[i] != 0) {
            return llrti_fail_field(err, LLRT_ERR_VERSION, "struct_size",
                                    "%s has %zu bytes, this library knows %zu, and a field beyond "
                                    "is set",
                                    what, size, to_size);
        }
    }
    const uint32_t own = (uint32_t)to_size;
    memcpy(to, from, size < to_size ? size : to_size);
    memcpy(to, &own, sizeof own);
    return LLRT_OK;
}

llrt_status llrti_struct_copy_out(void *to, const void *from, size_t from_size, const char *what,
                                  llrt_error *err)
{
    size_t size;
    LLRTI_TRY(read_size(to, what, &size, err));
    llrti_struct_copy_init(to, size, from, from_size);
    return LLRT_OK;
}

void llrti_struct_copy_init(void *to, size_t to_size, const void *from, size_t from_size)
{
    if (!to || to_size < sizeof(uint32_t)) return;
    const size_t n = to_size < from_size ? to_size : from_size;
    const uint32_t size = to_size > UINT32_MAX ? UINT32_MAX : (uint32_t)to_size;
    memcpy(to, from, n);
    if (to_size > n) memset((char *)to + n, 0, to_size - n);
    memcpy(to, &size, sizeof size);
}
