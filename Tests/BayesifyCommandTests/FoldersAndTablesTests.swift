import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Folders of images and `.csv` files give what arrays with the same numbers give.
struct FoldersAndTablesTests {
  private let images = golden("Images/digits")
  private let array = golden("Images/digits.h5")

  @Test func imagesGiveTheRecordsOfTheSamePixels() async throws {
    let folder = try TestFolder()
    for (name, data) in [("images", images), ("array", array)] {
      try await folder.succeed("extract", Digits.checkpoint, "--data", data, "-o", name + ".h5")
    }
    let archives = try ["images", "array"].map { try HDF5Archive(folder.path($0 + ".h5")) }
    #expect(archives[0].entries == archives[1].entries)
    for entry in archives[1].entries {
      #expect(
        try archives[0].read(entry.path, as: Double.self) == archives[1].read(entry.path, as: Double.self),
        "\(entry.path)")
    }
    #expect(try archives[0].readIntegers("/labels", rows: nil) == (0..<30).map { $0 / 3 })
    // The sub-folders name the classes.
    #expect(try archives[0].attribute("classNames") == .texts((0..<10).map { "\($0)" }))
  }

  @Test func imagesServeWhereverDataDo() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", images, "--validation", Digits.validation, "--validation-rows",
      "0:100", "--draws", "22", "-o", "posterior.h5")
    try await folder.succeed("predict", "posterior.h5", "--data", images, "--rows", "3:9", "-o", "predictions.h5")
    #expect(try HDF5Archive(folder.path("predictions.h5")).readIntegers("/labels", rows: nil) == [1, 1, 1, 2, 2, 2])
    let report = try await folder.report(
      Digits.checkpoint, "posterior.h5", "--data", images, "--validation", Digits.validation, "--ood",
      "digits=\(images)")
    let same = try await folder.report(
      Digits.checkpoint, "posterior.h5", "--data", array, "--validation", Digits.validation, "--ood",
      "digits=\(images)")
    #expect(report.models == same.models)
    let digest = try #require(report.provenance.inputs.first { $0.file == images }).digest
    #expect(try digest == FileDigest.sha256(ofData: images))
  }

  /// A missing class would shift the labels of all that follow.
  @Test func foldersWithoutAClassAreRefused() async throws {
    let folder = try TestFolder()
    try FileManager.default.createDirectory(atPath: folder.path("images"), withIntermediateDirectories: true)
    for digit in [0, 1, 2, 3, 5, 6, 7, 8, 9] {
      try FileManager.default.copyItem(atPath: images + "/\(digit)", toPath: folder.path("images/\(digit)"))
    }
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", "images", "-o", "out.h5", code: 65, naming: "images",
      "9 sub-folders", "10 classes")
    // Labels of foreign rows mean nothing.
    _ = try await folder.report(Digits.checkpoint, "--data", Digits.test, "--ood", "some=images")
    try FileManager.default.createDirectory(atPath: folder.path("images/4"), withIntermediateDirectories: true)
    try await folder.succeed("extract", Digits.checkpoint, "--data", "images", "-o", "out.h5")
    #expect(
      try HDF5Archive(folder.path("out.h5")).readIntegers("/labels", rows: nil)
        == (0..<30).map { $0 / 3 }.filter { $0 != 4 })
  }

  /// Labels count names in their order as text; the classes may be counted otherwise, and named otherwise.
  @Test func foldersAreMatchedToClassesByName() async throws {
    let folder = try TestFolder()
    let words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    try FileManager.default.createDirectory(atPath: folder.path("words"), withIntermediateDirectories: true)
    for (digit, word) in words.enumerated() {
      try FileManager.default.copyItem(atPath: images + "/\(digit)", toPath: folder.path("words/\(word)"))
    }
    try folder.write(words.joined(separator: "\n"), to: "words.txt")
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", "words", "--class-names", "words.txt", "-o", "out.h5")
    let archive = try HDF5Archive(folder.path("out.h5"))
    let labels = try archive.readIntegers("/labels", rows: nil)
    #expect(labels == words.sorted().flatMap { Array(repeating: words.firstIndex(of: $0) ?? -1, count: 3) })
    #expect(try archive.attribute("classNames") == .texts(words))
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", "words", "--class-names", Digits.classNames, "-o", "no.h5", code: 65,
      naming: "words", "'eight'", "FOLDER:x")
    // Without their classes the images are rows like others.
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", "words:x", "--class-names", Digits.classNames, "-o", "bare.h5")
    #expect(try HDF5Archive(folder.path("bare.h5")).entry("/labels") == nil)
  }

  @Test func labelsMayBeAColumnOfATableOfTheirOwn() async throws {
    let folder = try TestFolder()
    try folder.write([UInt8](repeating: 3, count: 3 * 64), shape: [3, 8, 8, 1], to: "x.npy")
    try folder.write("id,label\n7,4\n8,0\n9,2\n", to: "labels.csv")
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", "x.npy", "--labels", "labels.csv", "--label-column", "label", "-o", "out.h5")
    #expect(try HDF5Archive(folder.path("out.h5")).readIntegers("/labels", rows: nil) == [4, 0, 2])
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", "x.npy", "--labels", "labels.csv", "--label-column", "class", "-o",
      "no.h5", code: 65, naming: "labels.csv", "class")
  }

  @Test func badImagesAreNamed() async throws {
    let folder = try TestFolder()
    try FileManager.default.copyItem(atPath: images, toPath: folder.path("images"))
    try folder.write("mine", to: "images/3/notes.txt")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", "images", "-o", "out.h5", code: 65, naming: "images/3/notes.txt",
      "convert")
    try FileManager.default.removeItem(atPath: folder.path("images/3/notes.txt"))
    try Data(contentsOf: URL(filePath: golden("Images/formats/rgb.png")))
      .write(to: URL(filePath: folder.path("images/9/large.png")))
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", "images", "-o", "out.h5", code: 65, naming: "images/9/large.png",
      "13 x 11", "8 x 8")
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", golden("Images/classes"), "-o", "out.h5", code: 65, naming: "[5, 7, 3]",
      "[8, 8, 1]")
    try await folder.refuse("inspect", images, code: 74, naming: "folder")
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", "images", "-o", "images/9/large.h5", "--force", code: 74,
      naming: "images/9/large.h5", "also read")
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", "images", "-o", "images/9/large.png", "--force", code: 64,
      naming: "images/9/large.png", ".h5")
  }

  @Test func tablesGiveTheRecordsOfTheSameNumbers() async throws {
    let folder = try TestFolder()
    // A network of vectors.
    let checkpoint = golden("KerasLayers/dense-2d.h5")
    struct Inspection: Decodable {
      struct Exit: Decodable { var classes: Int }
      var inputShape: [Int]
      var exits: [Exit]
    }
    let told = try JSONDecoder().decode(
      Inspection.self, from: Data(try await folder.succeed("inspect", checkpoint, "--json").output.utf8))
    let (width, classCount) = (try #require(told.inputShape.first), told.exits[0].classes)
    let rows = (0..<5).map { row in (0..<width).map { Float(row * width + $0) / 8 } }
    let labels = (0..<5).map { $0 % classCount }
    try folder.write(rows.flatMap { $0 }, shape: [5, width], to: "rows.npy")
    try folder.write(labels.map { UInt8($0) }, shape: [5], to: "labels.npy")
    let names = ["class"] + (0..<width).map { "x\($0)" }
    let lines = zip(labels, rows).map { label, row in "\(label)," + row.map { "\($0)" }.joined(separator: ",") }
    try folder.write(([names.joined(separator: ",")] + lines).joined(separator: "\r\n"), to: "rows.csv")
    let common = ["--likelihood", "categorical", "--quiet"]
    for arguments in [
      ["--data", "rows.npy", "--labels", "labels.npy", "-o", "array.h5"],
      ["--data", "rows.csv", "--label-column", "class", "-o", "name.h5"],
      ["--data", "rows.csv", "--label-column", "0", "-o", "index.h5"],
    ] {
      let run = try await folder.run(["extract", checkpoint] + arguments + common)
      try #require(run.exitCode == 0, "\(run.testDescription)")
    }
    let expected = try HDF5Archive(folder.path("array.h5"))
    for name in ["name.h5", "index.h5"] {
      let records = try HDF5Archive(folder.path(name))
      #expect(records.entries == expected.entries)
      for entry in expected.entries {
        #expect(
          try records.read(entry.path, as: Double.self) == expected.read(entry.path, as: Double.self), "\(entry.path)")
      }
    }
    try await folder.refuse(
      "extract", checkpoint, "--data", "rows.csv", "--label-column", "kind", "--likelihood", "categorical", "-o",
      "out.h5", code: 65, naming: "rows.csv", "'kind'", "class, x0")
    try await folder.refuse(
      "extract", checkpoint, "--data", "rows.npy", "--label-column", "class", "-o", "out.h5", code: 64,
      naming: "--label-column", ".csv")
    try folder.write(names.joined(separator: ",") + "\n0" + String(repeating: ",", count: width) + "\n", to: "gaps.csv")
    try await folder.refuse(
      "predict", checkpoint, "--data", "gaps.csv", "--label-column", "class", "--likelihood", "categorical", "-o",
      "out.h5", code: 65, naming: "gaps.csv, line 2, column 'x0'", "empty")
  }
}
