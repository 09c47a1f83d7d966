import BayesTensor

/// A `.csv` file: rows of numbers, and names of the columns where its first line holds them.
struct CSVTable {
  let columnCount: Int
  /// `nil` where the first line holds numbers already.
  let columnNames: [String]?
  let rowCount: Int
  private let reader: FileReader
  /// The line of the first row, counted from 1.
  private let firstLine: Int
  /// Where every 256th row starts.
  private let marks: ContiguousArray<Int>

  private static let rowsAMark = 256
  private static let headerLimit = 1 << 24

  /// Finds the rows and checks that all have as many fields; values are checked when they are read.
  ///
  /// - Throws: `FileError.Code.malformed` naming the first line of another form.
  /// - Cost: reads the file once; 8 bytes for 256 rows, and one line, stay in memory.
  init(_ reader: FileReader) throws(FileError) {
    let (start, header, lineCount) = try Self.firstRecord(of: reader)
    let fields = CSVFields(header.line[...]).map { CSVField($0) }
    let hasNames = fields.contains(where: \.isName)
    columnNames = hasNames ? fields.map(\.text) : nil
    columnCount = fields.count
    firstLine = hasNames ? lineCount + 1 : 1
    var lines = TextLines(reader, at: hasNames ? header.end : start)
    var marks: ContiguousArray<Int> = []
    var rowCount = 0
    var emptyLine: Int?
    while true {
      let offset = lines.offset
      guard let line = try lines.next() else { break }
      let number = firstLine + rowCount
      if line.isEmpty {
        emptyLine = emptyLine ?? number
        continue
      }
      if let emptyLine {
        throw FileError(
          .malformed, file: reader.file, object: "line \(emptyLine)", "The line is empty; remove it.")
      }
      let form = CSVLineForm(line)
      guard !form.isOpen else { throw Self.openQuote(reader.file, line: number) }
      guard !form.hasCarriageReturn else { throw Self.carriageReturn(reader.file, line: number) }
      guard form.fieldCount == fields.count else {
        throw FileError(
          .malformed, file: reader.file, object: "line \(number)",
          "The line has \(form.fieldCount) field(s), but the first has \(fields.count); give every line as many, "
            + "separated by commas.")
      }
      if rowCount % Self.rowsAMark == 0 { marks.append(offset) }
      rowCount += 1
    }
    self.reader = reader
    self.marks = marks
    self.rowCount = rowCount
  }

  var file: String { reader.file }

  /// All columns but one as an array `[rows, columns]`.
  func columns(without column: Int?) -> some StoredArray {
    let indices = (0..<columnCount).filter { $0 != column }
    return CSVColumns(table: self, indices: indices, object: nil, shape: [rowCount, indices.count])
  }

  /// One column as an array `[rows]`.
  func column(_ index: Int) -> some StoredArray {
    CSVColumns(table: self, indices: [index], object: name(ofColumn: index), shape: [rowCount])
  }

  /// The index of a column that is given by its name or, where none has that name, its index.
  ///
  /// - Throws: `FileError.Code.missing` when there is no such column.
  func index(ofColumn name: String) throws(FileError) -> Int {
    if let index = try indexIfPresent(ofColumn: name) { return index }
    let names = columnNames.map { ": \($0.prefix(12).joined(separator: ", "))\($0.count > 12 ? ", …" : "")" }
    throw FileError(
      .missing, file: file,
      "There is no column '\(name)'; give the name or the index (from 0) of one of the \(columnCount) columns"
        + "\(names ?? ", which have no names").")
  }

  /// The same; `nil` when there is no such column.
  func indexIfPresent(ofColumn name: String) throws(FileError) -> Int? {
    let named = (columnNames ?? []).indices.filter { columnNames?[$0] == name }
    guard named.count < 2 else {
      throw FileError(
        .value, file: file, "\(named.count) columns have the name '\(name)'; give the index of one, counted from 0.")
    }
    if let index = named.first { return index }
    return Int(name).flatMap { (0..<columnCount).contains($0) ? $0 : nil }
  }

