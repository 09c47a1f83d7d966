public import BayesNetwork
public import BayesTensor

/// Opens data: a file of HDF5, `.npz`, `.npy`, IDX (gzipped or not) or `.csv`, judged by its content, or a folder of
/// images.
///
/// In files that name their arrays, and where `options` names none, inputs are `x` and labels `y`.
/// Where there is no `x`, the only array of two or more axes is taken, and for labels the only list of
/// integers as long.  Labels are class indices `[rows]` or `[rows, 1]`, of any type as long as they are
/// whole numbers from 0, or one-hot rows `[rows, classes]`; where a network answers at every pixel or step,
/// `[rows, height, width]`, with or without a last axis for those.  For networks whose outputs are real numbers, or labels
/// that do not exclude each other, they are targets of any type, `[rows, outputs]` (`[rows]` for one).  Inputs of `uint8` stay bytes; all others
/// become `Float`.
///
/// A `.csv` file gives inputs `[rows, columns]` without the column of labels.  Columns are separated by
/// commas and may be quoted; the first line is taken for names where a field of it is neither a number nor a
/// mark for a missing one.
///
/// A folder of images gives bytes `[rows, height, width, channels]` of PNG and JPEG files of one size, and
/// for labels the indices of its sub-folders in the byte-wise order of their names.  Where any image is in
/// colour there are three channels, else one; alpha, orientation tags and colour profiles are passed over,
/// and samples of 16 bits are rounded to 8.  Images in the folder itself have no labels.
///
/// - Throws: `FileError` when a file cannot be opened or is damaged, an array is missing or ambiguous,
///   the counts of inputs and labels differ, or there are no rows.  Values are checked when they are
///   read.
/// - Cost: memory does not grow with the number of rows, but for one path an image and 8 bytes for 256 rows
///   of `.csv`.  Opening reads a `.csv` file once, and the start of every image.  Compressed members of `.npz`,
///   and gzipped IDX, are unpacked once into the folder for temporary files, where they have no name and vanish
///   with the data set.  HDF5 arrays in chunks keep up to two rows of chunks (at most 1 GiB) in memory.
public func openDataset(_ file: String, options: DatasetOptions = DatasetOptions()) throws(FileError)
  -> any Dataset
{
  let inputs: any StoredArray
  var labels: LabelArray?
  var classNames: [String] = []
  switch try DataFile(file) {
  case .single(let array):
    guard options.inputs == nil, options.labels == nil || options.labelsFile != nil else {
      throw FileError(
        .missing, file: file, "This file holds one array, which has no name; give the file alone.")
    }
    inputs = array
  case .named(let catalog):
    let choice = try ArrayChoice(in: catalog, options)
    inputs = try catalog.stored(choice.inputs)
    labels = try choice.labels.map { (name) throws(FileError) in try LabelArray(catalog.stored(name)) }
  case .table(let table):
    guard options.inputs == nil, options.labels == nil || options.labelsFile != nil else {
      throw FileError(
        .missing, file: file,
        "Columns are not chosen after a colon; name that of the labels with --label-column, and all others are inputs.")
    }
    let column = try labelColumn(of: table, options)
    inputs = table.columns(without: column)
    labels = try column.map { (column) throws(FileError) in try LabelArray(table.column(column)) }
  case .folder(let folder):
    // As of a file, `:x` are the inputs alone.
    guard options.inputs == nil || options.inputs == "x", options.labels == nil || options.labelsFile != nil else {
      throw FileError(
        .missing, file: file,
        "A folder of images has no arrays with names; give the folder alone, or FOLDER:x for its images without "
          + "classes.")
    }
    inputs = try ImageArray(folder)
    if !folder.classNames.isEmpty, options.labelsFile == nil, options.inputs == nil {
      labels = try LabelArray(ImageClasses(folder))
      classNames = folder.classNames
    }
  }
  if let labelsFile = options.labelsFile {
    labels = try openLabels(labelsFile, name: options.labels, column: options.labelColumn)
  }
  return try ArrayDataset(inputs: inputs, labels: labels, classNames: classNames, rows: options.rows)
}

/// The index of the column of labels, where there is one.
private func labelColumn(of table: CSVTable, _ options: DatasetOptions) throws(FileError) -> Int? {
  // Where labels have a file of their own, the column is that file's.
  guard let name = options.labelColumn, options.labelsFile == nil else { return nil }
  return try options.requiresLabelColumn ? table.index(ofColumn: name) : table.indexIfPresent(ofColumn: name)
}

private func openLabels(_ specification: String, name: String?, column: String?) throws(FileError) -> LabelArray {
  let (file, options) = try DatasetOptions.parse(specification)
  switch try DataFile(file) {
  case .single(let array):
    guard options.inputs == nil else {
      throw FileError(
        .missing, file: file, "This file holds one array, which has no name; give the file alone.")
    }
    return try LabelArray(array)
  case .named(let catalog):
    if let name = options.inputs ?? name { return try LabelArray(catalog.stored(name)) }
    return try LabelArray(catalog.stored(ArrayChoice.labels(in: catalog)))
  case .table(let table):
    if let name = options.inputs ?? name ?? column {
      return try LabelArray(table.column(table.index(ofColumn: name)))
    }
    return try LabelArray(table.columns(without: nil))
  case .folder:
    throw FileError(.unsupported, file: file, "This is a folder of images; name a file of labels.")
  }
}

/// Which arrays of a file are inputs and labels.
private struct ArrayChoice {
  let inputs: String
  let labels: String?

