import Bayesify

extension Session {
  /// Times square products, one a task, all tasks at once: the rate that shares of the peak refer to.
  func timeProduct(_ arguments: inout Arguments) async throws -> Timings {
    let size = try arguments.count("size")
    let repeats = try arguments.count("repeats")
    let width = try arguments.count("width")
    let backend = try NativeBackend()
    // No zeros, ones or denormals, which some processors multiply faster or slower.
    let factor = Tensor<Float>(shape: [size, size], (0..<size * size).map { 0.5 + Float($0 % 251) / 251 })
    var timings = Timings()
    for _ in 0..<repeats {
      await timings.measure {
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<width { group.addTask { _ = backend.product(factor, factor) } }
        }
      }
    }
    return timings
  }
}
