public import BayesTensor

/// A training that can be written at any step and goes on from what was written.
public protocol ResumableTraining: Sendable {
  /// The number of epochs that are over.
  var epochCount: Int { get }

  /// Writes the training; the caller finishes the archive.
  ///
  /// - Parameter settings: what the training depends on, by name.
  func write(to archive: any ArrayArchiveWriter, settings: [String: String]) throws(FileError)

  /// Reads a training.
  ///
  /// - Parameter settings: those that the training must have been begun with.
  /// - Throws: `FileError` naming what is missing, or the setting that is another.
  init(from archive: any ArrayArchive, settings: [String: String]) throws(FileError)
}

extension FirstLayerTraining {
  public var epochCount: Int { epochs.count }
}

extension LatentTraining {
  public var epochCount: Int { epochs.count }
}

extension ArrayArchiveWriter {
  /// Writes what a training is, and what it depends on.
  func writeTrainingHeader(_ format: String, settings: [String: String]) throws(FileError) {
    try setAttribute("format", .text(format), of: "/")
    try setAttribute(
      "settings", .texts(settings.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }), of: "/")
  }

  func write(_ memory: OptimizerMemory<Double>, at path: String) throws(FileError) {
    try setAttribute("stepCount", .integer(memory.stepCount), of: path)
    try setAttribute("momentCount", .integer(memory.moments.count), of: path)
    for (moment, tensors) in memory.moments.enumerated() {
      for (index, tensor) in tensors.enumerated() { try write(tensor, at: "\(path)/\(moment)/\(index)") }
    }
  }
}

extension PosteriorReader {
  /// Refuses files that are no training of a kind, and trainings that were begun with other settings.
  func requireTraining(_ format: String, settings: [String: String]) throws(FileError) {
    guard try optionalText("format", of: "/") == format else {
      throw FileError(
        .malformed, file: archive.file, "This is no unfinished training; move it away, or begin anew with --force.")
    }
    let known = Dictionary(
      try texts("settings", of: "/").map { text in
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        return (parts[0], parts.count > 1 ? parts[1] : "")
      }
    ) { $1 }
    for name in Set(known.keys).union(settings.keys).sorted() where known[name] != settings[name] {
      throw FileError(
        .value, file: archive.file,
        "This training was begun \(known[name].map { "with \(name) \($0)" } ?? "without \(name)"), and "
          + "\(settings[name] ?? "none") is asked for now; give what was given then, or begin anew with --force.")
    }
  }

  func memory(
    at path: String, like parameters: [Tensor<Double>]
  ) throws(FileError) -> OptimizerMemory<Double> {
    var memory = OptimizerMemory<Double>(stepCount: try integer("stepCount", of: path))
    let momentCount = try integer("momentCount", of: path)
    guard (0...2).contains(momentCount) else {
      throw failure(.value, path, "The number of moments is \(momentCount); the file is damaged.")
    }
    for moment in 0..<momentCount {
      var tensors: [Tensor<Double>] = []
      for (index, parameter) in parameters.enumerated() {
        tensors.append(try array("\(path)/\(moment)/\(index)", shape: parameter.shape))
      }
      memory.moments.append(tensors)
    }
    return memory
  }
}
