#include "CHDF5Files.h"

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A file driver that reads a range of a file that is open already, so that a file needs no name and may lie
// inside another.  It never writes.

typedef struct {
  int descriptor;
  uint64_t offset, size;
} bayesify_h5_view;

typedef struct {
  H5FD_t parent;  // The library casts between the two.
  bayesify_h5_view view;
  haddr_t end_of_addresses;
} bayesify_h5_view_file;

static H5FD_t *bayesify_h5_view_open(const char *name, unsigned flags, hid_t access, haddr_t most) {
  (void)name, (void)most;
  const bayesify_h5_view *view = (const bayesify_h5_view *)H5Pget_driver_info(access);
  if (view == NULL || (flags & H5F_ACC_RDWR)) return NULL;
  bayesify_h5_view_file *file = (bayesify_h5_view_file *)calloc(1, sizeof(*file));
  if (file == NULL) return NULL;
  file->view = *view;
  file->view.descriptor = fcntl(view->descriptor, F_DUPFD_CLOEXEC, 0);
  if (file->view.descriptor >= 0) return &file->parent;
  free(file);
  return NULL;
}

static herr_t bayesify_h5_view_close(H5FD_t *file) {
  close(((bayesify_h5_view_file *)file)->view.descriptor);
  free(file);
  return 0;
}

// Every opening is a file of its own.
static int bayesify_h5_view_compare(const H5FD_t *first, const H5FD_t *second) {
  return first < second ? -1 : first > second;
}

static herr_t bayesify_h5_view_query(const H5FD_t *file, unsigned long *flags) {
  (void)file;
  *flags = H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE;
  return 0;
}

static haddr_t bayesify_h5_view_get_eoa(const H5FD_t *file, H5FD_mem_t type) {
  (void)type;
  return ((const bayesify_h5_view_file *)file)->end_of_addresses;
}

static herr_t bayesify_h5_view_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t address) {
  (void)type;
  ((bayesify_h5_view_file *)file)->end_of_addresses = address;
  return 0;
}

static haddr_t bayesify_h5_view_get_eof(const H5FD_t *file, H5FD_mem_t type) {
  (void)type;
  return ((const bayesify_h5_view_file *)file)->view.size;
}

static herr_t bayesify_h5_view_read(
    H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, void *buffer) {
  (void)type, (void)transfer;
  const bayesify_h5_view *view = &((bayesify_h5_view_file *)file)->view;
  // What lies beyond the end reads as zeros, as the library's own drivers have it.
  size_t there = address >= view->size ? 0 : view->size - address < size ? (size_t)(view->size - address) : size;
  memset((char *)buffer + there, 0, size - there);
  for (size_t done = 0; done < there;) {
    ssize_t step = pread(
        view->descriptor, (char *)buffer + done, there - done, (off_t)(view->offset + address + done));
    if (step < 0 && errno == EINTR) continue;
    if (step <= 0) return -1;
    done += (size_t)step;
  }
  return 0;
}

static herr_t bayesify_h5_view_write(
    H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, const void *buffer) {
  (void)file, (void)type, (void)transfer, (void)address, (void)size, (void)buffer;
  return -1;
}

hid_t bayesify_h5_view_access(int descriptor, uint64_t offset, uint64_t size) {
  static hid_t driver = -1;  // The caller holds the library.
  if (driver < 0) {
    static const H5FD_class_t view_class = {
#if H5_VERSION_GE(1, 13, 0)
        .version = H5FD_CLASS_VERSION,
        .value = (H5FD_class_value_t)513,
#endif
        .name = "bayesify view",
        .maxaddr = (haddr_t)INT64_MAX,
        .fc_degree = H5F_CLOSE_WEAK,
        .fapl_size = sizeof(bayesify_h5_view),
        .open = bayesify_h5_view_open,
        .close = bayesify_h5_view_close,
        .cmp = bayesify_h5_view_compare,
        .query = bayesify_h5_view_query,
        .get_eoa = bayesify_h5_view_get_eoa,
        .set_eoa = bayesify_h5_view_set_eoa,
        .get_eof = bayesify_h5_view_get_eof,
        .read = bayesify_h5_view_read,
        .write = bayesify_h5_view_write,
        .fl_map = H5FD_FLMAP_DICHOTOMY,
    };
    driver = H5FDregister(&view_class);
  }
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  bayesify_h5_view view = {descriptor, offset, size};
  if (driver < 0 || access < 0 || H5Pset_driver(access, driver, &view) < 0) {
    if (access >= 0) H5Pclose(access);
    return -1;
  }
  return access;
}
