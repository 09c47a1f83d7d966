import BayesFiles
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Tables of numbers as text.
struct CSVTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func open(
    _ text: String, labels column: String? = nil, requiresLabels: Bool = true, rows: Range<Int>? = nil
  ) throws -> any Dataset {
    var options = DatasetOptions(labelColumn: column, rows: rows)
    options.requiresLabelColumn = requiresLabels
    return try openDataset(try folder.write(text.utf8, to: "table.csv"), options: options)
  }

  private func refusal(_ body: () throws -> Void) throws -> FileError {
    try #require(throws: FileError.self) { try body() }
  }

  // MARK: - Values

  @Test(arguments: [
    "1,2\n3,4\n5,6\n", "1,2\r\n3,4\r\n5,6\r\n", "1,2\n3,4\n5,6", "a,b\n1,2\n3,4\n5,6\n\n\n",
    "\u{FEFF}a,b\n1,2\n3,4\n5,6",
    "\u{FEFF}1,2\n3,4\n5,6", "\"1\",\"2\"\n 3 ,\t4\n\" 5\",\"6 \"\n",
    "\"a, or\n so\",\"say \"\"b\"\"\"\n1,2\n3,4\n5,6\n",
    "0,b\n1,2\n3,4\n5,6\n", ",b\n1,2\n3,4\n5,6\n", "\"a\r\nb\",c\r\n1,2\r\n3,4\r\n5,6\r\n",
  ])
  func rowsAreRead(_ text: String) throws {
    let data = try open(text)
    #expect(data.rowCount == 3 && data.rowShape == [2] && !data.hasLabels)
    #expect(try data.inputs(0..<3).tensor == Tensor(shape: [3, 2], [1, 2, 3, 4, 5, 6]))
    #expect(try data.inputs(1..<2).tensor == Tensor(shape: [1, 2], [3, 4]))
    #expect(try data.inputs(3..<3).count == 0)
  }

  /// Right is what Swift's own conversion of literals says.
  @Test func numbersAreTheNearestOnes() throws {
    let texts = [
      "0", "-0", "+7", "007", "1.5", "-.5", "5.", "0.1", "3.4028235e38", "1e-45", "1E+3", "123456789012345",
      "0.30000000000000004", "1234567890.1234567890123", "2.2250738585072011e-308", "1e22", "1e23", "9007199254740993",
      "0.000000000000000000000000000001", "100000000000000000000000000000", "1e-400", "00000000000000000000001.25",
      "1.17549435e-38", "16777217", "0.1e1", "12e-2",
      "1e-9223372036854775808", "0e9223372036854775807", "0.00000000000000000000000000000e99999999999999999999",
    ]
    let data = try open("value,label\n" + texts.map { $0 + ",0\n" }.joined(), labels: "label")
    let expected = try texts.map { Float(try #require(Double($0))) }
    #expect(try data.inputs(0..<texts.count).tensor == Tensor(shape: [texts.count, 1], expected))
  }

  @Test func anyRangeOfALongTableIsRead() throws {
    // Marks lie 256 rows apart; lines differ in length.
    let numbers = (0..<1000).map { $0 * $0 * $0 }
    let data = try open("x,y\n" + numbers.map { "\($0),\($0 % 7)\n" }.joined(), labels: "y")
    for rows in [0..<1000, 0..<1, 255..<257, 256..<512, 300..<301, 511..<1000, 999..<1000] {
      #expect(try data.inputs(rows).tensor.elements == ContiguousArray(numbers[rows].map { Float($0) }))
      #expect(try data.labels(rows) == numbers[rows].map { $0 % 7 })
    }
    let some = try open("x,y\n" + numbers.map { "\($0),\($0 % 7)\n" }.joined(), labels: "y", rows: 500..<700)
    #expect(try some.rowCount == 200 && some.labels(0..<200) == data.labels(500..<700))
  }

  /// Blocks of a file are 256 KiB.
  @Test func linesMayBeLongerThanABlock() throws {
    let width = 100_000
    let line = (0..<width).map { "\($0 % 1000)" }.joined(separator: ",")
    let data = try open(line + "\n" + line + "\r\n" + line)
    #expect(data.rowCount == 3 && data.rowShape == [width])
    let expected = ContiguousArray((0..<width).map { Float($0 % 1000) })
    for row in 0..<3 { #expect(try data.inputs(row..<row + 1).tensor.elements == expected) }
  }

  // MARK: - Labels

  @Test(arguments: [
    ("a,y,b\n1,0,2\n3,1.0,4\n", "y"), ("a,y,b\n1,0,2\n3,1,4\n", "1"), ("1,0,2\n3,1e0,4\n", "1"),
    ("1,y,b\n1,0,2\n3,1,4\n", "y"), ("2,1,b\n1,0,2\n3,1,4\n", "1"),
  ])
  func theColumnOfLabelsLeavesTheInputs(_ text: String, _ column: String) throws {
    let data = try open(text, labels: column)
    #expect(try data.labels(0..<2) == [0, 1])
    #expect(try data.inputs(0..<2).tensor == Tensor(shape: [2, 2], [1, 2, 3, 4]))
  }

  @Test func foreignRowsNeedNoLabels() throws {
    let without = try open("a,b\n1,2\n", labels: "y", requiresLabels: false)
    #expect(without.rowShape == [2] && !without.hasLabels)
    let with = try open("a,b,y\n1,2,cat\n", labels: "y", requiresLabels: false)
    #expect(try with.inputs(0..<1).tensor == Tensor(shape: [1, 2], [1, 2]))
  }

  @Test func labelsComeFromAnotherTable() throws {
    let inputs = try folder.write("1,2\n3,4\n".utf8, to: "x.csv")
    let labels = try folder.write("id,class\n7,1\n8,0\n".utf8, to: "y.csv")
    let data = try openDataset(inputs, options: DatasetOptions(labelsFile: labels + ":class"))
    #expect(try data.labels(0..<2) == [1, 0])
    // The column is one of the table that holds the labels, so the other keeps all of its own.
    for column in ["class", "1"] {
      let same = try openDataset(inputs, options: DatasetOptions(labelsFile: labels, labelColumn: column))
      #expect(try same.labels(0..<2) == [1, 0])
      #expect(same.rowShape == [2])
    }
    let error = try refusal {
      _ = try openDataset(inputs, options: DatasetOptions(labelsFile: labels, labelColumn: "2"))
    }
    #expect(error.file == labels && error.message.hasPrefix("There is no column '2'"))
  }

  @Test(arguments: [
    ("a,b\n1,2\n", "y", "There is no column 'y'; give the name or the index (from 0) of one of the 2 columns: a, b."),
    (
      "1,2\n", "y",
      "There is no column 'y'; give the name or the index (from 0) of one of the 2 columns, which have no names."
    ),
    ("1,2\n", "2", "There is no column '2'"), ("1,2\n", "-1", "There is no column '-1'"),
    ("a,a\n1,2\n", "a", "2 columns have the name 'a'; give the index of one, counted from 0."),
    ("a\n1\n", "a", "Inputs of shape [1, 0] are not read"),
  ])
  func columnsThatCannotBeLabelsAreRefused(_ text: String, _ column: String, _ message: String) throws {
    let error = try refusal { _ = try open(text, labels: column) }
    #expect(error.message.hasPrefix(message), "\(error)")
  }

  @Test func labelsThatAreNoClassesAreRefused() throws {
    let data = try open("a,y\n1,0\n2,1.5\n3,cat\n", labels: "y")
    let fraction = try refusal { _ = try data.labels(0..<2) }
    #expect(fraction.object == "column 'y'")
    #expect(fraction.message == "Row 1 has the label 1.5; labels are whole numbers from 0 on.")
    let text = try refusal { _ = try data.labels(2..<3) }
    #expect(text.object == "line 4, column 'y'")
  }

  // MARK: - Refusals

  @Test(arguments: [
    (
      "a,b\n1,2\n3,x\n", "line 3, column 'b'",
      "The field holds 'x', which is no finite number; correct it or leave out that row."
    ),
    ("1,2\n3,x\n", "line 2, column 1 (from 0)", "The field holds 'x', which is no finite number"),
    ("1,2\n3,\n", "line 2, column 1 (from 0)", "The field is empty; fill in a number or leave out that row."),
    ("1,\"\"\n", "line 1, column 1 (from 0)", "The field is empty"),
    (",2\n1,2\n", "line 1, column 0 (from 0)", "The field is empty"),
    ("NA,2\n1,2\n", "line 1, column 0 (from 0)", "The field holds 'NA', which is no finite number"),
    ("a\nnan\n", "line 2, column 'a'", "The field holds 'nan', which is no finite number"),
    ("a\n-inf\n", "line 2, column 'a'", "The field holds '-inf', which is no finite number"),
    ("a\n1e999\n", "line 2, column 'a'", "The field holds '1e999', which is no finite number"),
    ("a\n1e39\n", "line 2, column 'a'", "The field holds '1e39', which is too large for a Float"),
    ("a\n0x10\n", "line 2, column 'a'", "The field holds '0x10', which is no finite number"),
    ("a\n1_000\n", "line 2, column 'a'", "The field holds '1_000', which is no finite number"),
    ("a\n1;2\n", "line 2, column 'a'", "The field holds '1;2', which is no finite number"),
    ("a\n1e\n", "line 2, column 'a'", "The field holds '1e'"), ("a\n.\n", "line 2, column 'a'", "The field holds '.'"),
    ("a\n1e5e5\n", "line 2, column 'a'", "The field holds '1e5e5'"),
    ("a\n-\n", "line 2, column 'a'", "The field holds '-'"),
    ("a\n1e+-5\n", "line 2, column 'a'", "The field holds '1e+-5'"),
    ("a\n1 2\n", "line 2, column 'a'", "The field holds '1 2'"),
    ("a\n\"1\"2\n", "line 2, column 'a'", "The field holds '\"1\"2'"),
    ("\"a\nb\"\nx\n", "line 3, column 'a b'", "The field holds 'x', which is no finite number"),
    ("\"a\nb\",c\n1,2\n3,?\n", "line 4, column 'c'", "The field holds '?', which is no finite number"),
    ("a\n\u{0}\n", "line 2, column 'a'", "The field holds"),
  ])
  func fieldsThatAreNoNumbersAreNamed(_ text: String, _ object: String, _ message: String) throws {
    let data = try open(text)
    let error = try refusal { _ = try data.inputs(0..<data.rowCount) }
    #expect(error.code == .value)
    #expect(error.object == object)
    #expect(error.message.hasPrefix(message), "\(error)")
  }

  @Test(
    arguments: [
      (
        "a,b\n1,2\n3\n", "line 3",
        "The line has 1 field(s), but the first has 2; give every line as many, separated by commas."
      ),
      ("1,2\n3,4,5\n", "line 2", "The line has 3 field(s), but the first has 2"),
      ("a,b\n1,2\n\n3,4\n", "line 3", "The line is empty; remove it."), ("\n1,2\n", "line 1", "The line is empty"),
      ("a,b\n1,\"2\n3,4\n", "line 2", "A quoted field is not closed; put a quote at its end."),
      ("\"a,b\n1,2\n", "line 1", "A quoted field is not closed"),
      ("a,b\r1,2\r", "line 1", "The line holds a carriage return without a line feed"),
      ("a,b\n1,2\r3,4\n", "line 2", "The line holds a carriage return without a line feed"),
      ("a,b\n", nil, "The data have no rows; give at least one."),
    ] as [(String, String?, String)])
  func tablesOfAnotherFormAreRefused(_ text: String, _ object: String?, _ message: String) throws {
    let error = try refusal { _ = try open(text) }
    #expect(error.object == object)
    #expect(error.message.hasPrefix(message), "\(error)")
  }

  @Test func otherEncodingsAreRefused() throws {
    for bytes in [[0xFF, 0xFE, 0x31, 0], [0xFE, 0xFF, 0, 0x31]] as [[UInt8]] {
      let path = try folder.write(bytes, to: "table.csv")
      let error = try refusal { _ = try openDataset(path) }
      #expect(error.description == "\(path): The text is in UTF-16; save it as UTF-8.")
    }
  }

  @Test func namesAfterAColonAreRefused() throws {
    let path = try folder.write("a,b\n1,2\n".utf8, to: "table.csv")
    let error = try refusal { _ = try openDataset(path, options: DatasetOptions(inputs: "a")) }
    #expect(
      error.message.hasPrefix("Columns are not chosen after a colon; name that of the labels with --label-column"))
  }
}
