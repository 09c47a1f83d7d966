import Bayesify
import Testing

/// Foreign rows that are made of known ones.
struct MadeForeignRowsTests {
  private let labels = (0..<40).map { $0 % 2 }

  /// Images of 8 by 8 pixels and 2 channels, the second a hundred times the first.
  private var images: RowBatch {
    let numbers = RandomKey(seed: 3).uniforms(40 * 64)
    return RowBatch(Tensor<Float>(shape: [40, 8, 8, 2], numbers.flatMap { [Float($0), Float(100 * $0)] }))
  }

  private func made(_ kind: MadeForeignSet, key: UInt64 = 1) throws -> Tensor<Float> {
    try MadeForeignRows(kind, of: images, labels: labels, file: "x", key: RandomKey(seed: key)).inputs(0..<40).tensor
  }

  @Test func noiseHasTheMomentsOfEachChannel() throws {
    let noise = try made(.noise)
    for (channel, scale) in [(0, 1.0), (1, 100.0)] {
      let values = stride(from: channel, to: noise.count, by: 2).map { Double(noise[$0]) / scale }
      let mean = values.reduce(0, +) / Double(values.count)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
      // Cut off at the range of the known rows, which takes of the deviation of 0.289 about a tenth.
      #expect(abs(mean - 0.5) < 0.02 && (0.22...0.29).contains(variance.squareRoot()))
      #expect(values.allSatisfy { (0...1).contains($0) })
    }
  }

  @Test func patchesKeepEveryPixel() throws {
    let (patches, known) = (try made(.patches), images.tensor)
    for row in 0..<40 {
      let (own, before) = (patches.rows(row..<row + 1), known.rows(row..<row + 1))
      #expect(own.elements.sorted() == before.elements.sorted() && own != before)
      // Neighbours within a patch stay neighbours.
      let corner = (own[0], own[2])
      #expect((0..<before.count - 2).contains { before[$0] == corner.0 && before[$0 + 2] == corner.1 })
    }
  }

  @Test func mixturesAreOfTwoClasses() throws {
    let (mixed, known) = (try made(.mixup), images.tensor)
    for row in 0..<40 {
      let own = mixed.rows(row..<row + 1)
      let others = (0..<40).filter { other in
        (0..<own.count).allSatisfy { abs(own[$0] - (known[row * 128 + $0] + known[other * 128 + $0]) / 2) < 1e-4 }
      }
      #expect(others.count == 1 && labels[others.first ?? row] != labels[row])
    }
  }

  @Test func sameKeySameRows() throws {
    for kind in [MadeForeignSet.noise, .patches, .mixup] {
      #expect(try made(kind) == made(kind))
      #expect(try made(kind) != made(kind, key: 2))
    }
    #expect(throws: FileError.self) {
      try MadeForeignRows(.mixup, of: images, labels: labels.map { _ in 1 }, file: "x", key: RandomKey(seed: 1))
    }
  }

  /// Rows that are no images are shuffled value by value, each from the same place of another row.
  @Test func tablesAreShuffledByColumn() throws {
    let table = RowBatch(Tensor<Float>(shape: [10, 3], (0..<30).map { Float($0) }))
    let made = try MadeForeignRows(.patches, of: table, labels: [], file: "x", key: RandomKey(seed: 1)).inputs(0..<10).tensor
    for position in 0..<30 { #expect(Int(made[position]) % 3 == position % 3) }
    #expect(made != table.tensor)
  }
}
