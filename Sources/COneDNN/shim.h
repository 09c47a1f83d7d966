#pragma once
#include <oneapi/dnnl/dnnl.h>

// libgomp, which Debian's oneDNN runs on; its header belongs to the compiler, so it is declared here.
void omp_set_num_threads(int count);
int omp_get_max_threads(void);
