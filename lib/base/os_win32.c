/* SPDX-License-Identifier: MIT */
/*
 * os.h for Windows 8 and later. Stateless: every function works on what it is given. Paths
 * are UTF-8 and are turned into UTF-16 in a buffer on the stack, so opening a file allocates
 * nothing. Locks are SRWLOCK and CONDITION_VARIABLE, which need no resources. There are no signals
 * to block, and no fork: the process id never changes.
 */
#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <io.h>
#include <limits.h>
#include <malloc.h>
#include <process.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "os.h"

#include "error.h"

#define MAX_PATH_UNITS 2048

_Static_assert(sizeof(SRWLOCK) == sizeof(llrti_mutex), "os.h declares the size of a lock");
_Static_assert(sizeof(CONDITION_VARIABLE) == sizeof(llrti_cond), "os.h declares the size");

static const char *describe(DWORD code)
{
    switch (code) {
    case ERROR_FILE_NOT_FOUND:
        return "no such file";
    case ERROR_PATH_NOT_FOUND:
        return "a part of the path does not exist";
    case ERROR_ACCESS_DENIED:
        return "permission denied";
    case ERROR_SHARING_VIOLATION:
        return "another process holds the file open";
    case ERROR_TOO_MANY_OPEN_FILES:
        return "too many open files";
    case ERROR_DISK_FULL:
        return "no space left on the device";
    case ERROR_HANDLE_EOF:
        return "the file ends early";
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
        return "no memory";
    default:
        return "system error";
    }
}

static bool is_missing(DWORD code)
{
    return code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND;
}

static bool widen(const char *path, wchar_t *out)
{
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, out, MAX_PATH_UNITS) > 0;
}

static HANDLE handle_of(intptr_t handle)
{
    return (HANDLE)handle;
}

/* ---- threads ---- */

bool llrti_mutex_init(llrti_mutex *mutex)
{
    InitializeSRWLock((SRWLOCK *)(void *)mutex);
    return true;
}

void llrti_mutex_free(llrti_mutex *mutex)
{
    (void)mutex;
}

void llrti_mutex_lock(llrti_mutex *mutex)
{
    AcquireSRWLockExclusive((SRWLOCK *)(void *)mutex);
}

void llrti_mutex_unlock(llrti_mutex *mutex)
{
    ReleaseSRWLockExclusive((SRWLOCK *)(void *)mutex);
}

bool llrti_cond_init(llrti_cond *cond)
{
    InitializeConditionVariable((CONDITION_VARIABLE *)(void *)cond);
    return true;
}

void llrti_cond_free(llrti_cond *cond)
{
    (void)cond;
}

void llrti_cond_wait(llrti_cond *cond, llrti_mutex *mutex)
{
    SleepConditionVariableSRW((CONDITION_VARIABLE *)(void *)cond, (SRWLOCK *)(void *)mutex,
                              INFINITE, 0);
}

bool llrti_cond_wait_for(llrti_cond *cond, llrti_mutex *mutex, uint64_t timeout_ns)
{
    const uint64_t ms = timeout_ns / 1000000u + (timeout_ns % 1000000u != 0);
    return SleepConditionVariableSRW((CONDITION_VARIABLE *)(void *)cond, (SRWLOCK *)(void *)mutex,
                                     ms < INFINITE ? (DWORD)ms : INFINITE - 1, 0) != 0;
}

void llrti_cond_signal(llrti_cond *cond)
{
    WakeConditionVariable((CONDITION_VARIABLE *)(void *)cond);
}

void llrti_cond_broadcast(llrti_cond *cond)
{
    WakeAllConditionVariable((CONDITION_VARIABLE *)(void *)cond);
}

typedef struct thread_start {
    void (*run)(void *arg);
    void *arg;
    HANDLE picked_up; /* an event */
} thread_start;

static unsigned __stdcall thread_main(void *arg)
{
    const thread_start start = *(const thread_start *)arg;
    SetEvent(start.picked_up); /* the creator's stack is not touched from here on */
    start.run(start.arg);
    return 0;
}

/* Names of threads came with Windows 10, so the function is looked up. */
static void name_thread(HANDLE thread, const char *name)
{
    typedef HRESULT(WINAPI * set_description)(HANDLE, PCWSTR);
    union {
        FARPROC any;
        set_description set;
    } function;
    wchar_t wide[32];
    const HMODULE kernel = GetModuleHandleW(L"kernel32.dll");
    if (!name || !kernel) return;
    function.any = GetProcAddress(kernel, "SetThreadDescription");
    if (!function.any || MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, 32) <= 0) return;
    (void)function.set(thread, wide);
}

