public import BayesTensor
import Foundation

/// Which arrays and rows of a data file to use.
public struct DatasetOptions: Hashable, Sendable {
  /// The name of the array of inputs, in files that name their arrays.
  public var inputs: String?
  /// The name of the array of labels.
  ///
  /// Where `inputs` is given and `labels` is not, there are no labels.
  public var labels: String?
  /// The file of the labels (`labels.npy`, `file.h5:y`), where it is not that of the inputs.
  public var labelsFile: String?
  /// The column of the labels in a `.csv` file: its name, or its index from 0; other files have none.
  public var labelColumn: String?
  /// Whether a `.csv` file without the column of labels is refused; where not, it has no labels.
  public var requiresLabelColumn = true
  /// The rows to use; all, for `nil`.
  public var rows: Range<Int>?

  public init(
    inputs: String? = nil, labels: String? = nil, labelsFile: String? = nil, labelColumn: String? = nil,
    rows: Range<Int>? = nil
  ) {
    self.inputs = inputs
    self.labels = labels
    self.labelsFile = labelsFile
    self.labelColumn = labelColumn
    self.rows = rows
  }

  /// Splits `file.h5:images,labels` into the file and the names in it.
  ///
  /// Either name may be left out with its comma: `file.h5`, `file.h5:images`.  A file whose name has a
  /// colon is taken whole when it exists.
  ///
  /// - Throws: `FileError.Code.value` when there are no names after the colon, or more than two.
  public static func parse(_ specification: String) throws(FileError)
    -> (file: String, options: DatasetOptions)
  {
    guard let colon = specification.lastIndex(of: ":"), !FileManager.default.fileExists(atPath: specification)
    else { return (specification, DatasetOptions()) }
    let file = String(specification[..<colon])
    let names = specification[colon...].dropFirst().split(separator: ",", omittingEmptySubsequences: false)
    guard !file.isEmpty, names.count <= 2, names.allSatisfy({ !$0.isEmpty }) else {
      throw FileError(
        .value, file: specification,
        "Data are named as FILE, FILE:INPUTS or FILE:INPUTS,LABELS, as in data.h5:images,labels.")
    }
    return (file, DatasetOptions(inputs: String(names[0]), labels: names.count > 1 ? String(names[1]) : nil))
  }
}
