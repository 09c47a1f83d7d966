/* Counts the large allocations of a process between two signals.

     cc -O2 -shared -fPIC -o allocations.so allocations.c
     ALLOCATIONS=report.txt LD_PRELOAD=./allocations.so PROGRAM

   The first SIGUSR1 that the process gets empties the file that ALLOCATIONS names and starts the count; the
   second ends it and writes to that file one line "SIZE COUNT" for each size above 4 KiB, followed by the
   call stack of its first allocation, and the line "end".  Every way to allocate that glibc offers is
   counted, and mappings of memory as well. */
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LIMIT = 4096, SIZES = 1024, DEPTH = 24 };

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static struct {
  atomic_size_t size;
  atomic_size_t count;
  void *stack[DEPTH];
  int depth;
} seen[SIZES];
static atomic_bool counting;
static atomic_size_t lost;
/* Taking a call stack may itself allocate. */
static __thread int busy;

static void count(size_t size) {
  if (size <= LIMIT || busy || !atomic_load(&counting)) return;
  busy = 1;
  size_t place = size % SIZES, tries = 0;
  for (; tries < SIZES; tries++, place = (place + 1) % SIZES) {
    size_t free_place = 0;
    if (atomic_compare_exchange_strong(&seen[place].size, &free_place, size)) {
      seen[place].depth = backtrace(seen[place].stack, DEPTH);
      break;
    }
    if (free_place == size) break;
  }
  if (tries < SIZES) {
    atomic_fetch_add(&seen[place].count, 1);
  } else {
    atomic_fetch_add(&lost, 1);
  }
  busy = 0;
}

void *malloc(size_t size) {
  count(size);
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  if (size != 0 && number <= SIZE_MAX / size) count(number * size);
  return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
  count(size);
  return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
  count(size);
  void *memory = __libc_memalign(alignment, size);
  if (memory == NULL) return ENOMEM;
  *result = memory;
  return 0;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  count(size);
  return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

static void toggle(int number) {
  (void)number;
  int begins = !atomic_load(&counting);
  atomic_store(&counting, 0);
  int saved = errno;
  const char *name = getenv("ALLOCATIONS");
  int file = name ? open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644) : STDERR_FILENO;
  busy = 1;
  for (size_t place = 0; place < SIZES; place++) {
    size_t size = atomic_exchange(&seen[place].size, 0);
    size_t times = atomic_exchange(&seen[place].count, 0);
    if (begins || size == 0) continue;
    dprintf(file, "%zu %zu\n", size, times);
    backtrace_symbols_fd(seen[place].stack, seen[place].depth, file);
  }
  size_t more = atomic_exchange(&lost, 0);
  if (!begins && more > 0) dprintf(file, "0 %zu\n", more);
  if (!begins) dprintf(file, "end\n");
  busy = 0;
  if (name) close(file);
  errno = saved;
  atomic_store(&counting, begins);
}

__attribute__((constructor)) static void start(void) {
  void *stack[1];
  backtrace(stack, 1); /* loads what it needs, which allocates */
  /* Resident from the start, so that the first signal does not look like growth. */
  for (size_t place = 0; place < SIZES; place++) atomic_store(&seen[place].size, 0);
  signal(SIGUSR1, toggle);
}
