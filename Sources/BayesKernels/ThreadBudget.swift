import BayesTensor
import COneDNN
import COpenBLAS

/// Who may use how many threads.
///
/// Cores are spent on slices of the batch, so native libraries get one thread each: two pools
/// under a task group would oversubscribe, and a product split over another number of threads
/// need not round alike.
enum ThreadBudget {
  /// Gives native libraries one thread.  libgomp's setting holds for the calling thread only, so
  /// this is called wherever native work begins.
  static func claimSingleThread() { omp_set_num_threads(1) }

  /// OpenBLAS's setting holds for the process.
  static let openBLASIsSingleThreaded: Bool = {
    openblas_set_num_threads(1)
    return true
  }()
}