  init(in catalog: any ArrayCatalog, _ options: DatasetOptions) throws(FileError) {
    // Labels from another file need none in this one.
    let namedLabels = options.labelsFile == nil ? options.labels : nil
    if let name = options.inputs {
      (inputs, labels) = (name, namedLabels)
      return
    }
    let wantsLabels = options.labelsFile == nil
    if catalog.has("x") {
      inputs = "x"
      labels = namedLabels ?? (wantsLabels && catalog.has("y") ? "y" : nil)
      return
    }
    let candidates = catalog.entries.filter {
      $0.shape.rank >= 2 && $0.isNumeric && $0.path != namedLabels.map(HDF5File.normalized)
    }
    guard candidates.count == 1 else {
      throw FileError(
        .missing, file: catalog.file,
        "It is not clear which array holds the inputs: there is no 'x', and the file has \(catalog.arrayList); "
          + "name them, as in \(catalog.file):INPUTS,LABELS.")
    }
    let chosen = candidates[0]
    inputs = chosen.path
    let lists = catalog.entries.filter { $0.isIntegerList && $0.shape[0] == chosen.shape[0] }
    labels = namedLabels ?? (wantsLabels && lists.count == 1 ? lists[0].path : nil)
  }

  /// The labels of a file that holds nothing else of interest.
  static func labels(in catalog: any ArrayCatalog) throws(FileError) -> String {
    if catalog.has("y") { return "y" }
    let lists = catalog.entries.filter(\.isIntegerList)
    guard lists.count == 1 else {
      throw FileError(
        .missing, file: catalog.file,
        "It is not clear which array holds the labels: there is no 'y', and the file has \(catalog.arrayList); "
          + "name them, as in \(catalog.file):LABELS.")
    }
    return lists[0].path
  }
}

extension ArchiveEntry {
  fileprivate var isIntegerList: Bool {
    shape.rank == 1 && (scalarType.hasPrefix("int") || scalarType.hasPrefix("uint"))
  }

  fileprivate var isNumeric: Bool {
    isIntegerType || scalarType.hasPrefix("float") || scalarType == "bool"
  }

  private var isIntegerType: Bool { scalarType.hasPrefix("int") || scalarType.hasPrefix("uint") }
}

/// Inputs and labels that lie in arrays of files.
private struct ArrayDataset: Dataset {
  private let array: any StoredArray
  private let labelArray: LabelArray?
  private let range: Range<Int>
  let classNames: [String]

  init(inputs: any StoredArray, labels: LabelArray?, classNames: [String], rows: Range<Int>?) throws(FileError) {
    guard inputs.shape.rank >= 2, inputs.shape.row.elementCount > 0 else {
      throw FileError(
        .shape, file: inputs.file, object: inputs.object,
        "Inputs of shape \(inputs.shape) are not read; give an array [rows, …] of at least one number a row.")
    }
    let count = inputs.shape[0]
    if let labels, labels.rowCount != count {
      throw FileError(
        .shape, file: labels.file, object: labels.object,
        "There are \(labels.rowCount) labels for \(count) rows of inputs; give as many.")
    }
    guard count > 0 else {
      throw FileError(
        .shape, file: inputs.file, object: inputs.object, "The data have no rows; give at least one.")
    }
    let range = rows ?? 0..<count
    try inputs.check(range)
    guard !range.isEmpty else {
      throw FileError(
        .shape, file: inputs.file, object: inputs.object,
        "The row range \(range.lowerBound):\(range.upperBound) is empty; give at least one row of 0:\(count)."
      )
    }
    array = inputs
    labelArray = labels
    self.classNames = classNames
    self.range = range
  }

  var file: String { array.file }
  var labelsFile: String { labelArray?.file ?? file }
  var rowCount: Int { range.count }
  var rowShape: Shape { array.shape.row }
  var hasLabels: Bool { labelArray != nil }
  var firstRow: Int { range.lowerBound }

  func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch {
    let stored = try storedRows(rows)
    let shape = rowShape.batched(rows.count)
    if array.scalarType == .unsignedInteger(bits: 8) {
      return RowBatch(shape: shape, values: .bytes(try array.bytes(stored)))
    }
    let values = try array.values(stored, as: Float.self)
    if !array.scalarType.isInteger, let position = values.firstIndex(where: { !$0.isFinite }) {
      throw FileError(
        .value, file: file, object: array.object,
        "Row \(stored.lowerBound + position / rowShape.elementCount) holds \(values[position]), which is not a "
          + "finite number (as Float); correct or leave out that row.")
    }
    return RowBatch(shape: shape, values: .floats(values))
  }

  func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { try labels(rows, as: LabelReading()) }

  func labels(_ rows: Range<Int>, as reading: LabelReading) throws(FileError) -> [Int] {
    guard let labelArray else {
      throw FileError(.missing, file: file, "The data have no labels; name them, or give a file of labels.")
    }
    return try labelArray.indices(storedRows(rows), as: reading)
  }

  func holdsTargets(outputs: Int, positions: [Int]) -> Bool {
    labelArray?.holdsTargets(outputs: outputs, positions: positions) ?? false
  }

  func targets(_ rows: Range<Int>, outputs: Int, positions: [Int]) throws(FileError) -> Tensor<Double> {
    guard let labelArray else {
      throw FileError(.missing, file: file, "The data have no targets; name them, or give a file of them as that of labels.")
    }
    return try labelArray.targets(storedRows(rows), outputs: outputs, positions: positions)
  }

  /// The rows of the file that some rows of this data set are.
  private func storedRows(_ rows: Range<Int>) throws(FileError) -> Range<Int> {
    guard rows.lowerBound >= 0, rows.upperBound <= range.count else {
      throw FileError(
        .shape, file: file, object: array.object,
        "Rows \(rows.lowerBound):\(rows.upperBound) were asked for, but the data have \(range.count).")
    }
    return range.lowerBound + rows.lowerBound..<range.lowerBound + rows.upperBound
  }
}
