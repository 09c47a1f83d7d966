import BayesFiles
import BayesTensor
import Foundation
import Testing

struct AtomicFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func writesOnceAndReplacesOnlyWhenTold() throws {
    let path = folder.path("report.json")
    try AtomicFile.requireAbsent(path)
    try AtomicFile.write(Data("one".utf8), to: path, replacing: false)
    let refusals = [
      try #require(throws: FileError.self) { try AtomicFile.requireAbsent(path) },
      try #require(throws: FileError.self) {
        try AtomicFile.write(Data("two".utf8), to: path, replacing: false)
      },
    ]
    for error in refusals {
      #expect(error.code == .cannotWrite)
      #expect(
        error.description
          == "\(path): The file exists already; choose another name, or replace it with --force.")
    }
    #expect(try Data(contentsOf: URL(filePath: path)) == Data("one".utf8))
    try AtomicFile.write(Data("two".utf8), to: path, replacing: true)
    #expect(try Data(contentsOf: URL(filePath: path)) == Data("two".utf8))
    #expect(try folder.names == ["report.json"])
  }

  @Test func aLinkStaysAndItsFileIsReplaced() throws {
    let path = try folder.write([1], to: "file")
    let link = folder.path("link")
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
    try AtomicFile.write(Data([2]), to: link, replacing: true)
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == path)
    #expect(try Data(contentsOf: URL(filePath: path)) == Data([2]))
  }

  @Test func aDanglingLinkCountsAsThere() throws {
    let link = folder.path("link")
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: folder.path("absent"))
    #expect(throws: FileError.self) { try AtomicFile.requireAbsent(link) }
  }

  @Test func whatDeadProcessesBeganIsRemovedAndNothingElse() throws {
    let own = ProcessInfo.processInfo.processIdentifier
    // No process has a number as large as the first one.
    let names = [".x.h5.999999999-abc.part", ".x.h5.\(own)-abc.part", ".y.h5.999999999-abc.part", ".x.h5.part", "x.h5"]
    for name in names { try folder.write([1], to: name) }
    try AtomicFile.removeAbandoned(for: [folder.path("x.h5"), folder.path("z.h5")])
    #expect(try Set(folder.names) == Set(names.dropFirst()))
    #expect(throws: FileError.self) { try AtomicFile.removeAbandoned(for: [folder.path("absent/x.h5")]) }
  }

  @Test func aFolderIsRefused() throws {
    let error = try #require(throws: FileError.self) {
      try AtomicFile.write(Data(), to: folder.path("."), replacing: true)
    }
    #expect(error.message == "A folder or device has this name; choose another.")
    #expect(try folder.names == [])
  }
}