bool llrti_thread_create(llrti_thread *thread, void (*run)(void *arg), void *arg, const char *name)
{
    thread_start start = {run, arg, CreateEventW(NULL, TRUE, FALSE, NULL)};
    if (!start.picked_up) return false;
    const uintptr_t handle = _beginthreadex(NULL, 0, thread_main, &start, 0, NULL);
    if (handle) {
        WaitForSingleObject(start.picked_up, INFINITE);
        thread->h = (void *)handle;
        name_thread((HANDLE)handle, name);
    }
    CloseHandle(start.picked_up);
    return handle != 0;
}

void llrti_thread_join(llrti_thread *thread)
{
    WaitForSingleObject((HANDLE)thread->h, INFINITE);
    CloseHandle((HANDLE)thread->h);
    thread->h = NULL;
}

void llrti_thread_yield(void)
{
    SwitchToThread();
}

void llrti_cpu_relax(void)
{
    YieldProcessor();
}

uint32_t llrti_cpu_count(void)
{
    DWORD_PTR process = 0, system = 0;
    uint32_t n = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system)) {
        for (; process; process &= process - 1) n++;
    }
    return n ? n : 1;
}

uint64_t llrti_process_id(void)
{
    return GetCurrentProcessId();
}

uint64_t llrti_clock_ns(void)
{
    LARGE_INTEGER frequency, now;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&now);
    const uint64_t ticks = (uint64_t)now.QuadPart, hz = (uint64_t)frequency.QuadPart;
    return ticks / hz * 1000000000u + ticks % hz * 1000000000u / hz;
}

void llrti_memory_info(uint64_t *free_bytes, uint64_t *total_bytes)
{
    MEMORYSTATUSEX info;
    info.dwLength = sizeof info;
    *free_bytes = *total_bytes = 0;
    if (!GlobalMemoryStatusEx(&info)) return;
    *free_bytes = info.ullAvailPhys;
    *total_bytes = info.ullTotalPhys;
}

/* ---- reading files ---- */

static llrt_status file_size(HANDLE handle, uint64_t *size, llrt_error *err)
{
    LARGE_INTEGER value;
    if (GetFileType(handle) != FILE_TYPE_DISK) {
        return llrti_fail(err, LLRT_ERR_IO, "found a device or pipe, expected a regular file");
    }
    if (!GetFileSizeEx(handle, &value)) {
        return llrti_fail(err, LLRT_ERR_IO, "can't get the file's size: %s",
                          describe(GetLastError()));
    }
    *size = (uint64_t)value.QuadPart;
    return LLRT_OK;
}

llrt_status llrti_file_open(const char *path, llrti_file *out, uint64_t *size, llrt_error *err)
{
    wchar_t wide[MAX_PATH_UNITS];
    out->handle = -1;
    *size = 0;
    llrt_status status;
    if (!widen(path, wide)) {
        status = llrti_fail(err, LLRT_ERR_NOT_FOUND,
                            "can't open the file: the path is too long or not UTF-8");
    } else {
        const HANDLE handle =
            CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                        NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
        if (handle == INVALID_HANDLE_VALUE) {
            const DWORD code = GetLastError();
            status = llrti_fail(err, is_missing(code) ? LLRT_ERR_NOT_FOUND : LLRT_ERR_IO,
                                "can't open the file: %s", describe(code));
        } else {
            status = file_size(handle, size, err);
            if (status < 0) {
                CloseHandle(handle);
            } else {
                out->handle = (intptr_t)handle;
            }
        }
    }
    if (status < 0) llrti_error_file(err, path);
    return status;
}

llrt_status llrti_file_read_at(llrti_file file, uint64_t offset, void *to, size_t n,
                               llrt_error *err)
{
    size_t done = 0;
    while (done < n) {
        const uint64_t at = offset + done;
        const DWORD want = n - done < ((size_t)1 << 30) ? (DWORD)(n - done) : (DWORD)1 << 30;
        OVERLAPPED place;
        memset(&place, 0, sizeof place);
        place.Offset = (DWORD)at;
        place.OffsetHigh = (DWORD)(at >> 32);
        DWORD got = 0;
        const BOOL ok = ReadFile(handle_of(file.handle), (char *)to + done, want, &got, &place);
        if (!ok || got == 0) {
            const DWORD code = ok ? ERROR_HANDLE_EOF : GetLastError();
            const llrt_status status =
                llrti_fail(err, LLRT_ERR_IO, "found %llu bytes, expected %llu: %s",
                           (unsigned long long)done, (unsigned long long)n, describe(code));
            llrti_error_position(err, (int64_t)at);
            return status;
        }
        done += got;
    }
    return LLRT_OK;
}

