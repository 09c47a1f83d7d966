import CHDF5
import Foundation

/// The one gate to the HDF5 library.
enum HDF5Library {
  // Debian's build has a lock of its own, other builds have none, and a read is several calls that
  // must not interleave.  The lock is recursive because a handle may be closed, by the end of its
  // scope, while its thread is already inside.
  private static let lock = NSRecursiveLock()

  // Writers publish or discard their files themselves.  What the library would do at exit crashes
  // after a file could not be written because the disk was full.
  private static let hasExitHandler = H5dont_atexit() < 0

  /// Runs `body` while no other thread is inside the library, with HDF5's own messages switched off.
  static func locked<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    _ = hasExitHandler
    lock.lock()
    defer { lock.unlock() }
    // The error stack and its printing belong to the calling thread.
    _ = H5Eset_auto2(bayesify_h5_error_stack(), nil, nil)
    return try body()
  }
}
