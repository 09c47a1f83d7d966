#pragma once
#include <hdf5.h>
#include <stdint.h>

// No other header of the system here: a module that textually includes <sys/stat.h> would own `struct stat`
// for every Swift file that is compiled beside one importing it.

// Whether the library survives a walk through the file, with 96 MiB and twice the file's size of memory and in a few
// seconds: 0 where it does not, 1 where it does or where no child could be made.  The caller keeps other threads
// out of the library meanwhile.
int bayesify_h5_survives(const char *path, hid_t access);

// Access properties for a view; the caller closes them.  Negative on failure.
hid_t bayesify_h5_view_access(int descriptor, uint64_t offset, uint64_t size);
