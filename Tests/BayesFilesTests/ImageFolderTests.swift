import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Folders of images, against Pillow's pixels and Keras' order.
struct ImageFolderTests {
  private let formats = golden("Images/formats/")

  private func bytes(_ name: String) throws -> [UInt8] {
    try [UInt8](Data(contentsOf: URL(filePath: golden("Images/" + name))))
  }

  private func refusal(_ body: () throws -> Void) throws -> FileError {
    try #require(throws: FileError.self) { try body() }
  }

  /// Two classes of one image each.
  private func smallFolder() throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    for name in ["a", "b"] {
      try folder.makeFolder("images/" + name)
      try folder.write(bytes("formats/rgb.png"), to: "images/\(name)/1.png")
    }
    return folder
  }

  // MARK: - Pixels

  @Test(arguments: [
    "grey-1.png", "grey-2.png", "grey-4.png", "grey-8.png", "grey-16.png", "grey-alpha.png", "grey-alpha-16.png",
    "palette.png", "palette-alpha.png", "rgb.png", "rgb-16.png", "rgb-gamma.png", "rgb-interlaced.png", "rgba.png",
    "rgba-16.png", "grey.jpg", "rgb-444.jpg", "rgb-422.jpg", "rgb-420.jpg", "rgb-progressive.jpg", "rgb-turned.jpg",
  ])
  func pixelsAreThoseOfPillow(_ name: String) throws {
    let golden = try GoldenValue(contentsOf: "Images/formats.json")["images"][name]
    let folder = try TemporaryFolder()
    try folder.makeFolder("images")
    try folder.write(bytes("formats/" + name), to: "images/" + name)
    let data = try openDataset(folder.path("images"))
    #expect(!data.hasLabels && data.classNames.isEmpty)
    let batch = try data.inputs(0..<1)
    if case .floats = batch.values { Issue.record("Pixels are bytes.") }
    let expected = golden.tensor(as: Float.self)
    #expect(batch.shape == expected.shape.batched(1))
    expectPixels(batch.tensor, expected, isJPEG: name.hasSuffix(".jpg"))
  }

  /// Expects equal pixels; those of JPEG may be off by one level, for Pillow has a libjpeg-turbo of its own, and
  /// another version may round another way.
  private func expectPixels(
    _ actual: Tensor<Float>, _ expected: Tensor<Float>, isJPEG: Bool,
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) {
    #expect(actual.count == expected.count, sourceLocation: sourceLocation)
    let differences = zip(actual.elements, expected.elements).map { abs($0 - $1) }
    #expect(differences.allSatisfy { $0 <= (isJPEG ? 1 : 0) }, sourceLocation: sourceLocation)
  }

  @Test func classesAndOrderAreThoseOfKeras() throws {
    let golden = try GoldenValue(contentsOf: "Images/classes.json")
    let pixels = golden["pixels"].tensor(as: Float.self)
    let isJPEG = golden["files"].list.map { $0.text.contains("/photo") }
    for path in ["Images/classes", "Images/classes/"] {
      let data = try openDataset(BayesFilesTests.golden(path))
      #expect(data.rowCount == pixels.rowCount)
      #expect(data.rowShape == pixels.shape.row)
      #expect(data.classNames == golden["classNames"].list.map(\.text))
      let labels = golden["labels"].numbers.map { Int($0) }
      for start in 0..<data.rowCount {
        for end in start...data.rowCount {
          let batch = try data.inputs(start..<end).tensor
          #expect(batch.shape == pixels.shape.row.batched(end - start))
          for row in start..<end {
            expectPixels(
              batch.rows(row - start..<row - start + 1), pixels.rows(row..<row + 1), isJPEG: isJPEG[row])
          }
          #expect(try data.labels(start..<end) == Array(labels[start..<end]))
        }
      }
    }
  }

  @Test func aRangeOfRowsStandsForItself() throws {
    let path = golden("Images/classes")
    let (all, some) = try (openDataset(path), openDataset(path, options: DatasetOptions(rows: 2..<5)))
    #expect(some.rowCount == 3 && some.firstRow == 2)
    #expect(try some.inputs(0..<3) == all.inputs(2..<5))
    #expect(try some.labels(0..<3) == [0, 1, 1])
    #expect(throws: FileError.self) { try openDataset(path, options: DatasetOptions(rows: 2..<10)) }
  }

  @Test func aFolderWithoutImagesKeepsItsIndex() throws {
    let folder = try smallFolder()
    try folder.makeFolder("images/aa")
    try folder.write([], to: "images/aa/.keep")
    let data = try openDataset(folder.path("images"))
    #expect(data.classNames == ["a", "aa", "b"])
    #expect(try data.labels(0..<2) == [0, 2])
  }

  @Test func imagesWithoutSubfoldersMayHaveAFileOfLabels() throws {
    let folder = try TemporaryFolder()
    try folder.makeFolder("images")
    for row in 0..<3 { try folder.write(bytes("formats/grey-8.png"), to: "images/\(row).png") }
    try folder.write(Array("label\n2\n0\n1\n".utf8), to: "labels.csv")
    let data = try openDataset(
      folder.path("images"), options: DatasetOptions(labelsFile: folder.path("labels.csv")))
    #expect(try data.labels(0..<3) == [2, 0, 1])
    #expect(!(try openDataset(folder.path("images")).hasLabels))
    let error = try refusal {
      _ = try openDataset(folder.path("images"), options: DatasetOptions(labelsFile: folder.path("images")))
    }
    #expect(error.message == "This is a folder of images; name a file of labels.")
  }

  @Test func greyImagesAmongColouredOnesGetThreeChannels() throws {
    let folder = try smallFolder()
    try folder.write(bytes("formats/grey-8.png"), to: "images/a/2.png")
    try folder.write(bytes("formats/grey.jpg"), to: "images/a/3.jpg")
    let data = try openDataset(folder.path("images"))
    #expect(data.rowShape == [11, 13, 3])
    for (row, name) in [(1, "grey-8.png"), (2, "grey.jpg")] {
      let grey = try GoldenValue(contentsOf: "Images/formats.json")["images"][name]["values"].numbers
      let tripled = grey.flatMap { [Float($0), Float($0), Float($0)] }
      expectPixels(
        try data.inputs(row..<row + 1).tensor, Tensor(shape: [1, 11, 13, 3], tripled), isJPEG: row == 2)
    }
  }

  /// Thumbnails and profiles stand before the size.
  @Test func longHeadersAreRead() throws {
    var image = try bytes("formats/rgb-420.jpg")
    let comment = [0xFF, 0xFE, 0xFF, 0xFF] + [UInt8](repeating: 0x20, count: 0xFFFF - 2)
    image.insert(contentsOf: comment + comment, at: 2)
    let folder = try smallFolder()
    try folder.write(image, to: "images/a/0.jpg")
    let data = try openDataset(folder.path("images"))
    let expected = try GoldenValue(contentsOf: "Images/formats.json")["images"]["rgb-420.jpg"].tensor(as: Float.self)
    expectPixels(try data.inputs(0..<1).tensor, expected, isJPEG: true)
  }

  /// Published data sets hold such files; all readers skip the bytes.
  @Test func bytesBetweenThePartsOfAJPEGAreSkipped() throws {
    var image = try bytes("formats/rgb-420.jpg")
    image.insert(contentsOf: [1, 2, 3], at: image.count - 2)
    let folder = try smallFolder()
    try folder.write(image, to: "images/a/0.jpg")
    try folder.write(bytes("formats/rgb-420.jpg"), to: "images/a/1.png")
    let data = try openDataset(folder.path("images"))
    #expect(try data.inputs(0..<1) == data.inputs(1..<2))
  }

  @Test func linksToFilesAndToClassesAreFollowed() throws {
    let folder = try smallFolder()
    let manager = FileManager.default
    try manager.createSymbolicLink(
      atPath: folder.path("images/c"), withDestinationPath: folder.path("images/b"))
    try manager.createSymbolicLink(
      atPath: folder.path("images/a/2.png"), withDestinationPath: folder.path("images/a/1.png"))
    #expect(try openDataset(folder.path("images")).labels(0..<4) == [0, 0, 1, 2])
    try manager.createSymbolicLink(
      atPath: folder.path("images/a/round"), withDestinationPath: folder.path("images/a"))
    let error = try refusal { _ = try openDataset(folder.path("images")) }
    #expect(error.file == folder.path("images/a/round"))
    #expect(error.message.hasPrefix("This is a link to a folder inside a class"))
  }

  @Test func theDigestIsThatOfAListingBySha256sum() throws {
    let folder = try smallFolder()
    let image = try FileDigest.sha256(ofFile: formats + "rgb.png")
    let listing = try folder.write("\(image)  a/1.png\n\(image)  b/1.png\n".utf8, to: "listing")
    #expect(try FileDigest.sha256(ofData: folder.path("images")) == FileDigest.sha256(ofFile: listing))
    #expect(try FileDigest.sha256(ofData: listing) == FileDigest.sha256(ofFile: listing))
  }

  // MARK: - Refusals

  @Test func foldersWithoutImagesAreRefused() throws {
    let folder = try TemporaryFolder()
    let path = try folder.makeFolder("images")
    let empty = try refusal { _ = try openDataset(path) }
    #expect(empty.code == .missing)
    #expect(
      empty.description == "\(path): The folder holds no images (.jpg, .jpeg, .png); check the path.")
    try folder.makeFolder("images/a/b")
    #expect(try refusal { _ = try openDataset(path) }.message == empty.message)
  }

  @Test(arguments: [
    (
      "a/notes.txt",
      "Only .jpg, .jpeg and .png files are read from a folder of images; convert this file or move it away."
    ),
    ("a/b/scan.bmp", "Only .jpg, .jpeg and .png files are read"),
    ("a/jpg", "Only .jpg, .jpeg and .png files are read"),
    (
      "readme.md",
      "The file lies beside sub-folders, which are classes, so it has none; move it into one of them or away."
    ),
    ("1.png", "The file lies beside sub-folders"),
    ("a/text.png", "The file holds neither a PNG nor a JPEG image; copy or download it again, or move it away."),
  ])
  func otherFilesAreNamed(_ name: String, _ message: String) throws {
    let folder = try smallFolder()
    try folder.makeFolder("images/a/b")
    let path = try folder.write("some text\n".utf8, to: "images/" + name)
    let error = try refusal { _ = try openDataset(folder.path("images")) }
    #expect(error.file == path)
    #expect(error.message.hasPrefix(message), "\(error)")
  }

  @Test func emptyFilesAreNamed() throws {
    let folder = try smallFolder()
    let path = try folder.write([], to: "images/b/0.png")
    let error = try refusal { _ = try openDataset(folder.path("images")) }
    #expect(error.description == "\(path): The file is empty; copy or download it again.")
  }

  @Test func theFirstImageOfAnotherSizeIsNamed() throws {
    let folder = try smallFolder()
    for name in ["a/7.png", "b/3.png"] { try folder.write(bytes("digits/0/0005.png"), to: "images/" + name) }
    let error = try refusal { _ = try openDataset(folder.path("images")) }
    #expect(error.code == .shape)
    #expect(error.file == folder.path("images/a/7.png"))
    #expect(
      error.message
        == "The image is 8 x 8 pixels (width x height), but the first, \(folder.path("images/a/1.png")), is 13 x 11; "
        + "scale all images to one size.")
  }

  @Test func jpegWithoutAnImageIsRefused() throws {
    let folder = try smallFolder()
    let path = try folder.write([0xFF, 0xD8, 0xFF, 0xD9], to: "images/a/0.jpg")
    let error = try refusal { _ = try openDataset(folder.path("images")) }
    #expect(error.file == path)
    #expect(error.message.hasPrefix("The JPEG image cannot be decoded (it holds no image); copy or"), "\(error)")
  }

  @Test func imagesForPrintAreRefused() throws {
    let folder = try smallFolder()
    let path = try folder.write(bytes("refused/cmyk.jpg"), to: "images/b/2.jpg")
    let error = try refusal { _ = try openDataset(folder.path("images")) }
    #expect(error.code == .unsupported && error.file == path)
    #expect(error.message == "The JPEG image has four inks (CMYK), which are not read; save it in RGB.")
  }

  /// Sizes are refused before there is memory for their pixels.
  @Test func absurdSizesAreRefused() throws {
    var jpeg = try bytes("formats/grey.jpg")
    let frame = try #require((0..<jpeg.count).first { jpeg[$0] == 0xFF && jpeg[$0 + 1] == 0xC0 })
    jpeg.replaceSubrange(frame + 5..<frame + 9, with: [0xFF, 0x00, 0xFF, 0x00])
    for (name, image, message) in [
      ("1.jpg", jpeg, "The image claims 65280 x 65280 pixels, and at most 67108864 are read; scale it down."),
      ("1.png", try bytes("refused/huge.png"), "The image claims 60000 x 60000 pixels, more than a PNG file of"),
    ] {
      let folder = try TemporaryFolder()
      try folder.makeFolder("images")
      let path = try folder.write(image, to: "images/" + name)
      let error = try refusal { _ = try openDataset(folder.path("images")) }
      #expect(error.file == path && error.message.hasPrefix(message), "\(error)")
    }
  }

  @Test(arguments: ["rgb.png", "palette.png", "rgb-420.jpg", "rgb-progressive.jpg"])
  func imagesThatWereCutAreRefused(_ name: String) throws {
    let whole = try bytes("formats/" + name)
    let folder = try TemporaryFolder()
    try folder.makeFolder("images")
    // Two bytes at the end of a JPEG file tell that it is whole.
    for length in [8, 20, 40, whole.count / 3, whole.count / 2, whole.count - 40, whole.count - 2] {
      let path = try folder.write(whole.prefix(length), to: "images/" + name)
      let error = try refusal { _ = try openDataset(folder.path("images")).inputs(0..<1) }
      #expect(error.code == .malformed && error.file == path, "\(length): \(error)")
      #expect(error.message.contains("download it again"), "\(length): \(error)")
    }
  }

  /// Every chunk of a PNG file has a checksum.
  @Test func anyFlippedBitOfAPNGIsNoticed() throws {
    let folder = try TemporaryFolder()
    try folder.makeFolder("images")
    let whole = try bytes("formats/palette.png")
    for position in whole.indices {
      var image = whole
      image[position] ^= 1 << UInt8(position % 8)
      let path = try folder.write(image, to: "images/1.png")
      let error = try refusal { _ = try openDataset(folder.path("images")).inputs(0..<1) }
      #expect(error.file == path && error.message.hasSuffix("."))
    }
  }

  @Test(arguments: ["rgb-420.jpg", "rgb-progressive.jpg", "grey.jpg", "rgba-16.png", "rgb-interlaced.png"])
  func damageIsRefusedOrReadButNeverCrashes(_ name: String) throws {
    let folder = try TemporaryFolder()
    try folder.makeFolder("images")
    let whole = try bytes("formats/" + name)
    let key = RandomKey(seed: 3)
    for trial in 0..<250 {
      let numbers = key.child(trial).uniforms(4)
      var image = whole
      for number in numbers[0..<1 + trial % 4] {
        let bit = Int(number * Double(image.count * 8))
        image[bit / 8] ^= 1 << UInt8(bit % 8)
      }
      let path = try folder.write(image, to: "images/" + name)
      do {
        let data = try openDataset(folder.path("images"))
        #expect(try data.inputs(0..<1).count == 1)
      } catch {
        #expect(error.file == path && error.message.hasSuffix("."), "\(error)")
      }
    }
  }

  @Test func imagesThatChangeAreNoticed() throws {
    let folder = try smallFolder()
    let data = try openDataset(folder.path("images"))
    let path = try folder.write(bytes("digits/0/0005.png"), to: "images/b/1.png")
    let error = try refusal { _ = try data.inputs(0..<2) }
    #expect(error.description == "\(path): The image has changed since it was first read; do not write it meanwhile.")
  }

  @Test func namesAfterAColonAreRefusedButForTheImagesAlone() throws {
    let bare = try openDataset(golden("Images/classes"), options: DatasetOptions(inputs: "x"))
    #expect(!bare.hasLabels && bare.classNames.isEmpty)
    for options in [DatasetOptions(inputs: "images"), DatasetOptions(inputs: "x", labels: "y")] {
      let error = try refusal { _ = try openDataset(golden("Images/classes"), options: options) }
      #expect(error.message.hasPrefix("A folder of images has no arrays with names; give the folder alone"))
    }
  }
}