void llrti_file_close(llrti_file *file)
{
    if (file->handle != -1) CloseHandle(handle_of(file->handle));
    file->handle = -1;
}

/* A second handle on the same file: reading through the descriptor's own would move its
 * position. */
llrt_status llrti_file_borrow(int fd, llrti_file *out, uint64_t *size, llrt_error *err)
{
    out->handle = -1;
    *size = 0;
    const intptr_t lent = _get_osfhandle(fd);
    HANDLE handle = INVALID_HANDLE_VALUE;
    if (lent != -1) {
        handle = ReOpenFile(handle_of(lent), GENERIC_READ,
                            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, 0);
    }
    if (handle == INVALID_HANDLE_VALUE) {
        return llrti_fail(err, LLRT_ERR_IO, "can't read from descriptor %d", fd);
    }
    const llrt_status status = file_size(handle, size, err);
    if (status < 0) {
        CloseHandle(handle);
        return status;
    }
    out->handle = (intptr_t)handle;
    return LLRT_OK;
}

void llrti_file_return(llrti_file *file)
{
    llrti_file_close(file);
}

llrt_status llrti_file_map(llrti_file file, uint64_t size, const void **out, llrt_error *err)
{
    *out = NULL;
    if (size == 0 || size > SIZE_MAX) {
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "can't map a file of %llu bytes",
                          (unsigned long long)size);
    }
    const HANDLE mapping =
        CreateFileMappingW(handle_of(file.handle), NULL, PAGE_READONLY, 0, 0, NULL);
    if (mapping) *out = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    const DWORD code = GetLastError();
    if (mapping) CloseHandle(mapping); /* the view keeps it alive */
    if (*out) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_IO, "mapping %llu bytes failed: %s", (unsigned long long)size,
                      describe(code));
}

void llrti_file_unmap(const void *base, uint64_t size)
{
    (void)size;
    if (base) UnmapViewOfFile(base);
}

bool llrti_path_is_dir(const char *path)
{
    wchar_t wide[MAX_PATH_UNITS];
    if (!widen(path, wide)) return false;
    const DWORD attributes = GetFileAttributesW(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
}

/* ---- writing files ---- */

llrt_status llrti_out_file_open(const char *path, llrti_out_file *out, llrt_error *err)
{
    wchar_t wide[MAX_PATH_UNITS];
    out->handle = -1;
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof out->path) {
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a path of %llu bytes, expected 1 to %llu",
                          (unsigned long long)n, (unsigned long long)sizeof out->path - 1);
    }
    memcpy(out->path, path, n + 1);
    HANDLE handle = INVALID_HANDLE_VALUE;
    DWORD code = ERROR_PATH_NOT_FOUND;
    uint32_t salt = (uint32_t)GetCurrentProcessId() * 2654435761u ^ (uint32_t)llrti_clock_ns();
    for (int attempt = 0; attempt < 64 && handle == INVALID_HANDLE_VALUE; attempt++) {
        snprintf(out->temporary, sizeof out->temporary, "%s.%08x.tmp", path, (unsigned)salt++);
        if (!widen(out->temporary, wide)) break;
        handle = CreateFileW(wide, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
        code = GetLastError();
        if (handle == INVALID_HANDLE_VALUE && code != ERROR_FILE_EXISTS) break;
    }
    if (handle == INVALID_HANDLE_VALUE) {
        const llrt_status status =
            llrti_fail(err, is_missing(code) ? LLRT_ERR_NOT_FOUND : LLRT_ERR_IO,
                       "can't create the file: %s", describe(code));
        llrti_error_file(err, path);
        return status;
    }
    out->handle = (intptr_t)handle;
    return LLRT_OK;
}

static llrt_status out_file_fail(const llrti_out_file *file, DWORD code, const char *what,
                                 llrt_error *err)
{
    const llrt_status status = llrti_fail(err, LLRT_ERR_IO, "%s failed: %s", what, describe(code));
    llrti_error_file(err, file->path);
    return status;
}

llrt_status llrti_out_file_write(llrti_out_file *file, const void *data, size_t n, llrt_error *err)
{
    size_t done = 0;
    while (done < n) {
        const DWORD want = n - done < ((size_t)1 << 30) ? (DWORD)(n - done) : (DWORD)1 << 30;
        DWORD put = 0;
        if (!WriteFile(handle_of(file->handle), (const char *)data + done, want, &put, NULL)) {
            return out_file_fail(file, GetLastError(), "writing", err);
        }
        if (put == 0) return out_file_fail(file, ERROR_DISK_FULL, "writing", err);
        done += put;
    }
    return LLRT_OK;
}

