/* Preloaded into a process, it lets writing or flushing fail for some of its files, while the control file says which:

     full PART AFTER   whatever is written to a file whose path holds PART finds no room, once AFTER writes have
     flush PART        every flush of such a file fails
     flush-once PART   the next one does, and the control file goes

   A control file that says something else than before begins to count anew. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static char last[256];
static long writes;

struct fault { char text[256], kind[32], part[128]; long after; };

/* By system calls of its own: what it wants to know goes through none of the functions below. */
static int told(struct fault *fault) {
  const char *control = getenv("FAULT_CONTROL");
  int file = control ? (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return 0;
  long length = syscall(SYS_read, file, fault->text, sizeof fault->text - 1);
  syscall(SYS_close, file);
  if (length <= 0) return 0;
  fault->text[length] = 0;
  fault->after = 0;
  return sscanf(fault->text, "%31s %127s %ld", fault->kind, fault->part, &fault->after) >= 2;
}

static int is_meant(int file, const char *part) {
  char link[64], path[1024];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strstr(path, part) != NULL;
}

static int no_room(int file) {
  int before = errno;
  struct fault fault;
  int full = 0;
  if (told(&fault) && strcmp(fault.kind, "full") == 0 && is_meant(file, fault.part)) {
    pthread_mutex_lock(&counting);
    if (strcmp(last, fault.text) != 0) {
      strcpy(last, fault.text);
      writes = 0;
    }
    full = writes++ >= fault.after;
    pthread_mutex_unlock(&counting);
  }
  errno = full ? ENOSPC : before;
  return full;
}

static int no_flush(int file) {
  int before = errno;
  struct fault fault;
  int fails = 0;
  if (told(&fault) && is_meant(file, fault.part)) {
    if (strcmp(fault.kind, "flush") == 0) fails = 1;
    /* Of all processes one takes it away. */
    if (strcmp(fault.kind, "flush-once") == 0)
      fails = syscall(SYS_unlinkat, AT_FDCWD, getenv("FAULT_CONTROL"), 0) == 0;
  }
  errno = fails ? EIO : before;
  return fails;
}

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

ssize_t write(int file, const void *bytes, size_t count) {
  REAL(ssize_t, "write", int, const void *, size_t);
  return no_room(file) ? -1 : real(file, bytes, count);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
  REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
  return no_room(file) ? -1 : real(file, bytes, count, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  return no_room(file) ? -1 : real(file, bytes, count, at);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  return no_room(file) ? -1 : real(file, parts, count);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
  REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
  return no_room(file) ? -1 : real(file, parts, count, at);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) {
  REAL(ssize_t, "pwritev64", int, const struct iovec *, int, off64_t);
  return no_room(file) ? -1 : real(file, parts, count, at);
}

int fallocate(int file, int mode, off_t at, off_t length) {
  REAL(int, "fallocate", int, int, off_t, off_t);
  return no_room(file) ? -1 : real(file, mode, at, length);
}

int fallocate64(int file, int mode, off64_t at, off64_t length) {
  REAL(int, "fallocate64", int, int, off64_t, off64_t);
  return no_room(file) ? -1 : real(file, mode, at, length);
}

int posix_fallocate(int file, off_t at, off_t length) {
  REAL(int, "posix_fallocate", int, off_t, off_t);
  return no_room(file) ? ENOSPC : real(file, at, length);
}

int posix_fallocate64(int file, off64_t at, off64_t length) {
  REAL(int, "posix_fallocate64", int, off64_t, off64_t);
  return no_room(file) ? ENOSPC : real(file, at, length);
}

int fsync(int file) {
  REAL(int, "fsync", int);
  return no_flush(file) ? -1 : real(file);
}

int fdatasync(int file) {
  REAL(int, "fdatasync", int);
  return no_flush(file) ? -1 : real(file);
}
