import BayesFiles
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

struct HDF5ArchiveTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  // MARK: - Round trips

  @Test func numbersComeBackAsWritten() throws {
    let path = folder.path("archive.h5")
    let floats = Tensor<Float>(shape: [2, 3], [1, -2.5, .leastNonzeroMagnitude, 4, 5e30, 6])
    let doubles = Tensor<Double>(shape: [2], [.pi, -1e300])
    let writer = try HDF5ArchiveWriter(path)
    try writer.write(floats, at: "/a/b/floats")
    try writer.write(doubles, at: "doubles")
    try writer.write([Int.min, 0, Int.max], at: "/a/integers")
    try writer.write(Tensor<Float>(shape: [], [7]), at: "/scalar")
    try writer.write(Tensor<Float>(zeros: [0, 4]), at: "/empty")
    try writer.write([], at: "/none")
    try writer.finish()

    let archive = try HDF5Archive(path)
    #expect(archive.file == path)
    #expect(
      archive.entries == [
        ArchiveEntry(path: "/a/b/floats", shape: [2, 3], scalarType: "float32"),
        ArchiveEntry(path: "/a/integers", shape: [3], scalarType: "int64"),
        ArchiveEntry(path: "/doubles", shape: [2], scalarType: "float64"),
        ArchiveEntry(path: "/empty", shape: [0, 4], scalarType: "float32"),
        ArchiveEntry(path: "/none", shape: [0], scalarType: "int64"),
        ArchiveEntry(path: "/scalar", shape: [], scalarType: "float32"),
      ])
    #expect(try archive.read("/a/b/floats") == floats)
    #expect(try archive.read("a/b//floats/", as: Double.self) == floats.converted(to: Double.self))
    #expect(try archive.read("/doubles", as: Double.self) == doubles)
    #expect(try archive.readIntegers("/a/integers", rows: nil) == [Int.min, 0, Int.max])
    #expect(try archive.readIntegers("/a/integers", rows: 1..<3) == [0, Int.max])
    #expect(try archive.read("/scalar") == Tensor<Float>(shape: [], [7]))
    #expect(try archive.read("/empty") == Tensor<Float>(zeros: [0, 4]))
    #expect(try archive.readIntegers("/none", rows: nil) == [])
  }

  @Test func rowRangesAreThoseRows() throws {
    let path = folder.path("archive.h5")
    let tensor = Tensor<Float>(shape: [7, 2, 3], (0..<42).map { Float($0) })
    let writer = try HDF5ArchiveWriter(path)
    try writer.write(tensor, at: "/x")
    try writer.finish()
    let archive = try HDF5Archive(path)
    for start in 0...7 {
      for end in start...7 {
        #expect(try archive.read("/x", rows: start..<end, as: Float.self) == tensor.rows(start..<end))
      }
    }
  }

  @Test func appendedRowsFollowEachOther() throws {
    let path = folder.path("archive.h5")
    // More than one chunk of 64 KiB, in pieces that do not divide it.
    let tensor = Tensor<Float>(shape: [5000, 10], (0..<50_000).map { Float($0) })
    let doubles = Tensor<Double>(shape: [5000], (0..<5000).map { Double($0) / 3 })
    let writer = try HDF5ArchiveWriter(path)
    for start in stride(from: 0, to: 5000, by: 700) {
      let rows = start..<min(start + 700, 5000)
      try writer.append(tensor.rows(rows), to: "/g/x")
      try writer.append(doubles.rows(rows), to: "/g/d")
      try writer.append(Array(rows), to: "/labels")
    }
    try writer.append(Tensor<Float>(zeros: [0, 4]), to: "/nothing")
    try writer.append(Tensor<Float>(zeros: [3, 0]), to: "/thin")
    try writer.finish()
    let archive = try HDF5Archive(path)
    #expect(try archive.read("/g/x") == tensor)
    #expect(try archive.read("/g/x", rows: 699..<2101, as: Float.self) == tensor.rows(699..<2101))
    #expect(try archive.read("/g/d", as: Double.self) == doubles)
    #expect(try archive.readIntegers("/labels", rows: nil) == Array(0..<5000))
    #expect(archive.entry("/nothing")?.shape == [0, 4])
  }

  @Test func attributesComeBackAsWritten() throws {
    let path = folder.path("archive.h5")
    let long = String(repeating: "é", count: 200_000)
    let attributes: [String: ArchiveAttribute] = [
      "text": .text("naïve — 日本"), "empty text": .text(""), "long": .text(long),
      "texts": .texts(["a", "", "ü"]), "no texts": .texts([]), "one text": .texts(["one"]),
      "integer": .integer(Int.min), "integers": .integers([1, -2]), "number": .number(.pi),
      "numbers": .numbers([0.5]), "no numbers": .numbers([]),
    ]
    let writer = try HDF5ArchiveWriter(path)
    try writer.write([1], at: "/group/array")
    for place in ["/", "/group", "/group/array", "/new/group"] {
      for (name, value) in attributes { try writer.setAttribute(name, value, of: place) }
    }
    try writer.setAttribute("integer", .text("replaced"), of: "/group")
    try writer.finish()
    let archive = try HDF5Archive(path)
    for place in ["/", "/group/array", "/new/group"] {
      #expect(try archive.attributes(of: place) == attributes)
    }
    #expect(try archive.text("integer", of: "/group") == "replaced")
    #expect(try archive.attributes(of: "/absent").isEmpty)
    #expect(try archive.attribute("absent") == nil)
  }

  @Test func equalCallsWriteEqualBytes() throws {
    func write(_ name: String) throws -> Data {
      let path = folder.path(name)
      let writer = try HDF5ArchiveWriter(path)
      try writer.setAttribute("names", .texts(["one", "two"]), of: "/")
      try writer.write(Tensor<Float>(shape: [3], [1, 2, 3]), at: "/a/b")
      for start in 0..<3 { try writer.append([start, start + 1], to: "/c/d") }
      try writer.setAttribute("text", .text("value"), of: "/c")
      try writer.finish()
      return try Data(contentsOf: URL(filePath: path))
    }
    let first = try write("first.h5")
    // Times in HDF5 count seconds.
    Thread.sleep(forTimeInterval: 1.1)
    #expect(try write("second.h5") == first)
  }

  @Test func manyTasksMayReadAtOnce() async throws {
    let path = folder.path("archive.h5")
    let tensor = Tensor<Float>(shape: [1000, 8], (0..<8000).map { Float($0) })
    let writer = try HDF5ArchiveWriter(path)
    for array in 0..<40 { try writer.append(tensor.map { $0 + Float(array) }, to: "/x\(array)") }
    try writer.finish()
    let archive = try HDF5Archive(path)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<200 {
        group.addTask {
          let start = task * 37 % 900
          let rows = try archive.read("/x\(task % 40)", rows: start..<start + 100, as: Float.self)
          #expect(rows == tensor.rows(start..<start + 100).map { $0 + Float(task % 40) })
        }
      }
      try await group.waitForAll()
    }
  }

  // MARK: - The file appears whole or not at all

  @Test func theFileIsAbsentUntilFinished() throws {
    let writer = try HDF5ArchiveWriter(folder.path("archive.h5"))
    try writer.write([1], at: "/x")
    let names = try folder.names
    #expect(names.count == 1)
    #expect(names.allSatisfy { $0.hasPrefix(".archive.h5.") && $0.hasSuffix(".part") })
    try writer.finish()
    #expect(try folder.names == ["archive.h5"])
    let error = try #require(throws: FileError.self) { try writer.write([1], at: "/y") }
    #expect(error.message == "The file was finished or discarded before.")
  }

  @Test func whatIsDiscardedOrForgottenLeavesNothing() throws {
    let discarded = try HDF5ArchiveWriter(folder.path("archive.h5"))
    try discarded.append(Tensor<Float>(zeros: [100, 10]), to: "/x")
    discarded.discard()
    #expect(try folder.names == [])
    #expect(throws: FileError.self) { try discarded.finish() }
    do {
      let forgotten = try HDF5ArchiveWriter(folder.path("archive.h5"))
      try forgotten.append(Tensor<Float>(zeros: [100, 10]), to: "/x")
    }
    #expect(try folder.names == [])
  }

  @Test func anExistingFileIsKeptUnlessItMayBeReplaced() throws {
    let path = try folder.write([1, 2, 3], to: "archive.h5")
    let error = try #require(throws: FileError.self) { try HDF5ArchiveWriter(path) }
    #expect(error.code == .cannotWrite)
    #expect(error.message == "The file exists already; choose another name, or replace it with --force.")
    #expect(try folder.names == ["archive.h5"])

    let writer = try HDF5ArchiveWriter(path, replacing: true)
    try writer.write([4], at: "/x")
    #expect(try Data(contentsOf: URL(filePath: path)) == Data([1, 2, 3]))
    try writer.finish()
    #expect(try HDF5Archive(path).readIntegers("/x", rows: nil) == [4])
    #expect(try folder.names == ["archive.h5"])
  }

  @Test func aFileThatAppearsMeanwhileIsKept() throws {
    let path = folder.path("archive.h5")
    let writer = try HDF5ArchiveWriter(path)
    _ = try folder.write([9], to: "archive.h5")
    let error = try #require(throws: FileError.self) { try writer.finish() }
    #expect(error.message == "Another process wrote this file meanwhile.")
    #expect(try Data(contentsOf: URL(filePath: path)) == Data([9]))
    writer.discard()
    #expect(try folder.names == ["archive.h5"])
  }

  @Test(arguments: [
    ("absent/archive.h5", "The folder of this file does not exist; create it first."),
    ("", "A folder or device has this name; choose another."),
  ])
  func placesThatCannotBeWrittenAreRefused(_ name: String, _ message: String) throws {
    let path = folder.path("x").dropLast() + name
    let error = try #require(throws: FileError.self) { try HDF5ArchiveWriter(String(path), replacing: true) }
    #expect(error.code == .cannotWrite)
    #expect(error.message == message)
  }

  @Test func devicesAreNotReplaced() throws {
    let error = try #require(throws: FileError.self) { try HDF5ArchiveWriter("/dev/null", replacing: true) }
    #expect(error.message == "A folder or device has this name; choose another.")
  }

  // MARK: - Misuse while writing

  @Test func rowsOfAnotherShapeAreRefused() throws {
    let writer = try HDF5ArchiveWriter(folder.path("archive.h5"))
    try writer.append(Tensor<Float>(zeros: [2, 3]), to: "/x")
    let shape = try #require(throws: FileError.self) {
      try writer.append(Tensor<Float>(zeros: [2, 4]), to: "/x")
    }
    #expect(shape.code == .shape)
    #expect(shape.message == "Rows of float32 [4] cannot be appended to rows of float32 [3].")
    let precision = try #require(throws: FileError.self) {
      try writer.append(Tensor<Double>(zeros: [2, 3]), to: "/x")
    }
    #expect(precision.message == "Rows of float64 [3] cannot be appended to rows of float32 [3].")
    #expect(throws: FileError.self) { try writer.append(Tensor<Float>(zeros: []), to: "/y") }
    let twice = try #require(throws: FileError.self) { try writer.write([1], at: "/x") }
    #expect(twice.message == "Something of this name was written before.")
    let below = try #require(throws: FileError.self) { try writer.write([1], at: "/x/y/z") }
    #expect(below.message == "/x is an array; nothing can lie in it.")
    try writer.append(Tensor<Float>(zeros: [1, 3]), to: "/x")
    try writer.finish()
    #expect(try HDF5Archive(folder.path("archive.h5")).entry("/x")?.shape == [3, 3])
  }

  @Test func attributesThatDoNotFitAreRefused() throws {
    let writer = try HDF5ArchiveWriter(folder.path("archive.h5"))
    let long = try #require(throws: FileError.self) {
      try writer.setAttribute("list", .integers(Array(0..<10_000)), of: "/")
    }
    #expect(
      long.message == "The attribute 'list' is a list of more than 64 KiB; write it as an array instead.")
    #expect(throws: FileError.self) { try writer.setAttribute("nul", .text("a\0b"), of: "/") }
    try writer.setAttribute("list", .integers(Array(0..<7_900)), of: "/")
    try writer.finish()
    #expect(
      try HDF5Archive(folder.path("archive.h5")).attribute("list") == .integers(Array(0..<7_900)))
  }

  // MARK: - Files of others

  @Test func formsOfTheFormatAreRead() throws {
    let latest = try HDF5Archive(golden("HDF5Forms/latest-format.h5"))
    #expect(latest.entry("/x")?.scalarType == "uint8")
    #expect(try latest.readIntegers("/x", rows: 1..<5) == Array(4..<20))
    #expect(try latest.readIntegers("/y", rows: nil) == [0, 1, 2, 0, 1, 2])
    let userBlock = try HDF5Archive(golden("HDF5Forms/user-block.h5"))
    #expect(try userBlock.read("/numbers") == Tensor<Float>(shape: [2, 3], [0, 1, 2, 3, 4, 5]))
    let types = try HDF5Archive(golden("HDF5Forms/weights-types.h5"))
    let expected = Tensor<Float>(shape: [2, 3], [0, 1, 2, 3, 4, 5])
    #expect(types.entry("/dense/dense/kernel:0")?.scalarType == "float16")
    #expect(try types.read("/dense/dense/kernel:0") == expected)
    #expect(try types.read("/dense/big") == expected)
    #expect(try types.read("/dense/bytes") == expected.map { $0 - 3 })
    let others = try HDF5Archive(golden("HDF5Forms/unsupported.h5"))
    #expect(others.entry("/flags")?.scalarType == "bool")
    #expect(try others.readIntegers("/flags", rows: nil) == [1, 0, 1])
    #expect(try others.read("/flags") == Tensor<Float>(shape: [3], [1, 0, 1]))
    #expect(try others.read("/scalar") == Tensor<Float>(shape: [], [2.5]))
    #expect(try others.read("/huge", as: Double.self)[0] == 0x1p63)
    #expect(try others.read("/nothing").shape == [0])
  }

  @Test(arguments: [
    ("compound", "unsupported", "elements are of the type 'compound', not numbers"),
    ("text", "unsupported", "elements are of the type 'string', not numbers"),
    (
      "lzf", "unsupported",
      "stored with the filter 'lzf' (number 32000), which the HDF5 library here does not have"
    ),
    ("outside", "unsupported", "values lie in other files"),
    ("virtual", "unsupported", "values lie in other files"),
    ("soft", "unsupported", "'/soft' is a soft link, which is not followed"),
    ("folder/external", "unsupported", "'/folder/external' is a link to another file"),
    ("folder", "missing", "This is a group where an array is due."),
    ("absent", "missing", "The file has no such array; it has compound compound [3], flags bool [3], half"),
    ("immense", "malformed", "claims [549755813888] elements of 4 bytes, which a file of"),
  ])
  func whatCannotBeReadIsRefusedByName(_ name: String, _ code: String, _ message: String) throws {
    let archive = try HDF5Archive(golden("HDF5Forms/unsupported.h5"))
    let error = try #require(throws: FileError.self) { try archive.read(name) }
    #expect(error.code.name == code)
    #expect(error.object == "/" + name)
    #expect(error.message.contains(message), "\(error)")
  }

  @Test func numbersThatAreNotWholeOrTooLargeAreRefused() throws {
    let archive = try HDF5Archive(golden("HDF5Forms/unsupported.h5"))
    let large = try #require(throws: FileError.self) { try archive.readIntegers("/huge", rows: nil) }
    #expect(
      large.message == "Element 0 is 9223372036854775813, which does not fit in a signed 64-bit integer.")
    let half = try #require(throws: FileError.self) { try archive.readIntegers("/half", rows: 1..<2) }
    #expect(half.message == "Element 1 is 1.5 where a whole number is due.")
  }

  @Test func rowsThatAreNotThereAreRefused() throws {
    let archive = try HDF5Archive(golden("HDF5Forms/unsupported.h5"))
    let range = try #require(throws: FileError.self) {
      try archive.read("/numbers", rows: 1..<3, as: Float.self)
    }
    #expect(range.code == .shape)
    #expect(range.message == "Rows 1:3 were asked for, but there are 2; ask for rows within 0:2.")
    #expect(throws: FileError.self) { try archive.read("/numbers", rows: -1..<1, as: Float.self) }
    #expect(throws: FileError.self) { try archive.read("/scalar", rows: 0..<1, as: Float.self) }
  }

  @Test func extentsBeyondBeliefAreRefused() throws {
    let error = try #require(throws: FileError.self) { try HDF5Archive(golden("HDF5Forms/unbelievable.h5")) }
    #expect(error.code == .malformed)
    #expect(error.object == "/x")
    #expect(error.message.contains("claims extents [4611686018427387904, 2, 1073741824]"))
  }
}