static void remove_temporary(const llrti_out_file *file)
{
    wchar_t wide[MAX_PATH_UNITS];
    if (widen(file->temporary, wide)) DeleteFileW(wide);
}

llrt_status llrti_out_file_commit(llrti_out_file *file, llrt_error *err)
{
    wchar_t from[MAX_PATH_UNITS], to[MAX_PATH_UNITS];
    const HANDLE handle = handle_of(file->handle);
    DWORD code = FlushFileBuffers(handle) ? 0 : GetLastError();
    if (!CloseHandle(handle) && !code) code = GetLastError();
    file->handle = -1;
    if (!code && (!widen(file->temporary, from) || !widen(file->path, to))) {
        code = ERROR_PATH_NOT_FOUND;
    }
    if (!code && !MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING)) code = GetLastError();
    if (code) {
        remove_temporary(file);
        return out_file_fail(file, code, "finishing the file", err);
    }
    return LLRT_OK;
}

void llrti_out_file_discard(llrti_out_file *file)
{
    if (file->handle == -1) return;
    CloseHandle(handle_of(file->handle));
    remove_temporary(file);
    file->handle = -1;
}

/* ---- shared libraries, memory ---- */

llrt_status llrti_library_open(const char *path, void **out, llrt_error *err)
{
    wchar_t wide[MAX_PATH_UNITS];
    *out = NULL;
    if (widen(path, wide)) *out = (void *)LoadLibraryW(wide);
    if (*out) return LLRT_OK;
    const llrt_status status =
        llrti_fail(err, LLRT_ERR_NOT_FOUND, "can't load the library: %s", describe(GetLastError()));
    llrti_error_file(err, path);
    return status;
}

void *llrti_library_symbol(void *library, const char *name)
{
    union {
        FARPROC function;
        void *data;
    } symbol;
    symbol.data = NULL;
    symbol.function = GetProcAddress((HMODULE)library, name);
    return symbol.data;
}

void llrti_library_close(void *library)
{
    if (library) FreeLibrary((HMODULE)library);
}

llrt_status llrti_library_folder(char *out, size_t capacity, llrt_error *err)
{
    static const char here = 0; /* lies in this library */
    HMODULE module;
    wchar_t wide[MAX_PATH_UNITS];
    if (capacity > 0 && capacity <= INT_MAX &&
        GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                               GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                           (const wchar_t *)(const void *)&here, &module)) {
        const DWORD n = GetModuleFileNameW(module, wide, MAX_PATH_UNITS);
        wchar_t *const slash = n && n < MAX_PATH_UNITS ? wcsrchr(wide, L'\\') : NULL;
        if (slash) {
            *slash = 0;
            if (WideCharToMultiByte(CP_UTF8, 0, wide, -1, out, (int)capacity, NULL, NULL) > 0)
                return LLRT_OK;
        }
    }
    return llrti_fail(err, LLRT_ERR_NOT_FOUND, "can't tell which folder the library lies in");
}

llrt_status llrti_folder_each(const char *path, int (*each)(void *ctx, const char *name), void *ctx,
                              llrt_error *err)
{
    wchar_t wide[MAX_PATH_UNITS];
    WIN32_FIND_DATAW found;
    char name[4 * MAX_PATH];
    HANDLE handle = INVALID_HANDLE_VALUE;
    if (widen(path, wide) && wcslen(wide) + 3 < MAX_PATH_UNITS) {
        wcscat(wide, L"\\*");
        handle = FindFirstFileW(wide, &found);
    }
    if (handle == INVALID_HANDLE_VALUE) {
        llrti_fail(err, LLRT_ERR_NOT_FOUND, "can't list the folder");
        llrti_error_file(err, path);
        return LLRT_ERR_NOT_FOUND;
    }
    do {
        if (WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name, (int)sizeof name, NULL,
                                NULL) > 0 &&
            each(ctx, name) != 0)
            break;
    } while (FindNextFileW(handle, &found));
    FindClose(handle);
    return LLRT_OK;
}

void *llrti_heap_alloc(size_t size, size_t align)
{
    return _aligned_malloc(size ? size : 1, align);
}

void llrti_heap_free(void *ptr)
{
    _aligned_free(ptr);
}

/* Large pages need a privilege here, so bulk memory is ordinary memory with the alignment asked
 * for. */
void *llrti_pages_alloc(size_t size, size_t align)
{
    return _aligned_malloc(size ? size : 1, align);
}

void llrti_pages_free(void *ptr, size_t size, size_t align)
{
    (void)size, (void)align;
    _aligned_free(ptr);
}

#endif
