#pragma once
#include <hdf5.h>

// Macros that call a function are invisible to Swift.
static inline hid_t bayesify_h5_native_float(void) { return H5T_NATIVE_FLOAT; }
static inline hid_t bayesify_h5_native_double(void) { return H5T_NATIVE_DOUBLE; }
static inline hid_t bayesify_h5_native_int64(void) { return H5T_NATIVE_INT64; }
static inline hid_t bayesify_h5_native_uint8(void) { return H5T_NATIVE_UINT8; }
static inline hid_t bayesify_h5_c_string(void) { return H5T_C_S1; }
static inline hid_t bayesify_h5_file_access(void) { return H5P_FILE_ACCESS; }
static inline hid_t bayesify_h5_dataset_create(void) { return H5P_DATASET_CREATE; }
static inline hid_t bayesify_h5_link_create(void) { return H5P_LINK_CREATE; }
