/* Stands between a process and one of its directories, by LD_PRELOAD: writes down what is done to
 * the files in it, in order; fails a call on demand; pretends that the disk is small.
 *
 * Environment:
 *   FAULTS_DIR      the directory, absolute, as the process spells it
 *   FAULTS_RECORD   file to which the record is appended; absent: none is made
 *   FAULTS_CONTROL  file of one `struct control`, shared with whoever steers; absent: no faults
 *
 * A lock is held over each call and its entry, so the order of the record is that of the disk.
 * What is written through a mapping is not seen: SQLite's shared memory, which recovery makes anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, RENAME = 4, TRUNCATE = 8 };

/* As tests/faults/faulty_disk.py packs it. */
struct control {
    int64_t countdown; /* the call of `kinds` that fails: 1 is the next one; 0: none */
    int64_t kinds;
    int64_t error;
    int64_t fired; /* calls that were made to fail */
    int64_t quota; /* bytes that the files may have together; 0: any */
    int64_t used;
    int64_t calls; /* calls of `kinds` so far */
};

struct __attribute__((packed)) entry {
    uint8_t op;
    uint64_t inode;
    int64_t offset;
    uint32_t path_bytes;
    uint32_t data_bytes;
};

#define FDS 65536
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[PATH_MAX];
static size_t directory_bytes;
static int record = -1;
static struct control *control;
static unsigned char is_ours[FDS];

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int real_open(const char *path, int flags, mode_t mode) {
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    return real(path, flags, mode);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_DIR");
    if (!path) return;
    directory_bytes = strlen(path);
    memcpy(directory, path, directory_bytes + 1);
    if ((path = getenv("FAULTS_RECORD")))
        record = real_open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if ((path = getenv("FAULTS_CONTROL"))) {
        int fd = real_open(path, O_RDWR | O_CLOEXEC, 0);
        void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at != MAP_FAILED) control = at;
        close(fd);
    }
}

static int inside(const char *path) {
    return directory_bytes && path && !strncmp(path, directory, directory_bytes) &&
           (path[directory_bytes] == '/' || !path[directory_bytes]);
}

static int tracked(int fd) { return fd >= 0 && fd < FDS && is_ours[fd]; }

/* The path of a name in an opened directory. */
static const char *absolute(int at, const char *name, char *buffer) {
    if (at == AT_FDCWD || name[0] == '/') return name;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t n = readlink(link, buffer, PATH_MAX - 1);
    if (n < 0) return name;
    snprintf(buffer + n, PATH_MAX - n, "/%s", name);
    return buffer;
}

static void note(char op, uint64_t inode, int64_t offset, const char *path, const void *data, size_t bytes) {
    if (record < 0) return;
    struct entry entry = {op, inode, offset, path ? strlen(path) : 0, bytes};
    struct iovec parts[3] = {{&entry, sizeof entry}, {(void *)path, entry.path_bytes}, {(void *)data, bytes}};
    size_t all = sizeof entry + entry.path_bytes + bytes;
    if (writev(record, parts, 3) != (ssize_t)all) abort();
}

/* Tell whether this call is to fail, and set errno. */
static int fails(int kind) {
    if (!control || !(control->kinds & kind)) return 0;
    control->calls++;
    if (!control->countdown || --control->countdown) return 0;
    control->fired++;
    errno = (int)control->error;
    return 1;
}

static struct stat state(int fd) {
    struct stat found;
    memset(&found, 0, sizeof found);
    fstat(fd, &found);
    return found;
}

/* Count bytes that a file grows by; tell whether they do not fit. */
static int full(int64_t growth) {
    if (!control) return 0;
    if (control->quota && growth > 0 && control->used + growth > control->quota) {
        errno = ENOSPC;
        return 1;
    }
    control->used += growth;
    return 0;
}

static void forget(const char *path) {
    struct stat found;
    if (control && !lstat(path, &found) && S_ISREG(found.st_mode) && found.st_nlink == 1)
        control->used -= found.st_size;
}

