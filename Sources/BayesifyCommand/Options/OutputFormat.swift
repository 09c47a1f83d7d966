import ArgumentParser
import Bayesify
import Foundation

/// Refuses options for validation rows where none are named.
func requireRows(of validation: String?, for rows: RowRange?, _ labels: String?) throws {
  guard validation == nil, let name = rows != nil ? "--validation-rows" : labels != nil ? "--validation-labels" : nil
  else { return }
  throw ValidationError("\(name) is for validation rows, and none are named; give --validation DATA, or leave it out.")
}

/// A format that arrays are written in, by the suffix of the file's name.
enum OutputFormat: CaseIterable {
  case hdf5
  case npz

  private var suffixes: [String] {
    switch self {
    case .hdf5: ["h5", "hdf5"]
    case .npz: ["npz"]
    }
  }

  private var words: String {
    switch self {
    case .hdf5: ".h5 or .hdf5 (HDF5)"
    case .npz: ".npz (NumPy)"
    }
  }

  /// Refuses names whose suffix is that of no format that is written, so that no file is taken for what it is not.
  ///
  /// - Parameter needsSuffix: whether a name without any is refused too; it is HDF5 otherwise.
  static func requireSuffix(of output: String, among formats: [OutputFormat], needsSuffix: Bool = false) throws {
    let suffix = URL(filePath: output).pathExtension.lowercased()
    guard suffix.isEmpty ? needsSuffix : !formats.contains(where: { $0.suffixes.contains(suffix) }) else { return }
    throw ValidationError(
      "-o \(output) ends in no format that is written; give a name in "
        + formats.map(\.words).joined(separator: " or ") + ".")
  }
}
