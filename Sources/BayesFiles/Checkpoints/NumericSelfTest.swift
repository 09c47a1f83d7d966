public import BayesNetwork
public import BayesTensor

/// Rows, and what a trained network answered to them where it was trained.
public struct NumericSelfTest: Sendable {
  /// The file that holds them; for messages.
  public let file: String
  /// `[rows] + inputShape`, as they go into the network.
  public let inputs: Tensor<Float>
  /// The answers by exit, `[rows, …]`; one without a name is that of the only exit.
  public let outputs: [String?: Tensor<Float>]

  /// The self-test that a checkpoint carries under `/self_test`; `nil` where it carries none.
  ///
  /// - Throws: `FileError` where it cannot be read.
  public init?(of checkpoint: some Checkpoint) throws(FileError) {
    let prefix = "/self_test/outputs/"
    let names = checkpoint.entries.map(\.name)
    guard names.contains("/self_test/inputs") else { return nil }
    file = checkpoint.file
    inputs = try checkpoint.tensor(named: "/self_test/inputs")
    var outputs: [String?: Tensor<Float>] = [:]
    for name in names where name.hasPrefix(prefix) {
      outputs[String(name.dropFirst(prefix.count))] = try checkpoint.tensor(named: name)
    }
    self.outputs = outputs
  }

  /// The self-test in a file of arrays, `.npz` or HDF5: `inputs`, and `outputs` or one array an exit, by its name.
  ///
  /// - Throws: `FileError` where the file holds no such arrays.
  public init(goldenFile file: String) throws(FileError) {
    guard case .named(let catalog) = try DataFile(file) else {
      throw FileError(
        .unsupported, file: file,
        (FolderListing.isFolder(file) ? "This is a folder" : "This holds one array")
          + "; give a .npz or HDF5 file with the arrays 'inputs' and 'outputs'.")
    }
    let names = catalog.entries.map { String($0.path.drop { $0 == "/" }) }
    func tensor(_ name: String) throws(FileError) -> Tensor<Float> {
      let array = try catalog.stored(name)
      return Tensor(shape: array.shape, elements: try array.values(nil, as: Float.self))
    }
    guard names.contains("inputs"), names.count > 1 else {
      throw FileError(
        .missing, file: file,
        "There are the arrays \(names.sorted().joined(separator: ", ")); 'inputs' and 'outputs' are needed, or instead "
          + "of 'outputs' one array an exit, by its name.")
    }
    self.file = file
    inputs = try tensor("inputs")
    var outputs: [String?: Tensor<Float>] = [:]
    for name in names where name != "inputs" {
      let exit = name.hasPrefix("outputs/") ? String(name.dropFirst("outputs/".count)) : name
      outputs[exit == "outputs" ? nil : exit] = try tensor(name)
    }
    self.outputs = outputs
  }
}
