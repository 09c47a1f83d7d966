import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

@testable import BayesFiles

/// Rows in memory that lie somewhere in a file.
private struct ImageRows: Dataset {
  var batch: RowBatch
  var firstRow = 0

  var file: String { "images.npy" }
  var rowCount: Int { batch.count }
  var rowShape: Shape { batch.shape.row }
  var hasLabels: Bool { true }
  var classNames: [String] { ["a", "b"] }

  func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch { batch.rows(Array(rows)) }
  func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { rows.map { $0 % 2 } }
}

/// Corruptions of images against SciPy, NumPy, colorsys and Pillow, and what must hold of all of them.
@Suite struct CorruptionTests {
  private static let golden = Result { try GoldenValue(contentsOf: "Corruptions/images.json") }
  private let key = RandomKey(seed: 3)

  /// Bright bars on dark ground with a little noise, as bytes; what turns them leaves the ground's corners dark.
  private func images(channels: Int, rows: Int = 3) -> RowBatch {
    let shape: Shape = [rows, 16, 16, channels]
    let noise: Tensor<Double> = RandomKey(seed: 9).normals(shape)
    let bytes = (0..<shape.elementCount).map { position in
      let pixel = position / channels
      let (row, column) = (pixel / 16 % 16, pixel % 16)
      let isBar = (6...9).contains(row) && (2...13).contains(column)
      let light = isBar ? 180 - 30 * Double(position % channels) : 14
      return UInt8(min(255, max(0, light + 4 * noise[position])))
    }
    return RowBatch(shape: shape, values: .bytes(ContiguousArray(bytes)))
  }

  private func floats(_ batch: RowBatch) -> RowBatch { RowBatch(batch.tensor.map { $0 / 255 }) }

