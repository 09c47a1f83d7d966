#pragma once
#include <hdf5.h>
#include <stdint.h>

// HDF5 1.10 copies as many bytes of an attribute's value as its type and shape ask for, from wherever its name, type
// and shape are said to end, without a look at where its message ends.  What lies beyond is the heap of the moment.
// Where the value says by number which pieces of a heap in the file are its strings, the library takes that number for
// a place in a list, again without a look at how long the list is.  So how much room each message leaves for a value,
// and what its strings are said to be, is read from the file's own bytes here.

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
  // As many bytes as there is room for; NULL for none.
  uint8_t *value;
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

// Whether each of `count` strings of variable length, in each message of that name, is in the file's heap, and no
// longer than it is said to be.
int bayesify_rooms_hold_strings(bayesify_bytes bytes, bayesify_rooms rooms, const char *name, hsize_t count);