  /// The numbers of some rows and columns, row by row.
  ///
  /// - Parameter columns: indices in ascending order.
  /// - Throws: `FileError.Code.value` naming the line and the column of what is no finite number.
  fileprivate func values<Scalar: TensorScalar>(_ rows: Range<Int>, _ columns: [Int], as type: Scalar.Type)
    throws(FileError) -> ContiguousArray<Scalar>
  {
    var values = ContiguousArray<Scalar>()
    guard !rows.isEmpty else { return values }
    values.reserveCapacity(rows.count * columns.count)
    var lines = TextLines(reader, at: marks[rows.lowerBound / Self.rowsAMark])
    for row in rows.lowerBound / Self.rowsAMark * Self.rowsAMark..<rows.upperBound {
      guard let line = try lines.next() else { throw hasChanged }
      guard row >= rows.lowerBound else { continue }
      var wanted = columns.makeIterator()
      var next = wanted.next()
      for (column, bytes) in CSVFields(line).enumerated() {
        guard let index = next else { break }
        guard column == index else { continue }
        let field = CSVField(bytes)
        guard let number = field.number.map({ Scalar($0) }), number.isFinite else {
          throw refusal(of: field, row: row, column: column)
        }
        values.append(number)
        next = wanted.next()
      }
      guard next == nil else { throw hasChanged }
    }
    return values
  }

  private func refusal(of field: CSVField, row: Int, column: Int) -> FileError {
    let text = field.text
    let kind = field.number == nil ? "no finite number" : "too large for a Float"
    return FileError(
      .value, file: file, object: "line \(firstLine + row), \(name(ofColumn: column))",
      text.isEmpty
        ? "The field is empty; fill in a number or leave out that row."
        : "The field holds '\(text.prefix(40))', which is \(kind); correct it or leave out that row.")
  }

  private var hasChanged: FileError {
    FileError(.malformed, file: file, "The file has changed since it was first read; do not write it meanwhile.")
  }

  private func name(ofColumn index: Int) -> String {
    columnNames.map { "column '\($0[index])'" } ?? "column \(index) (from 0)"
  }

  /// The first line, or lines where a quoted name goes over several.
  ///
  /// - Returns: where it starts; its bytes and where it ends; how many lines it takes.
  private static func firstRecord(of reader: FileReader) throws(FileError)
    -> (start: Int, header: (line: ContiguousArray<UInt8>, end: Int), lineCount: Int)
  {
    let mark = try reader.prefix(3)
    guard !mark.starts(with: [0xFF, 0xFE]), !mark.starts(with: [0xFE, 0xFF]) else {
      throw FileError(.unsupported, file: reader.file, "The text is in UTF-16; save it as UTF-8.")
    }
    let start = mark.elementsEqual([0xEF, 0xBB, 0xBF]) ? 3 : 0
    var lines = TextLines(reader, at: start)
    var record: ContiguousArray<UInt8> = []
    var lineCount = 0
    var isOpen = false
    repeat {
      guard record.count <= headerLimit, let line = try lines.next() else { throw openQuote(reader.file, line: 1) }
      let form = CSVLineForm(line)
      guard !form.hasCarriageReturn else { throw carriageReturn(reader.file, line: lineCount + 1) }
      if lineCount > 0 { record.append(0x0A) }
      record += line
      lineCount += 1
      isOpen = isOpen != form.isOpen
    } while isOpen
    guard !record.isEmpty else {
      throw FileError(.malformed, file: reader.file, object: "line 1", "The line is empty; remove it.")
    }
    return (start, (record, lines.offset), lineCount)
  }

  private static func openQuote(_ file: String, line: Int) -> FileError {
    FileError(
      .malformed, file: file, object: "line \(line)", "A quoted field is not closed; put a quote at its end.")
  }

  private static func carriageReturn(_ file: String, line: Int) -> FileError {
    FileError(
      .malformed, file: file, object: "line \(line)",
      "The line holds a carriage return without a line feed; end every line with a line feed.")
  }
}

/// Some columns of a `.csv` file.
private struct CSVColumns: StoredArray {
  let table: CSVTable
  /// In ascending order.
  let indices: [Int]
  let object: String?
  let shape: Shape

  var file: String { table.file }
  var scalarType: ScalarType { .float(bits: 64) }

  func values<Scalar: TensorScalar>(_ rows: Range<Int>?, as type: Scalar.Type) throws(FileError)
    -> ContiguousArray<Scalar>
  {
    if let rows { try check(rows) }
    return try table.values(rows ?? 0..<shape[0], indices, as: type)
  }

  func bytes(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<UInt8> {
    preconditionFailure("Columns of text are no bytes.")
  }

  func integers(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<Int> {
    preconditionFailure("Columns of text are no integers.")
  }
}
