#pragma once
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

// libgomp, which Debian's oneDNN runs on; its header belongs to the compiler, so it is declared here.
void omp_set_num_threads(int count);

// Tells the core that this thread waits for another one to write to memory.
static inline void spin_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Gives memory that was freed back to the system, which the allocator keeps otherwise.
static inline void return_freed_memory(void) {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}
