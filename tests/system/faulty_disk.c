/* Preloaded: while the file $FAULTY_DISK_FULL is there, the disk below $FAULTY_DISK is full.
 *
 * It is one that copies on write, where not even what was there before can be written over.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int below(const char *path)
{
    const char *directory = getenv("FAULTY_DISK");
    size_t length = directory ? strlen(directory) : 0;
    return length && strncmp(path, directory, length) == 0 && path[length] == '/';
}

static int full(void)
{
    const char *flag = getenv("FAULTY_DISK_FULL");
    int kept = errno, there = flag && access(flag, F_OK) == 0;
    errno = kept;
    return there;
}

static int refused(int file)
{
    char link[64], path[PATH_MAX];
    if (!full())
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    if (!below(path))
        return 0;
    errno = ENOSPC;
    return 1;
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

static int make(const char *name, const char *path, int flags, mode_t mode)
{
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    char whole[PATH_MAX] = {0};
    if (flags & O_CREAT && access(path, F_OK) != 0 && full()) {
        if (path[0] != '/' && getcwd(whole, sizeof whole - 2))
            strcat(whole, "/");
        strncat(whole, path, sizeof whole - strlen(whole) - 1);
        if (below(whole)) {
            errno = ENOSPC;
            return -1;
        }
    }
    return next(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return make("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return make("open64", path, flags, mode);
}
