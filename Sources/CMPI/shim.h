#pragma once
#include <mpi.h>

// Macros that cast are invisible to Swift.
static inline MPI_Comm bayesify_mpi_world(void) { return MPI_COMM_WORLD; }
static inline MPI_Datatype bayesify_mpi_double(void) { return MPI_DOUBLE; }
static inline MPI_Datatype bayesify_mpi_int64(void) { return MPI_INT64_T; }
static inline const void *bayesify_mpi_in_place(void) { return MPI_IN_PLACE; }
