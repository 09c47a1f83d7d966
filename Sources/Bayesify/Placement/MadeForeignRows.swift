public import BayesNetwork
public import BayesTensor

/// Foreign rows made of known ones, for searches: what a placement is then measured with stays unseen.
public enum MadeForeignSet: String, CaseIterable, Sendable, Hashable, Codable {
  /// Normal numbers with the mean and the deviation of each channel, within the range of the known rows.
  case noise
  /// Images cut into four by four patches, in another order: textures stay, shapes go. Of rows that are no images each value
  /// changes place with that of another row.
  case patches
  /// The mean of two rows of different classes: near to what is known.
  case mixup
  /// Images with noise, blur, less contrast and so on at the greatest severity, by turns.
  case corrupted
}

/// A data set made of another's rows.
///
/// - Determinism: a row follows from the key, its index and the rows it is made of.
/// - Cost: memory for the rows that it is made of.
public struct MadeForeignRows: Dataset {
  private let kind: MadeForeignSet
  private let rows: RowBatch
  private let labels: [Int]
  private let key: RandomKey
  private let channels: [(mean: Double, deviation: Double, range: ClosedRange<Float>)]
  public let file: String

  /// - Throws: `FileError` where mixing needs a second class, or fewer than two rows are given.
  /// - Precondition: the kind is not `corrupted`, which `PlacementRows` makes of a data set.
  public init(_ kind: MadeForeignSet, of rows: RowBatch, labels: [Int], file: String, key: RandomKey) throws(FileError) {
    precondition(kind != .corrupted, "Corruptions are made of a data set.")
    guard rows.count > 1 else {
      throw FileError(.value, file: file, "Foreign rows are made of two known ones at least; give more.")
    }
    if kind == .mixup, Set(labels).count < 2 {
      throw FileError(.value, file: file, "All rows have one label, and rows of two classes are mixed; give rows of several.")
    }
    (self.kind, self.rows, self.labels, self.file, self.key) = (kind, rows, labels, file, key)
    let tensor = rows.tensor
    let width = rows.shape.rank > 2 ? rows.shape.dimensions.last ?? 1 : 1
    channels = (0..<max(1, width)).map { channel in
      let values = stride(from: channel, to: tensor.count, by: max(1, width)).map { Double(tensor[$0]) }
      let mean = values.reduce(0, +) / Double(values.count)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
      return (mean, variance.squareRoot(), Float(values.min() ?? 0)...Float(values.max() ?? 0))
    }
  }

  public var rowCount: Int { rows.count }
  public var rowShape: Shape { rows.shape.row }
  public var hasLabels: Bool { false }
  public func labels(_ rows: Range<Int>) -> [Int] { [] }

  public func inputs(_ range: Range<Int>) -> RowBatch {
    let made = range.map { row in Tensor<Float>(shape: rowShape.batched(1), values(of: row)) }
    return RowBatch(made.isEmpty ? Tensor(zeros: rowShape.batched(0)) : .stacking(made))
  }

  private func values(of row: Int) -> [Float] {
    let own = rows.rows([row]).tensor
    let key = key.child(row)
    switch kind {
    case .corrupted: return Array(own.elements)
    case .noise:
      let noise: Tensor<Double> = key.normals([own.count])
      return (0..<own.count).map { position in
        let channel = channels[position % channels.count]
        let value = Float(channel.mean + channel.deviation * noise[position])
        return min(max(value, channel.range.lowerBound), channel.range.upperBound)
      }
    case .patches:
      guard rowShape.rank == 3 else {
        let others = key.uniforms(own.count).map { min(rows.count - 1, Int($0 * Double(rows.count))) }
        let all = rows.tensor
        return (0..<own.count).map { all[others[$0] * own.count + $0] }
      }
      return shuffled(own, key)
    case .mixup:
      // The next row in a random order that has another label; there is one.
      let order = key.permutation(rows.count)
      guard let other = order.first(where: { labels[$0] != labels[row] }) else { return Array(own.elements) }
      let second = rows.rows([other]).tensor
      return (0..<own.count).map { (own[$0] + second[$0]) / 2 }
    }
  }

  /// An image with its patches in another order; borders that no whole patch fills stay.
  private func shuffled(_ image: Tensor<Float>, _ key: RandomKey) -> [Float] {
    let (height, width, depth) = (rowShape[0], rowShape[1], rowShape[2])
    let (rows, columns) = (min(4, height), min(4, width))
    let (patchHeight, patchWidth) = (height / rows, width / columns)
    let order = key.permutation(rows * columns)
    var result = Array(image.elements)
    for (target, source) in order.enumerated() {
      for y in 0..<patchHeight {
        for x in 0..<patchWidth {
          let to = ((target / columns * patchHeight + y) * width + target % columns * patchWidth + x) * depth
          let from = ((source / columns * patchHeight + y) * width + source % columns * patchWidth + x) * depth
          for channel in 0..<depth { result[to + channel] = image[from + channel] }
        }
      }
    }
    return result
  }
}
