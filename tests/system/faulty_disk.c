/* Preloaded: while the file $FAULTY_DISK_FULL is there, the disk below $FAULTY_DISK is full.
 *
 * It is one that copies on write, where not even what was there before can be written over; names
 * still fit.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refused(int file)
{
    const char *flag = getenv("FAULTY_DISK_FULL"), *folder = getenv("FAULTY_DISK");
    char link[64], path[PATH_MAX];
    int kept = errno;
    if (flag && folder && access(flag, F_OK) == 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t size = readlink(link, path, sizeof path - 1);
        path[size > 0 ? size : 0] = 0;
        if (strncmp(path, folder, strlen(folder)) == 0 && path[strlen(folder)] == '/') {
            errno = ENOSPC;
            return 1;
        }
    }
    errno = kept;
    return 0;
}

ssize_t write(int file, const void *data, size_t size)
{
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return refused(file) ? -1 : next(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return refused(file) ? -1 : next(file, data, size, offset);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    return pwrite64(file, data, size, offset);
}

int ftruncate64(int file, off64_t size)
{
    int (*next)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    return size && refused(file) ? -1 : next(file, size);
}