static int opened(const char *path, int flags, mode_t mode) {
    if (!inside(path)) return real_open(path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat before;
    int was_there = !stat(path, &before);
    int fd = real_open(path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        is_ours[fd] = 1;
        if (!was_there) note('C', state(fd).st_ino, 0, path, NULL, 0);
        if (was_there && (flags & O_TRUNC)) {
            full(-before.st_size);
            note('T', before.st_ino, 0, NULL, NULL, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return opened(path, flags, mode);
}

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < FDS) is_ours[fd] = 0;
    return real(fd);
}

static ssize_t real_pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    return real(fd, data, bytes, offset);
}

static ssize_t written(int fd, const void *data, size_t bytes, off_t offset) {
    pthread_mutex_lock(&lock);
    ssize_t n = -1;
    struct stat before = state(fd);
    int64_t end = offset + (int64_t)bytes;
    int64_t growth = end > before.st_size ? end - before.st_size : 0;
    if (!fails(WRITE) && !full(growth)) {
        n = real_pwrite(fd, data, bytes, offset);
        if (n > 0) note('W', before.st_ino, offset, NULL, data, n);
    }
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    return tracked(fd) ? written(fd, data, bytes, offset) : real_pwrite(fd, data, bytes, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) {
    return pwrite(fd, data, bytes, offset);
}

ssize_t write(int fd, const void *data, size_t bytes) {
    REAL(write);
    if (!tracked(fd)) return real(fd, data, bytes);
    off_t offset = fcntl(fd, F_GETFL) & O_APPEND ? state(fd).st_size : lseek(fd, 0, SEEK_CUR);
    ssize_t n = written(fd, data, bytes, offset);
    if (n > 0) lseek(fd, offset + n, SEEK_SET);
    return n;
}

static int truncated(int fd, off_t size) {
    REAL(ftruncate);
    if (!tracked(fd)) return real(fd, size);
    pthread_mutex_lock(&lock);
    struct stat before = state(fd);
    int result = -1;
    if (!fails(TRUNCATE) && !full(size - before.st_size)) {
        result = real(fd, size);
        if (!result) note('T', before.st_ino, size, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncated(fd, size); }

/* A directory's sync is never made to fail here: SQLite does not look at what it says. */
static int synced(int fd, int (*real)(int)) {
    if (!tracked(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    struct stat found = state(fd);
    int is_file = S_ISREG(found.st_mode), result = -1;
    if (!is_file || !fails(SYNC)) {
        result = real(fd);
        if (!result) note(is_file ? 'S' : 'D', found.st_ino, 0, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) {
    REAL(fsync);
    return synced(fd, real);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return synced(fd, real);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (!inside(from)) return real(from, to);
    pthread_mutex_lock(&lock);
    int result = -1;
    if (!fails(RENAME)) {
        forget(to);
        result = real(from, to);
        if (!result) note('R', 0, 0, from, to, strlen(to));
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int unlinkat(int at, const char *name, int flags) {
    REAL(unlinkat);
    char buffer[PATH_MAX];
    const char *path = absolute(at, name, buffer);
    if (!inside(path)) return real(at, name, flags);
    pthread_mutex_lock(&lock);
    if (!flags) forget(path);
    int result = real(at, name, flags);
    if (!result) note(flags & AT_REMOVEDIR ? 'X' : 'U', 0, 0, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    if (!inside(path)) return real(path, mode);
    pthread_mutex_lock(&lock);
    int result = real(path, mode);
    struct stat found;
    if (!result && !stat(path, &found)) note('M', found.st_ino, 0, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int statvfs64(const char *path, struct statvfs64 *found) {
    REAL(statvfs64);
    int result = real(path, found);
    if (result || !control || !control->quota || !inside(path)) return result;
    found->f_frsize = 1;
    found->f_blocks = control->quota;
    found->f_bavail = control->used < control->quota ? control->quota - control->used : 0;
    return 0;
}

int statvfs(const char *path, struct statvfs *found) {
    return statvfs64(path, (struct statvfs64 *)found);
}
