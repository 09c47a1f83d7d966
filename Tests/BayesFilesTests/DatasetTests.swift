import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

struct DatasetTests {
  private let forms = golden("HDF5Forms/data-labels.h5")

  private func expected(_ file: String, _ array: String) throws -> GoldenValue {
    try GoldenValue(contentsOf: "Data/\(file).json")["arrays"][array]
  }

  private func open(
    _ file: String, _ inputs: String? = nil, _ labels: String? = nil, labelsFile: String? = nil,
    rows: Range<Int>? = nil
  ) throws(FileError) -> any Dataset {
    try openDataset(
      file, options: DatasetOptions(inputs: inputs, labels: labels, labelsFile: labelsFile, rows: rows))
  }

  private func refusal(_ body: () throws -> Void) throws -> FileError {
    try #require(throws: FileError.self) { try body() }
  }

  // MARK: - Formats

  @Test(arguments: [
    ("chunked.h5", "x", "y"), ("contiguous.h5", "x", "y"), ("other-names.h5", "images", "labels"),
    ("stored.npz", "x", "y"), ("deflated.npz", "x", "y"),
  ])
  func namedArraysAreRead(_ file: String, _ inputs: String, _ labels: String) throws {
    let x = try expected(file, inputs).tensor(as: Float.self)
    let y = try expected(file, labels)["values"].numbers.map { Int($0) }
    // `other-names.h5` has neither `x` nor `y`, so it tries the rule for those.
    for data in [try open(golden("Data/" + file)), try open(golden("Data/" + file), inputs, labels)] {
      #expect(data.rowCount == x.rowCount)
      #expect(data.rowShape == x.shape.row)
      #expect(data.hasLabels)
      #expect(try data.labels(0..<data.rowCount) == y)
      let isBytes = try expected(file, inputs)["dtype"].text == "uint8"
      for start in 0..<data.rowCount {
        for end in start...data.rowCount {
          let batch = try data.inputs(start..<end)
          #expect(batch.tensor == x.rows(start..<end))
          if case .bytes = batch.values { #expect(isBytes) } else { #expect(!isBytes) }
        }
      }
    }
  }

  @Test(arguments: [
    "float32-big-endian.npy", "float64.npy", "uint8-fortran.npy", "images-idx3-ubyte", "images-idx3-ubyte.gz",
  ])
  func singleArraysAreRead(_ file: String) throws {
    let golden = try expected(file.replacing(".gz", with: ""), "values")
    let x = golden.tensor(as: Float.self)
    let data = try open(_: BayesFilesTests.golden("Data/" + file))
    #expect(!data.hasLabels)
    #expect(try data.inputs(0..<data.rowCount).tensor == x)
    #expect(try data.inputs(1..<2).tensor == x.rows(1..<2))
    if golden["dtype"].text == "uint8", case .floats = try data.inputs(0..<1).values {
      Issue.record("bytes became floats")
    }
  }

  @Test(arguments: ["labels-idx1-ubyte", "labels-idx1-ubyte.gz"])
  func labelsComeFromAFileOfTheirOwn(_ labels: String) throws {
    let data = try open(golden("Data/images-idx3-ubyte.gz"), labelsFile: golden("Data/" + labels))
    #expect(try data.labels(0..<5) == [6, 7, 7, 9, 3])
    #expect(try data.labels(1..<3) == [7, 7])
  }

  @Test func labelsComeFromANamedArrayOfAnotherFile() throws {
    let x = golden("Data/chunked.h5")
    for specification in [
      "Data/chunked.h5:y", "Data/stored.npz", "Data/other-names.h5", "Data/other-names.h5:labels",
    ] {
      #expect(try open(x, labelsFile: golden(specification)).labels(0..<6) == [3, 6, 7, 1, 0, 2])
    }
    #expect(try open(x, nil, "labels", labelsFile: golden("Data/other-names.h5")).labels(0..<1) == [3])
  }

  @Test func everyNumpyTypeIsRead() throws {
    let folder = try TemporaryFolder()
    func bytes<Number: FixedWidthInteger>(_ numbers: [Number], bigEndian: Bool) -> [UInt8] {
      numbers.flatMap { number in
        let little = (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
        return bigEndian ? little.reversed() : little
      }
    }
    func check(_ type: String, _ content: [UInt8], _ values: [Float], version: UInt8 = 1) throws {
      let path = try folder.write(npy(type, "(2, 2)", content, version: version), to: "array.npy")
      #expect(try open(path).inputs(0..<2).tensor == Tensor(shape: [2, 2], values), "\(type)")
    }
    for (order, isBig) in [("<", false), (">", true)] {
      try check("\(order)i2", bytes([-2, 1, 300, Int16.min], bigEndian: isBig), [-2, 1, 300, -32768])
      try check("\(order)i4", bytes([-2, 1, 70000, Int32.min], bigEndian: isBig), [-2, 1, 70000, -0x1p31])
      try check("\(order)i8", bytes([-2, 1, 70000, Int64.min], bigEndian: isBig), [-2, 1, 70000, -0x1p63])
      try check("\(order)u2", bytes([2, 1, 300, UInt16.max], bigEndian: isBig), [2, 1, 300, 65535])
      try check(
        "\(order)u4", bytes([2, 1, 70000, 1 << 31 as UInt32], bigEndian: isBig), [2, 1, 70000, 0x1p31])
      try check(
        "\(order)u8", bytes([2, 1, 70000, 1 << 63 as UInt64], bigEndian: isBig), [2, 1, 70000, 0x1p63])
      let halves: [Float16] = [0.5, -2, 65504, 0x1p-24]
      try check("\(order)f2", bytes(halves.map(\.bitPattern), bigEndian: isBig), halves.map { Float($0) })
      let floats: [Float] = [0.1, -2, .greatestFiniteMagnitude, .leastNonzeroMagnitude]
      try check("\(order)f4", bytes(floats.map(\.bitPattern), bigEndian: isBig), floats, version: 2)
      let doubles = [0.1, -2, 1e30, 0]
      try check(
        "\(order)f8", bytes(doubles.map(\.bitPattern), bigEndian: isBig), doubles.map { Float($0) },
        version: 3)
    }
    try check("|i1", [0xFE, 1, 127, 128], [-2, 1, 127, -128])
    try check("|u1", [2, 1, 127, 255], [2, 1, 127, 255])
    try check("|b1", [0, 1, 1, 0], [0, 1, 1, 0])
  }

  @Test func columnMajorArraysAreReadInRowOrder() throws {
    let folder = try TemporaryFolder()
    // Element (i, j, k) of a [3, 2, 4] array is 100 i + 10 j + k; the first index varies fastest.
    var content: [UInt8] = []
    for k in 0..<4 { for j in 0..<2 { for i in 0..<3 { content += [UInt8(100 * i + 10 * j + k), 0] } } }
    let path = try folder.write(npy("<u2", "(3, 2, 4)", content, isColumnMajor: true), to: "array.npy")
    let data = try open(path)
    var expected = Tensor<Float>(zeros: [3, 2, 4])
    for i in 0..<3 {
      for j in 0..<2 { for k in 0..<4 { expected[8 * i + 4 * j + k] = Float(100 * i + 10 * j + k) } }
    }
    #expect(try data.inputs(0..<3).tensor == expected)
    #expect(try data.inputs(1..<2).tensor == expected.rows(1..<2))
  }

  @Test(
    arguments: [
      (0x08, [0, 200], [0, 200]), (0x09, [0xFF, 1], [-1, 1]), (0x0B, [0xFF, 0xFE, 1, 0], [-2, 256]),
      (0x0C, [0xFF, 0xFF, 0xFF, 0xFD, 0, 1, 0, 0], [-3, 65536]),
      (0x0D, [0x3F, 0x80, 0, 0, 0xC0, 0, 0, 0], [1, -2]),
      (0x0E, [0x3F, 0xF0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0], [1, -2]),
    ] as [(UInt8, [UInt8], [Float])])
  func everyIDXTypeIsRead(_ code: UInt8, _ content: [UInt8], _ values: [Float]) throws {
    let folder = try TemporaryFolder()
    let path = try folder.write([0, 0, code, 2, 0, 0, 0, 2, 0, 0, 0, 1] + content, to: "array")
    #expect(try open(path).inputs(0..<2).tensor == Tensor(shape: [2, 1], values))
  }

  // MARK: - Labels

  @Test(arguments: ["one_hot", "column"])
  func otherFormsOfLabelsAreRead(_ name: String) throws {
    let data = try open(forms, "x", name)
    #expect(try data.labels(0..<6) == [0, 2, 1, 1, 0, 2])
    #expect(try data.labels(2..<4) == [1, 1])
  }

  @Test(arguments: [
    (
      "negative",
      "Row 3 has the label -1; labels are whole numbers from 0 on, or -1 is to be passed over with --ignore-label -1."
    ),
    ("fractional", "Row 3 has the label 1.5; labels are whole numbers from 0 on."),
    ("missing", "Row 4 has the label nan; labels are whole numbers from 0 on."),
    ("two_hot", "Row 2 of the labels holds 1 at position 1; a one-hot row has one 1 and zeros."),
    ("zero_hot", "Row 1 of the labels is all zeros; a one-hot row has one 1."),
    ("x", "Row 1 of the labels holds 2.0 at position 0; a one-hot row has one 1 and zeros."),
  ])
  func labelsThatAreNoClassesAreRefused(_ name: String, _ message: String) throws {
    let data = try open(forms, "x", name, rows: 1..<6)
    let error = try refusal { _ = try data.labels(0..<data.rowCount) }
    #expect(error.code == .value)
    #expect(error.file == forms)
    #expect(error.object == "/" + name)
    #expect(error.message == message)
  }

  @Test func withoutLabelsNoneAreGiven() throws {
    let data = try open(forms, "x")
    #expect(!data.hasLabels)
    let error = try refusal { _ = try data.labels(0..<1) }
    #expect(error.message == "The data have no labels; name them, or give a file of labels.")
  }

  // MARK: - Rows

  @Test func aRangeOfRowsStandsForItself() throws {
    let all = try open(golden("Data/chunked.h5"))
    let some = try open(golden("Data/chunked.h5"), rows: 2..<5)
    #expect(some.rowCount == 3)
    #expect(try some.inputs(1..<3) == all.inputs(3..<5))
    #expect(try some.labels(0..<3) == all.labels(2..<5))
    let beyond = try refusal { _ = try some.inputs(1..<4) }
    #expect(beyond.message == "Rows 1:4 were asked for, but the data have 3.")
  }

  @Test(arguments: [
    (4..<7, "Rows 4:7 were asked for, but there are 6; ask for rows within 0:6."),
    (3..<3, "The row range 3:3 is empty; give at least one row of 0:6."),
    (-1..<3, "Rows -1:3 were asked for, but there are 6; ask for rows within 0:6."),
  ])
  func rowsThatAreNotThereAreRefused(_ rows: Range<Int>, _ message: String) throws {
    let error = try refusal { _ = try open(golden("Data/chunked.h5"), rows: rows) }
    #expect(error.code == .shape)
    #expect(error.message == message)
  }

  @Test func valuesThatAreNotFiniteAreRefused() throws {
    let data = try open(forms, "broken", rows: 1..<6)
    #expect(try data.inputs(0..<3).count == 3)
    let error = try refusal { _ = try data.inputs(2..<5) }
    #expect(error.code == .value)
    #expect(
      error.message
        == "Row 4 holds nan, which is not a finite number (as Float); correct or leave out that row.")
  }

  // MARK: - Refusals on opening

  @Test func countsMustMatch() throws {
    let error = try refusal { _ = try open(forms, "x", "short") }
    #expect(error.code == .shape)
    #expect(error.description == "\(forms), /short: There are 5 labels for 6 rows of inputs; give as many.")
  }

  @Test(
    arguments: [
      ("empty", nil, "The data have no rows; give at least one."),
      (
        "negative", nil,
        "Inputs of shape [6] are not read; give an array [rows, …] of at least one number a row."
      ),
      ("absent", nil, "The file has no such array; it has broken float32 [6, 2], column float64 [6, 1]"),
      ("x", "absent", "The file has no such array"),
    ] as [(String, String?, String)])
  func arraysThatAreNoDataAreRefused(_ inputs: String, _ labels: String?, _ message: String) throws {
    let error = try refusal { _ = try open(forms, inputs, labels) }
    #expect(error.message.hasPrefix(message), "\(error)")
  }

  @Test func ambiguousArraysAreListed() throws {
    let path = golden("HDF5Forms/data-ambiguous.h5")
    let error = try refusal { _ = try open(path) }
    #expect(error.code == .missing)
    #expect(
      error.message
        == "It is not clear which array holds the inputs: there is no 'x', and the file has a float32 [6, 2], "
        + "b float32 [6, 2], labels int64 [6]; name them, as in \(path):INPUTS,LABELS.")
    // A name for the labels leaves one candidate fewer.
    #expect(throws: FileError.self) { try open(path, nil, "labels") }
    #expect(try open(path, "b", "labels").labels(0..<6) == [0, 1, 2, 3, 4, 5])
  }

