/* LD_PRELOAD: system calls that a test makes fail. REFUSED=<call>, REFUSED_ERRNO=<number>, and for reading and writing
   REFUSED_PATH=<part of the file's path>, REFUSED_AFTER=<calls that succeed before>,
   REFUSED_TIMES=<calls that fail>. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

static int refused(const char *kind, int fd) {
    static int calls;
    const char *wanted = getenv("REFUSED"), *path = getenv("REFUSED_PATH"), *after = getenv("REFUSED_AFTER");
    const char *times = getenv("REFUSED_TIMES");
    char link[64], name[4096];
    if (!wanted || strcmp(wanted, kind)) return 0;
    if (path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(link, name, sizeof name - 1);
        if (size < 0) return 0;
        name[size] = 0;
        if (!strstr(name, path)) return 0;
        int call = __sync_add_and_fetch(&calls, 1) - (after ? atoi(after) : 0);
        if (call <= 0 || (times && call > atoi(times))) return 0;
    }
    errno = atoi(getenv("REFUSED_ERRNO"));
    return 1;
}

#define WRAP(name, kind, type, declared, given)                       \
    type name declared {                                              \
        if (refused(kind, fd)) return -1;                             \
        return ((type(*) declared)dlsym(RTLD_NEXT, #name)) given;     \
    }
WRAP(flock, "lock", int, (int fd, int operation), (fd, operation))
WRAP(fsync, "fsync", int, (int fd), (fd))
WRAP(read, "read", ssize_t, (int fd, void *to, size_t size), (fd, to, size))
WRAP(pread, "read", ssize_t, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
WRAP(pread64, "read", ssize_t, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
WRAP(preadv, "read", ssize_t, (int fd, const struct iovec *to, int n, off_t at), (fd, to, n, at))
WRAP(preadv64, "read", ssize_t, (int fd, const struct iovec *to, int n, off_t at), (fd, to, n, at))
WRAP(preadv2, "read", ssize_t, (int fd, const struct iovec *to, int n, off_t at, int how), (fd, to, n, at, how))
WRAP(preadv64v2, "read", ssize_t, (int fd, const struct iovec *to, int n, off_t at, int how), (fd, to, n, at, how))
WRAP(write, "write", ssize_t, (int fd, const void *from, size_t size), (fd, from, size))
WRAP(pwrite, "write", ssize_t, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
WRAP(pwrite64, "write", ssize_t, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
