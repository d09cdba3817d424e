// Preloaded into k6sync: kills the process at its n-th write to a file, before it, halfway or after it.
// KILL_AT is n; KILL_HOW is before, torn or after. Writes to pipes and sockets do not count.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef ssize_t at_fn(int, const void *, size_t, off64_t);
typedef ssize_t write_fn(int, const void *, size_t);

static long count;

// How many of `size` bytes are still to be written, and whether the process ends then.
static size_t reached(int fd, size_t size, int *ends) {
    struct stat file;
    *ends = 0;
    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return size;
    const char *at = getenv("KILL_AT"), *how = getenv("KILL_HOW");
    if (at == NULL || how == NULL || __sync_add_and_fetch(&count, 1) != atol(at)) return size;
    *ends = 1;
    if (strcmp(how, "before") == 0) return 0;
    return strcmp(how, "torn") == 0 ? size / 2 : size;
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static ssize_t write_at(const char *name, int fd, const void *data, size_t size, off64_t offset) {
    int ends;
    at_fn *real = (at_fn *)dlsym(RTLD_NEXT, name);
    size_t part = reached(fd, size, &ends);
    ssize_t written = part == 0 && ends ? 0 : real(fd, data, part, offset);
    if (ends) end();
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    return write_at("pwrite64", fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return write_at("pwrite", fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
    int ends;
    write_fn *real = (write_fn *)dlsym(RTLD_NEXT, "write");
    size_t part = reached(fd, size, &ends);
    ssize_t written = part == 0 && ends ? 0 : real(fd, data, part);
    if (ends) end();
    return written;
}
