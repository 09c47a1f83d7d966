import BayesPrediction
import BayesTensor

extension RecordsDescription {
  /// Refuses rows and exits whose labels are no data term that weights of layers are trained by.
  ///
  /// - Parameter exitIndex: the last for `nil`.
  /// - Throws: `FileError` naming the exit.
  func requireDataTerm(ofExit exitIndex: Int?) throws(FileError) {
    guard positions.isEmpty else {
      throw FileError(
        .unsupported, file: file,
        "Its exits answer at \(Shape(positions)) positions of a row, and the weights of a layer are drawn for one "
          + "answer a row; 'fit laplace' takes it.")
    }
    let index = exitIndex ?? exits.count - 1
    guard exits.indices.contains(index) else {
      throw FileError(
        .value, file: file,
        "There is no exit \(index); exits are 0 to \(exits.count - 1).")
    }
    for (index, exit) in exits.enumerated()
    where exit.likelihood != .categorical && exit.likelihood != .binary {
      throw FileError(
        .unsupported, file: file, object: "exit \(index) ('\(exit.name)')",
        "The weights of a layer are fitted to classes, and its likelihood is \(exit.likelihood.rawValue); 'fit laplace' takes "
          + "it.")
    }
  }
}
