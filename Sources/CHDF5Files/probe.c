#include "CHDF5Files.h"
#include "rooms.h"

#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// HDF5 1.10 crashes, or never returns, on about one in a hundred files whose bytes were damaged at
// random.  So a file is first walked through in a child process, which such a file takes down alone.

// The size of the header that holds an object's attributes, or as much as can be where it does not.
static hsize_t bayesify_probe_header_size(hid_t object) {
#if H5_VERSION_GE(1, 12, 0)
  H5O_native_info_t info;
  herr_t found = H5Oget_native_info(object, &info, H5O_NATIVE_INFO_HDR | H5O_NATIVE_INFO_META_SIZE);
#else
  H5O_info_t info;
  herr_t found = H5Oget_info2(object, &info, H5O_INFO_HDR | H5O_INFO_META_SIZE);
#endif
  return found < 0 || info.meta_size.attr.heap_size > 0 ? (hsize_t)-1 : info.hdr.space.total;
}

// What there is of the file for an object's attributes.
typedef struct {
  hsize_t header_size;
  bayesify_bytes bytes;
  bayesify_rooms rooms;
} bayesify_attribute_space;

// Reads an attribute's value as this package does.
static herr_t bayesify_probe_attribute(
    hid_t object, const char *name, const H5A_info_t *info, void *context) {
  (void)info;
  const bayesify_attribute_space *file_space = context;
  hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
  hsize_t stored = attribute < 0 ? 0 : H5Aget_storage_size(attribute);
  // The library has then read beyond the message already, and lives by the luck of what lies there.
  if (stored > file_space->header_size || !bayesify_rooms_fit(file_space->rooms, name, stored)) _exit(1);
  hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
  hssize_t count = H5Sget_simple_extent_npoints(space);
  size_t size = H5Tget_size(type);
  if (attribute >= 0 && count > 0 && size > 0 && count < (1 << 24) && size < (1 << 24)) {
    void *values = calloc((size_t)count, size < sizeof(double) ? sizeof(double) : size);
    hid_t memory = H5Tcopy(H5T_C_S1);
    H5Tset_cset(memory, H5Tget_cset(type));
    H5T_class_t class = H5Tget_class(type);
    if (values == NULL) {
    } else if (class == H5T_STRING && H5Tis_variable_str(type) > 0) {
      H5Tset_size(memory, H5T_VARIABLE);
      // Whether a look for what is not there ends the process is luck, which the parent would have to have too.
      if (!bayesify_rooms_hold_strings(file_space->bytes, file_space->rooms, name, (hsize_t)count)) _exit(1);
      if (H5Aread(attribute, memory, values) >= 0) H5Dvlen_reclaim(memory, space, H5P_DEFAULT, values);
    } else if (class == H5T_STRING) {
      H5Tset_size(memory, size);
      H5Tset_strpad(memory, H5Tget_strpad(type));
      H5Aread(attribute, memory, values);
    } else if (class == H5T_INTEGER || class == H5T_ENUM) {
      H5Aread(attribute, H5T_NATIVE_INT64, values);
    } else if (class == H5T_FLOAT) {
      H5Aread(attribute, H5T_NATIVE_DOUBLE, values);
    }
    H5Tclose(memory);
    free(values);
  }
  H5Sclose(space);
  H5Tclose(type);
  H5Aclose(attribute);
  return 0;
}

// Walks through the index of a dataset's chunks and reads its first element, or all of a small one: a
// chunk that unpacks to fewer bytes than it should is only found by reading it.
static void bayesify_probe_dataset(hid_t dataset) {
  hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
  hid_t properties = H5Dget_create_plist(dataset);
  H5T_class_t class = H5Tget_class(type);
  int rank = H5Sget_simple_extent_ndims(space);
  hsize_t chunk_count = 0;
  hsize_t chunk[H5S_MAX_RANK];
  double chunk_size = (double)H5Tget_size(type);
  if (H5Pget_layout(properties) == H5D_CHUNKED) {
    H5Dget_num_chunks(dataset, H5S_ALL, &chunk_count);
    int chunk_rank = H5Pget_chunk(properties, H5S_MAX_RANK, chunk);
    for (int axis = 0; axis < chunk_rank; axis++) chunk_size *= (double)chunk[axis];
  }
  hssize_t count = H5Sget_simple_extent_npoints(space);
  if (rank >= 0 && rank <= H5S_MAX_RANK && count > 0 && H5Pget_layout(properties) != H5D_VIRTUAL &&
      H5Pget_external_count(properties) == 0 && chunk_size <= (double)(1 << 26) &&
      (class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM)) {
    hsize_t first[H5S_MAX_RANK], one[H5S_MAX_RANK], size = 1;
    for (int axis = 0; axis < rank; axis++) first[axis] = 0, one[axis] = 1;
    if (count <= (1 << 18)) {
      size = (hsize_t)count;
    } else if (rank > 0) {
      H5Sselect_hyperslab(space, H5S_SELECT_SET, first, NULL, one, NULL);
    }
    hid_t memory = H5Screate_simple(1, &size, NULL);
    void *values = calloc(size, sizeof(double));
    if (values != NULL) {
      if (class != H5T_FLOAT) H5Dread(dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, values);
      H5Dread(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, values);
    }
    free(values);
    H5Sclose(memory);
  }
  H5Pclose(properties);
  H5Sclose(space);
  H5Tclose(type);
}

