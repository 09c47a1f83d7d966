#pragma once
#include <hdf5.h>

// Macros that call a function or cast are invisible to Swift.
static inline hid_t bayesify_h5_native_float(void) { return H5T_NATIVE_FLOAT; }
static inline hid_t bayesify_h5_native_double(void) { return H5T_NATIVE_DOUBLE; }
static inline hid_t bayesify_h5_native_int64(void) { return H5T_NATIVE_INT64; }
static inline hid_t bayesify_h5_native_uint64(void) { return H5T_NATIVE_UINT64; }
static inline hid_t bayesify_h5_native_uint8(void) { return H5T_NATIVE_UINT8; }
static inline hid_t bayesify_h5_little_endian_float32(void) { return H5T_IEEE_F32LE; }
static inline hid_t bayesify_h5_little_endian_float64(void) { return H5T_IEEE_F64LE; }
static inline hid_t bayesify_h5_little_endian_int64(void) { return H5T_STD_I64LE; }
static inline hid_t bayesify_h5_c_string(void) { return H5T_C_S1; }
static inline size_t bayesify_h5_variable_length(void) { return H5T_VARIABLE; }
static inline hid_t bayesify_h5_file_access(void) { return H5P_FILE_ACCESS; }
static inline hid_t bayesify_h5_file_create(void) { return H5P_FILE_CREATE; }
static inline hid_t bayesify_h5_dataset_access(void) { return H5P_DATASET_ACCESS; }
static inline hid_t bayesify_h5_dataset_create(void) { return H5P_DATASET_CREATE; }
static inline hid_t bayesify_h5_group_create(void) { return H5P_GROUP_CREATE; }
static inline hid_t bayesify_h5_link_create(void) { return H5P_LINK_CREATE; }
static inline hid_t bayesify_h5_default(void) { return H5P_DEFAULT; }
static inline hid_t bayesify_h5_all(void) { return H5S_ALL; }
static inline hsize_t bayesify_h5_unlimited(void) { return H5S_UNLIMITED; }
static inline unsigned bayesify_h5_read_only(void) { return H5F_ACC_RDONLY; }
static inline unsigned bayesify_h5_exclusive(void) { return H5F_ACC_EXCL; }
static inline hid_t bayesify_h5_error_stack(void) { return H5E_DEFAULT; }

// HDF5 1.12 replaced addresses by tokens and versioned these calls; one spelling serves both.
#if H5_VERSION_GE(1, 12, 0)
typedef H5L_info2_t bayesify_h5_link_info;
#else
typedef H5L_info_t bayesify_h5_link_info;
#endif

static inline herr_t bayesify_h5_iterate_links(
    hid_t group, herr_t (*visit)(hid_t, const char *, const bayesify_h5_link_info *, void *),
    void *context) {
#if H5_VERSION_GE(1, 12, 0)
  return H5Literate2(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, context);
#else
  return H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, context);
#endif
}

// The kind of an object, and an address that two names of one object share.
static inline herr_t bayesify_h5_object_info(hid_t object, H5O_type_t *type, uint64_t *address) {
#if H5_VERSION_GE(1, 12, 0)
  H5O_info2_t info;
  herr_t status = H5Oget_info3(object, &info, H5O_INFO_BASIC);
  if (status < 0) return status;
  *type = info.type;
  *address = 0;
  for (size_t i = 0; i < sizeof(*address); i++) *address |= (uint64_t)info.token.__data[i] << (8 * i);
#else
  H5O_info_t info;
  herr_t status = H5Oget_info2(object, &info, H5O_INFO_BASIC);
  if (status < 0) return status;
  *type = info.type;
  *address = info.addr;
#endif
  return status;
}