  private func corrupted(
    _ corruption: Corruption, _ batch: RowBatch, _ level: Int, range: PixelRange = .bytes, firstRow: Int = 0,
    key: RandomKey? = nil
  ) throws -> RowBatch {
    try corruption.corrupt(
      batch, try #require(Severity(level)), range: range, key: key ?? self.key, firstRow: firstRow, file: "images.npy")
  }

  private func meanSquaredError(_ first: RowBatch, _ second: RowBatch) -> Double {
    zip(first.tensor.elements, second.tensor.elements).reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
      / Double(first.shape.elementCount)
  }

  // MARK: - Against others

  @Test(arguments: [Corruption.blur, .contrast, .brightness, .rotation], ["colour", "grey"])
  func valuesAreThoseOfOthers(_ corruption: Corruption, _ name: String) throws {
    let image = try Self.golden.get()[name]
    let pixels: Tensor<Double> = image["pixels"].tensor()
    let size = try ImageSize(pixels.shape, file: "")
    let unit = UnitImage(size: size, values: pixels.elements.map { $0 / 255 })
    for (severity, expected) in zip(Severity.all, image[corruption.rawValue].list) {
      let strength = corruption.strength(severity)
      let own =
        switch corruption {
        case .blur: unit.blurred(standardDeviation: strength)
        case .contrast: unit.scalingContrast(by: strength)
        case .brightness: unit.brightened(by: strength)
        default: unit.rotated(degrees: strength)
        }
      expectClose(
        Tensor(shape: pixels.shape, own.values), expected.tensor(), tolerance: 1e-12, "severity \(severity.level)")
      // Bytes are those values rounded, and numbers in single precision those values.
      let shape = pixels.shape.batched(1)
      let bytes = RowBatch(shape: shape, values: .bytes(ContiguousArray(pixels.elements.map { UInt8($0) })))
      let rounded = try corrupted(corruption, bytes, severity.level)
      #expect(rounded.values == .bytes(ContiguousArray(own.values.map { UInt8(($0 * 255).rounded()) })))
      let floats = RowBatch(Tensor(shape: shape, pixels.elements.map { Float($0 / 255) }))
      let single = try corrupted(corruption, floats, severity.level, range: .unit)
      expectClose(single.tensor, Tensor(shape: shape, own.values.map { Float($0) }), tolerance: 1e-6)
    }
  }

  /// Pillow 13.0.0 has libjpeg-turbo 3.2.0, which may round another way than the version here.
  @Test(arguments: ["colour", "grey"])
  func jpegIsThatOfPillow(_ name: String) throws {
    let image = try Self.golden.get()[name]
    let pixels: Tensor<Double> = image["pixels"].tensor()
    let batch = RowBatch(
      shape: pixels.shape.batched(1), values: .bytes(ContiguousArray(pixels.elements.map { UInt8($0) })))
    for (severity, expected) in zip(Severity.all, image["jpeg"].list) {
      let own = try corrupted(.jpeg, batch, severity.level).tensor
      let theirs = expected.tensor(as: Float.self)
      let differences = zip(own.elements, theirs.elements).map { abs($0 - $1) }
      #expect(differences.count == pixels.count && differences.allSatisfy { $0 <= 1 }, "severity \(severity.level)")
    }
  }

  @Test(arguments: 1...5)
  func noiseIsNormalWithTheDeviationOfItsSeverity(_ level: Int) throws {
    // Grey in the middle, so that nothing is clipped; ten standard errors of chance would be a miss.
    let batch = RowBatch(Tensor(repeating: Float(0.5), shape: [40, 32, 32, 3]))
    let deviation = [0.04, 0.06, 0.08, 0.09, 0.10][level - 1]
    let noise = try corrupted(.noise, batch, level, range: .unit).tensor.elements.map { (Double($0) - 0.5) / deviation }
    let count = Double(noise.count)
    func moment(_ power: Int) -> Double {
      noise.reduce(0) { sum, value in sum + (0..<power).reduce(1) { product, _ in product * value } } / count
    }
    // Standard errors of the first four moments of a standard normal sample.
    for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1, 2), (3, 0, 15), (4, 3, 96)] {
      #expect(abs(moment(power) - expected) < 4 * (variance / count).squareRoot(), "moment \(power)")
    }
    // Shares below known quantiles.
    for (quantile, share) in [(-1.644853626951, 0.05), (0, 0.5), (0.674489750196, 0.75), (1.644853626951, 0.95)] {
      let below = Double(noise.count { $0 < quantile }) / count
      #expect(abs(below - share) < 4 * (share * (1 - share) / count).squareRoot())
    }
    // Neighbours, channels and rows do not go along with each other.
    for lag in [1, 3, 96, 3072] {
      let sum = zip(noise, noise.dropFirst(lag)).reduce(0) { $0 + $1.0 * $1.1 }
      #expect(abs(sum / (count - Double(lag))) < 4 / (count - Double(lag)).squareRoot(), "lag \(lag)")
    }
  }

  // MARK: - What holds of all

  @Test(arguments: Corruption.allCases, [1, 3])
  func strongerSeveritiesChangeMore(_ corruption: Corruption, _ channels: Int) throws {
    let batch = images(channels: channels)
    var last = 0.0
    for severity in Severity.all {
      let result = try corrupted(corruption, batch, severity.level)
      #expect(result.shape == batch.shape)
      let error = meanSquaredError(result, batch)
      #expect(error > last, "severity \(severity.level): \(error) after \(last)")
      last = error
    }
  }

  @Test(arguments: Corruption.allCases)
  func rowsDoNotDependOnTheirCompanions(_ corruption: Corruption) throws {
    let batch = images(channels: 3, rows: 5)
    let whole = try corrupted(corruption, batch, 3, firstRow: 7)
    for row in 0..<5 {
      let alone = try corrupted(corruption, batch.rows([row]), 3, firstRow: 7 + row)
      #expect(alone == whole.rows([row]))
    }
    #expect(try corrupted(corruption, batch, 3, firstRow: 7) == whole)
    // Only noise depends on the key and the row.
    let other = try corrupted(corruption, batch, 3, firstRow: 7, key: RandomKey(seed: 4))
    #expect((other == whole) == (corruption != .noise))
    #expect((try corrupted(corruption, batch, 3, firstRow: 8) == whole) == (corruption != .noise))
  }

  @Test(arguments: Corruption.allCases)
  func valuesStayInTheirRange(_ corruption: Corruption) throws {
    let bytes = images(channels: 3)
    guard case .bytes(let values) = bytes.values else { return }
    // The same images in sixteenths, and around zero.
    let sixteenths = RowBatch(shape: bytes.shape, values: .bytes(ContiguousArray(values.map { $0 / 16 })))
    let range = try #require(PixelRange(0, 16))
    let around = RowBatch(floats(bytes).tensor.map { 2 * $0 - 1 })
    for severity in Severity.all {
      let result = try corrupted(corruption, sixteenths, severity.level, range: range)
      #expect(result.tensor.elements.allSatisfy { (0...16).contains($0) })
      let unit = try corrupted(corruption, floats(bytes), severity.level, range: .unit).tensor
      #expect(unit.elements.allSatisfy { (0...1).contains($0) })
      let other = try corrupted(corruption, around, severity.level, range: try #require(PixelRange(-1, 1))).tensor
      expectClose(other, unit.map { 2 * $0 - 1 }, tolerance: 1e-6)
    }
  }

  @Test func nothingIsDoneAtTheirLimits() throws {
    let pixels = images(channels: 3, rows: 1).tensor
    let size = try ImageSize(pixels.shape.row, file: "")
    let image = UnitImage(size: size, values: pixels.elements.map { Double($0) / 255 })
    func difference(_ other: UnitImage) -> Double {
      zip(image.values, other.values).reduce(0) { max($0, abs($1.0 - $1.1)) }
    }
    #expect(difference(image.addingNoise(standardDeviation: 0, key: key)) == 0)
    #expect(difference(image.blurred(standardDeviation: 0)) == 0)
    #expect(difference(image.blurred(standardDeviation: 0.1)) < 1e-12)
    #expect(difference(image.scalingContrast(by: 1)) < 1e-12)
    #expect(difference(image.brightened(by: 0)) < 1e-12)
    #expect(difference(image.rotated(degrees: 0)) == 0)
    #expect(difference(image.rotated(degrees: 360)) < 1e-12)
    let quarter = image.rotated(degrees: 90)
    // Anticlockwise: the right edge becomes the upper one.
    for column in 0..<16 {
      for channel in 0..<3 {
        let from = (column * 16 + 15) * 3 + channel
        #expect(abs(quarter.values[column * 3 + channel] - image.values[from]) < 1e-12)
      }
    }
    let grey = UnitImage(size: try ImageSize([8, 8], file: ""), values: Array(repeating: 0.6, count: 64))
    let codec = try JPEGCodec(grey.size, file: "")
    #expect(try grey.compressed(quality: 100, by: codec).values.allSatisfy { abs($0 - 0.6) < 1e-12 })
  }

  // MARK: - Data sets

  @Test(arguments: Corruption.allCases)
  func dataSetsAreCorruptedAsTheyAreRead(_ corruption: Corruption) throws {
    let batch = images(channels: 1, rows: 6)
    let severity = try #require(Severity(2))
    let all = try CorruptedDataset(ImageRows(batch: batch), corruption, severity, range: .bytes, key: key)
    let part = try CorruptedDataset(
      ImageRows(batch: batch.rows([2, 3, 4]), firstRow: 2), corruption, severity, range: .bytes, key: key)
    #expect(try part.inputs(1..<3) == all.inputs(3..<5))
    #expect(try all.inputs(0..<6) == corrupted(corruption, batch, 2))
    #expect(try all.labels(1..<4) == [1, 0, 1] && all.classNames == ["a", "b"] && all.rowCount == 6)
    #expect(part.firstRow == 2 && part.rowShape == [16, 16, 1] && all.file == "images.npy" && all.hasLabels)
  }

  @Test func rangesAreJudgedByTheLargestValue() throws {
    func range(_ values: [UInt8]) throws -> PixelRange {
      let batch = RowBatch(shape: [1, 1, values.count], values: .bytes(ContiguousArray(values)))
      return try PixelRange(of: ImageRows(batch: batch))
    }
    #expect(try range([0, 1]) == .unit)
    #expect(try range([3, 16]) == PixelRange(0, 16))
    #expect(try range([0, 127]) == PixelRange(0, 127))
    #expect(try range([9, 128]) == .bytes)
    func floatRange(_ values: [Float]) throws -> PixelRange {
      try PixelRange(of: ImageRows(batch: RowBatch(Tensor(shape: [1, 1, values.count], values))))
    }
    #expect(try floatRange([0, 0.25]) == .unit)
    #expect(try floatRange([0, 200.5]) == .bytes)
    for values: [Float] in [[-0.5, 0.5], [0, 256], [0, 0]] {
      let error = #expect(throws: FileError.self) { try floatRange(values) }
      #expect(error?.code == .value && error?.message.contains("--pixel-range") == true)
    }
    #expect(PixelRange(1, 1) == nil && PixelRange(0, .infinity) == nil && PixelRange(.nan, 1) == nil)
    #expect("\(PixelRange.bytes)" == "0 to 255")
  }

  // MARK: - Refusals

  @Test(arguments: [[12], [4, 4, 2], [4, 4, 4], [4, 4, 4, 3], [4, 0, 3]])
  func rowsThatAreNoImagesAreRefused(_ row: [Int]) throws {
    let batch = RowBatch(Tensor(zeros: Shape([2] + row)))
    for corruption in Corruption.allCases {
      let error = #expect(throws: FileError.self) { try corrupted(corruption, batch, 1, range: .unit) }
      #expect(error?.code == .shape && error?.message.contains("1 or 3 channels") == true)
      #expect(throws: FileError.self) {
        try CorruptedDataset(ImageRows(batch: batch), corruption, Severity.all[0], range: .unit, key: key)
      }
    }
  }

  @Test func valuesOutsideTheRangeAreRefused() throws {
    let batch = RowBatch(Tensor(shape: [2, 1, 2], [0, 1, 0.5, 1.5]))
    for corruption in Corruption.allCases {
      let error = #expect(throws: FileError.self) { try corrupted(corruption, batch, 1, range: .unit, firstRow: 40) }
      #expect(error?.code == .value)
      #expect(error?.message.contains("Row 41 holds 1.5") == true && error?.message.contains("0 to 1") == true)
    }
  }

  @Test func imagesTooLargeForJPEGAreRefused() throws {
    let batch = RowBatch(Tensor(zeros: [1, 65_501, 1]))
    let error = #expect(throws: FileError.self) { try corrupted(.jpeg, batch, 1, range: .unit) }
    #expect(error?.code == .shape && error?.message.contains("JPEG knows 65500") == true)
    #expect(Severity(0) == nil && Severity(6) == nil)
  }
}
