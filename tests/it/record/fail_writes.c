// Preloaded into k6sync: while the file that FAIL_CONTROL names is there, writes to files fail, as on a full or a broken
// disk. It holds two numbers: the errno, and how many writes succeed before. Pipes and sockets do not count.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static long count;

static int fails(int fd) {
    struct stat file;
    const char *control = getenv("FAIL_CONTROL");
    if (control == NULL || fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return 0;
    int error;
    long skip;
    FILE *text = fopen(control, "r");
    if (text == NULL) {
        count = 0;
        return 0;
    }
    int read = fscanf(text, "%d %ld", &error, &skip);
    fclose(text);
    if (read != 2 || __sync_add_and_fetch(&count, 1) <= skip) return 0;
    errno = error;
    return 1;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return fails(fd) ? -1 : real(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    return fails(fd) ? -1 : real(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return fails(fd) ? -1 : real(fd, data, size);
}

int ftruncate64(int fd, off64_t size) {
    int (*real)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    return fails(fd) ? -1 : real(fd, size);
}

int ftruncate(int fd, off_t size) {
    int (*real)(int, off_t) = dlsym(RTLD_NEXT, "ftruncate");
    return fails(fd) ? -1 : real(fd, size);
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    return fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    return fails(fd) ? -1 : real(fd);
}
