import BayesFiles
public import BayesNetwork
public import BayesPosterior
public import BayesPrediction
public import BayesTensor

/// What a user says of a checkpoint that the file itself does not.
public struct CheckpointReading: Sendable, Hashable {
  /// A file that describes the network, for a checkpoint that holds weights alone: the JSON of `model.to_json()`,
  /// or a Keras file of any kind that holds the whole model.  A checkpoint that describes its network itself is
  /// taken as it is.
  public var architecture: String?
  /// The library that computed for Keras, for files of Keras 1.
  public var backend: KerasBackend?

  public init(architecture: String? = nil, backend: KerasBackend? = nil) {
    self.architecture = architecture
    self.backend = backend
  }
}

/// A checkpoint opened and its network rebuilt.
public struct CheckpointModel: Sendable {
  /// The file, as the user named it.
  public let file: String
  /// The file that described the network, where the checkpoint holds weights alone.
  public let architectureFile: String?
  /// The layout, in words.
  public let format: String
  /// The SHA-256 of the file, with an architecture, of the digests of both files, a line each.
  public let digest: String
  public let frozen: FrozenNetwork

  /// Imports a checkpoint; where it carries rows and the answers to them, the network must give those.
  ///
  /// - Parameter reading: what the file itself does not say.
  /// - Throws: `FileError` naming everything in the file that cannot be imported, and why, or the answer that is
  ///   another.
  public init(_ file: String, reading: CheckpointReading = CheckpointReading()) throws(FileError) {
    try self.init(openCheckpoint(file), reading: reading)
  }

  /// Imports a checkpoint that is open.
  ///
  /// - Throws: as `init(_:reading:)`.
  public init(
    _ checkpoint: some Checkpoint, reading: CheckpointReading = CheckpointReading()
  ) throws(FileError) {
    file = checkpoint.file
    architectureFile = checkpoint.architecture == nil ? reading.architecture : nil
    format = checkpoint.format
    if let architectureFile {
      let described = try openCheckpoint(architectureFile)
      frozen = try FrozenNetwork(importing: checkpoint, describedBy: described, backend: reading.backend)
      digest = FileDigest.sha256(joining: [try checkpoint.digest(), try described.digest()])
    } else {
      frozen = try FrozenNetwork(importing: checkpoint, backend: reading.backend)
      digest = try checkpoint.digest()
    }
    try NumericSelfTest(of: checkpoint)?.require(frozen)
  }
}

/// Rows that a user named: raw inputs, or the exit records of a pass that was made before.
public enum RowInput: Sendable {
  case dataset(any Dataset)
  case records(ArchivedExitRecords)

  /// Opens a data set (`file`, `file.h5:images,labels`, a folder of images) or a file of exit records.
  ///
  /// - Parameters:
  ///   - labels: a file of labels, where they are not in the file of the inputs.
  ///   - labelColumn: the column of labels in a `.csv` file.
  ///   - rows: the rows to use; all for `nil`.
  ///   - usesLabels: whether labels in the file mean this network's classes; those of foreign rows do not.
  public init(
    _ specification: String, labels: String? = nil, labelColumn: String? = nil, rows: Range<Int>? = nil,
    likelihood: Likelihood? = nil, usesLabels: Bool = true
  ) throws(FileError) {
    var (file, options) = try DatasetOptions.parse(specification)
    if file == specification, try HDF5Archive.recognizes(file) {
      let archive = try HDF5Archive(file)
      if archive.holdsExitRecords {
        if let labels {
          throw FileError(
            .value, file: labels,
            "Exit records keep their own labels, and \(file) holds exit records; leave this file out, and where they have no "
              + "labels extract them again from rows with labels.")
        }
        self = .records(try ArchivedExitRecords(archive, rows: rows, likelihood: likelihood))
        return
      }
    }
    options.labelsFile = labels
    options.labelColumn = labelColumn
    options.requiresLabelColumn = usesLabels
    options.rows = rows
    let dataset = try openDataset(file, options: options)
    self = .dataset(usesLabels ? dataset : UnlabelledDataset(dataset))
  }

  /// The error where these rows have no labels, and need some.
  ///
  /// - Parameters:
  ///   - role: what the rows are for.
  ///   - option: the option that names a file of labels for data.
  public func missingLabels(_ role: String, option: String) -> FileError {
    switch self {
    case .dataset:
      FileError(.missing, file: file, "The \(role) rows have no labels; give them with \(option).")
    case .records(let records):
      FileError(
        .missing, file: file,
        records.description.isRegression
          ? "The \(role) records are of real numbers and have no /targets; add those to the file, one an output for every "
            + "row, or extract the records again from rows with targets."
          : "The \(role) records have no /labels; add those to the file, one for every row, or extract the records again "
            + "from rows with labels.")
    }
  }

  public var file: String {
    switch self {
    case .dataset(let dataset): dataset.file
    case .records(let records): records.description.file
    }
  }

  /// What the rows went through, where they are records that say so.
  public var preprocessing: Preprocessing? {
    if case .records(let records) = self { records.description.preprocessing } else { nil }
  }

  /// The checkpoint the rows went through, where they are records that say so.
  public var checkpointDigest: String? {
    if case .records(let records) = self { records.description.checkpointDigest } else { nil }
  }

  /// The number of rows of the network.
  public var rowCount: Int {
    switch self {
    case .dataset(let dataset): dataset.rowCount
    case .records(let records): records.inputRowCount
    }
  }

  /// Which rows these are, so that a posterior they are fitted to can tell when they come again from the same file.
  ///
  /// - Parameters:
  ///   - specification: as it was named.
  ///   - rows: the rows asked for; all for `nil`.
  ///   - dataDigest: the digest of the data, where they are no records and it is known.
  /// - Cost: of records, whose files are large, reads the first rows alone; files that begin with the same rows share
  ///   them.
  public func fittedRows(_ specification: String, _ rows: Range<Int>?, dataDigest: String?) throws(FileError) -> FittedRows {
    let rows = rows ?? 0..<rowCount
    switch self {
    case .records(let records):
      let first = RowDigests.digests(of: RowBatch(try records.firstLogits(64)))
      return FittedRows(data: FileDigest.sha256(joining: first.map { String($0) }), rows: rows)
    case .dataset:
      let (file, options) = try DatasetOptions.parse(specification)
      let array = options.inputs.map { ":" + $0 } ?? ""
      if let dataDigest { return FittedRows(data: dataDigest + array, rows: rows) }
      return FittedRows(data: try FileDigest.sha256(ofData: file) + array, rows: rows)
    }
  }

  /// Digests of the rows, for finding those that recur elsewhere; `nil` where the file keeps none.
  public func rowDigests() throws -> RowDigests? {
    switch self {
    case .dataset(let dataset): try RowDigests(of: dataset)
    case .records(let records): try records.rowDigests().map { RowDigests($0) }
    }
  }
}

/// A data set whose labels are of no interest.
private struct UnlabelledDataset: Dataset {
  private let dataset: any Dataset

  init(_ dataset: any Dataset) { self.dataset = dataset }

  var file: String { dataset.file }
  var rowCount: Int { dataset.rowCount }
  var rowShape: Shape { dataset.rowShape }
  var hasLabels: Bool { false }
  var firstRow: Int { dataset.firstRow }

  func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch { try dataset.inputs(rows) }
  func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { [] }
}
