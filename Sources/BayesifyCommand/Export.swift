import ArgumentParser
import Bayesify
import Foundation

struct Export: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A fitted last-layer posterior as plain arrays, to predict with anywhere.",
    discussion: """
      Taken are posteriors of last layers with a Kronecker or the diagonal structure, for softmax, sigmoid and multilabel \
      exits that stand alone (no --greedy-ensemble), whose predictive is whitened, antithetic, probit or plain.

      Python/bayesify_serving.py predicts from .npz arrays with NumPy alone, and says what they are.

      Example: bayesify export posterior.h5 -o serving.npz
      """)

  @Argument(help: "A posterior that 'fit laplace' wrote, as above.")
  var posterior: String

  @Option(name: .shortAndLong, help: "The arrays: .npz, or .h5 or .hdf5.")
  var output: String

  @OptionGroup var execution: ExecutionOptions

  func validate() throws {
    guard ["npz", "h5", "hdf5"].contains(URL(filePath: output).pathExtension.lowercased()) else {
      throw ValidationError(
        "-o \(output) ends in no format that is written; give a name in .npz (NumPy), .h5 or .hdf5 (HDF5).")
    }
  }

  func run() async throws {
    try execution.requireWritable(output, apartFrom: [posterior])
    guard case .posterior(let posterior, let file, _) = try ModelInput(posterior) else {
      throw FileError(.unsupported, file: posterior, "This is a checkpoint; name a posterior that 'fit laplace' wrote.")
    }
    guard case .lastLayer(let fitted) = posterior else {
      throw FileError(
        .unsupported, file: file,
        "This posterior predicts with its networks alone; name a posterior of last layers.")
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

