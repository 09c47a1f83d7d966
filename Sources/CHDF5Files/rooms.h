#pragma once
#include <hdf5.h>
#include <stdint.h>

// HDF5 1.10 copies as many bytes of an attribute's value as its type and shape ask for, from wherever its name, type
// and shape are said to end, without a look at where its message ends.  What lies beyond is the heap of the moment.
// So how much room each message leaves for a value is read from the file's own bytes here.

// The bytes of a file, beside the library's own handle of it.
typedef struct {
  H5FD_t *file;
  haddr_t base;
  size_t address_size, length_size;
} bayesify_bytes;

// Opens the bytes of an open HDF5 file; `file` is NULL where that fails.
bayesify_bytes bayesify_bytes_open(const char *path, hid_t access, hid_t file);
void bayesify_bytes_close(bayesify_bytes bytes);

typedef struct {
  char *name;
  int64_t size;
} bayesify_room;

// The room for the values of the attributes whose messages lie in an object's header, not of those kept elsewhere.
typedef struct {
  bayesify_room *all;
  size_t count;
} bayesify_rooms;

bayesify_rooms bayesify_rooms_of(bayesify_bytes bytes, haddr_t header);
void bayesify_rooms_free(bayesify_rooms rooms);

// Whether a value of this size fits into each message of that name.
int bayesify_rooms_fit(bayesify_rooms rooms, const char *name, hsize_t size);