#if H5_VERSION_GE(1, 12, 0)
typedef H5O_info2_t bayesify_object_info;
#else
typedef H5O_info_t bayesify_object_info;
#endif

static haddr_t bayesify_probe_address(hid_t object, const bayesify_object_info *info) {
#if H5_VERSION_GE(1, 12, 0)
  haddr_t address = HADDR_UNDEF;
  return H5VLnative_token_to_addr(object, info->token, &address) < 0 ? HADDR_UNDEF : address;
#else
  (void)object;
  return info->addr;
#endif
}

static herr_t bayesify_probe_object(
    hid_t root, const char *path, const bayesify_object_info *info, void *bytes) {
  hid_t object = H5Oopen(root, path, H5P_DEFAULT);
  if (object < 0) return 0;
  const bayesify_bytes file_bytes = *(const bayesify_bytes *)bytes;
  bayesify_attribute_space space = {
      bayesify_probe_header_size(object), file_bytes,
      bayesify_rooms_of(file_bytes, bayesify_probe_address(object, info))};
  // An attribute whose parts have wrong sizes is decoded from what lies beyond the header: where that makes no sense
  // here, it is not there at all in the parent.
  if (H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, bayesify_probe_attribute, &space) < 0) _exit(1);
  bayesify_rooms_free(space.rooms);
  if (info->type == H5O_TYPE_DATASET) bayesify_probe_dataset(object);
  H5Oclose(object);
  return 0;
}

// Notes whether an error is one of memory.
static herr_t bayesify_probe_error(unsigned position, const H5E_error2_t *error, void *refused) {
  (void)position;
  if (error->maj_num == H5E_RESOURCE) *(int *)refused = 1;
  return 0;
}

static herr_t bayesify_probe_errors(hid_t stack, void *refused) {
  return H5Ewalk2(stack, H5E_WALK_DOWNWARD, bayesify_probe_error, refused);
}

// Gives this process so many bytes of memory more than it has.
static void bayesify_probe_limit_memory(rlim_t more) {
  unsigned long pages = 0;
  FILE *status = fopen("/proc/self/statm", "r");
  if (status == NULL) return;
  if (fscanf(status, "%*u %*u %*u %*u %*u %lu", &pages) == 1) {
    struct rlimit data = {pages * (rlim_t)sysconf(_SC_PAGESIZE) + more, RLIM_INFINITY};
    getrlimit(RLIMIT_DATA, &data);
    data.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + more;
    setrlimit(RLIMIT_DATA, &data);
  }
  fclose(status);
}

// Whether the walk needed no more memory than there was.
static int bayesify_probe_all(const char *path, hid_t access) {
  int refused = 0;
  H5Eset_auto2(H5E_DEFAULT, bayesify_probe_errors, &refused);
  // On errors the library frees pointers that it never set; what lies there must not be zero by luck.
  H5garbage_collect();
  H5set_free_list_limits(0, 0, 0, 0, 0, 0);
#ifdef __GLIBC__
  mallopt(M_PERTURB, 0x5A);
  // Pieces freed earlier are handed out as they are; take all small ones away.
  for (size_t size = 8; size <= 1032; size += 16)
    for (int piece = 0; piece < 64; piece++) (void)!malloc(size);
#endif
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
  if (file < 0) return !refused;  // An orderly refusal, which the caller will meet again.
  bayesify_bytes bytes = bayesify_bytes_open(path, access, file);
#if H5_VERSION_GE(1, 12, 0)
  herr_t visited = H5Ovisit3(file, H5_INDEX_NAME, H5_ITER_INC, bayesify_probe_object, &bytes, H5O_INFO_BASIC);
#else
  herr_t visited = H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, bayesify_probe_object, &bytes, H5O_INFO_BASIC);
#endif
  // Where a group's links cannot be listed, the library frees names that it never read, and what those are is luck.
  if (visited < 0) _exit(1);
  bayesify_bytes_close(bytes);
  // Some damage shows when caches are given up.
  H5Fclose(file);
  return !refused;
}

int bayesify_h5_survives(const char *path, hid_t access) {
  struct stat facts;
  rlim_t size = stat(path, &facts) == 0 ? (rlim_t)facts.st_size : 0;
  pid_t child = fork();
  if (child < 0) return 1;
  if (child == 0) {
    // Die quietly: no reports, no core, no handlers of the parent, no endless loop.
    static const int deaths[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGXCPU};
    for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) signal(deaths[i], SIG_DFL);
    struct rlimit none = {0, 0}, seconds = {1, 1};
    // A thousand small arrays fill half a MiB, and a walk through them takes a tenth of a second.
    seconds.rlim_cur = seconds.rlim_max = 1 + (size >> 19 < 7 ? size >> 19 : 7);
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_CPU, &seconds);
    bayesify_probe_limit_memory((96 << 20) + 2 * size);
    int quiet = open("/dev/null", O_WRONLY);
    if (quiet >= 0) dup2(quiet, STDERR_FILENO);
    _exit(bayesify_probe_all(path, access) ? 0 : 1);
  }
  int status = 0;
  pid_t done;
  do done = waitpid(child, &status, 0);
  while (done < 0 && errno == EINTR);
  return done != child || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
