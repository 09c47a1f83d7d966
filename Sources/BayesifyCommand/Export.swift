import ArgumentParser
import Bayesify

struct Export: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A fitted last-layer posterior as plain arrays, to predict with anywhere.",
    discussion: """
      Python/bayesify_serving.py predicts from them with NumPy alone, and says what they are. \
      Example: bayesify export posterior.h5 -o serving.npz
      """)

  @Argument(help: "A posterior.")
  var posterior: String

  @Option(name: .shortAndLong, help: "The arrays, HDF5 or, by suffix, .npz.")
  var output: String

  @OptionGroup var execution: ExecutionOptions

  func run() async throws {
    try execution.requireWritable(output, apartFrom: [posterior])
    guard case .posterior(let posterior, let file, _) = try ModelInput(posterior) else {
      throw FileError(.unsupported, file: posterior, "This is a checkpoint; name a posterior that a fit wrote.")
    }
    guard case .lastLayer(let fitted) = posterior else {
      throw FileError(
        .unsupported, file: file,
        "A posterior over earlier layers predicts with its network alone; name a posterior of last layers.")
    }
    let backend = try execution.backend()
    let writer = try archiveWriter(output, replacing: execution.force)
    do {
      try fitted.writeServingArrays(to: writer, file: file, on: backend)
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    execution.progress().note("wrote \(output): \(fitted.exits.count) exit(s)")
  }
}