  @Test func filesOfOneArrayHaveNoNames() throws {
    let error = try refusal { _ = try open(golden("Data/float64.npy"), "x") }
    #expect(error.message == "This file holds one array, which has no name; give the file alone.")
    #expect(throws: FileError.self) {
      try open(golden("Data/images-idx3-ubyte"), labelsFile: golden("Data/labels-idx1-ubyte:y"))
    }
  }

  @Test(
    arguments: [
      ([], "The file is empty; copy or download it again."),
      (
        Array("a,b\n1,2\n".utf8),
        "This is none of the data formats that are read (HDF5, .npz, .npy, IDX, .csv, a folder of images); it starts "
          + "with the bytes 61 2c"
      ),
      ([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A], "This is a single image; name the folder"),
      ([0xFF, 0xD8, 0xFF, 0xE0], "This is a single image; name the folder"),
      ([0x80, 0x02, 0x7D, 0x71], "This is a Python pickle"),
      ([0x1F, 0x8B, 8, 0], "The gzip stream is truncated or damaged"),
      ([0x50, 0x4B, 5, 6] + Array(repeating: 0, count: 18), "The zip archive has no NumPy arrays"),
      ([0, 0, 8, 2, 0, 0, 0, 9, 0, 0, 0, 1, 5], "An array of shape [9, 1] needs 21 bytes, but there are 13"),
      ([0, 0, 8, 3, 0, 0, 0, 9], "The file ends after 8 bytes where more are due"),
      (
        [0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255],
        "The array claims extents [4294967295, 4294967295]"
      ),
    ] as [([UInt8], String)])
  func otherFilesAreRefused(_ bytes: [UInt8], _ message: String) throws {
    let folder = try TemporaryFolder()
    let path = try folder.write(bytes, to: "data")
    let error = try refusal { _ = try open(path) }
    #expect(error.file == path)
    #expect(error.message.hasPrefix(message), "\(error)")
  }

  @Test(arguments: [
    ("<c8", "(2, 2)", "The array's elements are of NumPy's type '<c8', which is not read"),
    ("|O", "(2, 2)", "The array's elements are of NumPy's type '|O', which is not read"),
    ("<U3", "(2, 2)", "The array's elements are of NumPy's type '<U3', which is not read"),
    ("<f4", "(2, 99)", "An array of shape [2, 99] needs"),
    ("<f4", "(-2, 3)", "The .npy header is no Python dictionary"),
    ("<f4", "(4611686018427387904, 4)", "The array claims extents [4611686018427387904, 4]"),
    ("<f4", "(99999999999999999999, 4)", "The .npy header is no Python dictionary"),
    ("<f4", "[2, 3]", "The .npy header has no entry 'shape'"),
  ])
  func otherNumpyArraysAreRefused(_ type: String, _ shape: String, _ message: String) throws {
    let folder = try TemporaryFolder()
    let path = try folder.write(npy(type, shape, Array(repeating: 0, count: 64)), to: "array.npy")
    let error = try refusal { _ = try open(path) }
    #expect(error.message.hasPrefix(message), "\(error)")
  }

  @Test func recordsAreRefused() throws {
    let folder = try TemporaryFolder()
    let header = "{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (2,), }"
    let path = try folder.write(npy(header: header, Array(repeating: 0, count: 16)), to: "array.npy")
    let error = try refusal { _ = try open(path) }
    #expect(
      error.message == "The array's elements are records, not numbers; save one array of numbers instead.")
  }

  @Test func theRestOfAFileThatWasCutIsMissed() throws {
    let folder = try TemporaryFolder()
    for name in ["deflated.npz", "stored.npz", "images-idx3-ubyte.gz", "float64.npy", "chunked.h5"] {
      let whole = try Data(contentsOf: URL(filePath: golden("Data/" + name)))
      let path = try folder.write(whole.dropLast(9), to: name)
      #expect(throws: FileError.self, "\(name)") { try open(path) }
    }
  }

  /// libzip crashes where a member without bytes is read; zipfile.writestr("x.npy", b"") made this one.
  @Test func aMemberWithoutBytesIsRefused() throws {
    let folder = try TemporaryFolder()
    let zip = try #require(
      Data(
        base64Encoded: "UEsDBBQAAAAAAAAAIQAAAAAAAAAAAAAAAAAFAAAAeC5ucHlQSwECFAMUAAAAAAAAACEAAAAAAAAAAAAAAAAABQAAAAAA"
          + "AAAAAAAAgAEAAAAAeC5ucHlQSwUGAAAAAAEAAQAzAAAAIwAAAAAA"))
    let path = try folder.write(zip, to: "empty.npz")
    #expect(throws: FileError.self) { try open(path) }
  }

  @Test func aWrongChecksumOfACompressedMemberIsSeen() throws {
    let folder = try TemporaryFolder()
    for name in ["deflated.npz", "images-idx3-ubyte.gz"] {
      var bytes = try Data(contentsOf: URL(filePath: golden("Data/" + name)))
      bytes[bytes.count * 2 / 5] ^= 0x10
      let path = try folder.write(bytes, to: name)
      #expect(throws: FileError.self, "\(name)") { try open(path).inputs(0..<1) }
    }
  }

  // MARK: - Specifications

  @Test(
    arguments: [
      ("data.h5", "data.h5", nil, nil), ("data.h5:images", "data.h5", "images", nil),
      ("data.h5:a/x,b/y", "data.h5", "a/x", "b/y"), ("dir:1/data.h5:x,y", "dir:1/data.h5", "x", "y"),
    ] as [(String, String, String?, String?)])
  func specificationsAreSplit(_ text: String, _ file: String, _ inputs: String?, _ labels: String?) throws {
    let parsed = try DatasetOptions.parse(text)
    #expect(parsed.file == file)
    #expect(parsed.options == DatasetOptions(inputs: inputs, labels: labels))
  }

  @Test func aFileWithAColonIsTakenWhole() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write([1], to: "a:b,c")
    #expect(try DatasetOptions.parse(path).file == path)
  }

  @Test(arguments: ["data.h5:", "data.h5:,y", "data.h5:x,", "data.h5:a,b,c", ":x,y"])
  func specificationsThatMakeNoSenseAreRefused(_ text: String) throws {
    let error = try refusal { _ = try DatasetOptions.parse(text) }
    #expect(error.code == .value)
    #expect(error.message.hasPrefix("Data are named as FILE, FILE:INPUTS or FILE:INPUTS,LABELS"))
  }

  // MARK: - Recurring rows

  @Test func rowsThatRecurAreCountedWhateverTheirType() throws {
    let folder = try TemporaryFolder()
    let bytes = try open(try folder.write(npy("|u1", "(4, 2)", [0, 1, 2, 3, 4, 5, 0, 1]), to: "a.npy"))
    let floats: [Float] = [2, 3, -0.0, 1, 5, 4]
    let content = floats.flatMap { float in
      (0..<4).map { UInt8(truncatingIfNeeded: float.bitPattern >> ($0 * 8)) }
    }
    let others = try open(try folder.write(npy("<f4", "(3, 1, 2)", content), to: "b.npy"))
    #expect(try RowDigests(of: bytes).recurringRowCount(in: RowDigests(of: others)) == 2)
    #expect(try RowDigests(of: others).recurringRowCount(in: RowDigests(of: bytes)) == 3)
    #expect(try RowDigests(of: bytes).recurringRowCount(in: RowDigests(of: bytes)) == 4)
  }

  // MARK: - Files made here

  private func npy(
    _ type: String, _ shape: String, _ content: [UInt8], isColumnMajor: Bool = false, version: UInt8 = 1
  ) -> [UInt8] {
    let order = isColumnMajor ? "True" : "False"
    return npy(
      header: "{'descr': '\(type)', 'fortran_order': \(order), 'shape': \(shape), }", content,
      version: version)
  }

  private func npy(header: String, _ content: [UInt8], version: UInt8 = 1) -> [UInt8] {
    let text = Array(header.utf8) + [0x0A]
    let length = [UInt8(text.count & 255), UInt8(text.count >> 8)] + (version == 1 ? [] : [0, 0])
    return [0x93] + Array("NUMPY".utf8) + [version, 0] + length + text + content
  }
}
