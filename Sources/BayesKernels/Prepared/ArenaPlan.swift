import BayesTensor

/// What one step does to values, as far as memory is concerned.
struct MemoryUse: Sendable {
  var reads: [Int]
  var writes: [Int]
  /// A value that the step may overwrite with the first of `writes`, position by position, when nobody
  /// needs it afterwards.
  var heirOf: Int?
  /// The byte in the first of `writes` at which each of `reads` goes, where the step only puts them one behind the
  /// other.
  var joins: [Int]?
}

/// Where in one block of memory each value of a sequence of steps lives, so that values that are never
/// alive together share bytes.
struct ArenaPlan: Sendable {
  /// The byte offset of each value.
  let offsets: [Int]
  /// The size of the block.
  let byteCount: Int
  /// Steps whose first result lies where the value it is heir of lay.
  let takesOver: [Bool]

  /// Plans memory.
  ///
  /// What is joined is written straight to its place in the whole.
  ///
  /// - Parameters:
  ///   - byteCounts: the size of each value.
  ///   - kept: values that are needed after the last step.  Values that no step writes are there from
  ///     the start.
  /// - Source: greedy by size (Pisarchyk and Lee 2020, arXiv:2001.03288).
  init(_ uses: [MemoryUse], byteCounts: [Int], kept: [Int]) {
    let end = uses.count
    var first = Array(repeating: -1, count: byteCounts.count)
    var last = Array(repeating: -1, count: byteCounts.count)
    for (index, use) in uses.enumerated() {
      for value in use.writes where first[value] < 0 { first[value] = index }
      for value in use.reads + use.writes { last[value] = index }
    }
    for value in kept { last[value] = end }

    // Wholes come after their parts, so a whole that is itself a part is known to be one only later.
    var places: [Int: (whole: Int, offset: Int)] = [:]
    for use in uses {
      guard let joins = use.joins, let whole = use.writes.first else { continue }
      for (part, offset) in zip(use.reads, joins)
      where places[part] == nil && first[part] >= 0 && byteCounts[part] <= byteCounts[whole] - offset {
        places[part] = (whole, offset)
        first[whole] = min(first[whole], first[part])
        last[whole] = max(last[whole], last[part])
      }
    }

    // A value that dies where another of its size is made can hand over its bytes.
    var home = Array(byteCounts.indices)
    var takesOver = Array(repeating: false, count: end)
    for (index, use) in uses.enumerated() {
      guard let heir = use.heirOf, let value = use.writes.first, last[home[heir]] == index,
        places[heir] == nil, places[value] == nil,
        byteCounts[home[heir]] >= byteCounts[value],
        use.reads.count(where: { home[$0] == home[heir] }) == 1
      else { continue }
      home[value] = home[heir]
      last[home[heir]] = last[value]
      takesOver[index] = true
    }

    func size(_ value: Int) -> Int { (byteCounts[value] + 63) / 64 * 64 }
    var placed: [(value: Int, offset: Int)] = []
    var total = 0
    let owners = home.indices.filter { home[$0] == $0 && places[$0] == nil }.sorted { (size($1), $0) < (size($0), $1) }
    for value in owners {
      var offset = 0
      for other in placed.sorted(by: { $0.offset < $1.offset }) {
        let meets = first[value] <= last[other.value] && first[other.value] <= last[value]
        if meets, other.offset < offset + size(value), offset < other.offset + size(other.value) {
          offset = other.offset + size(other.value)
        }
      }
      placed.append((value, offset))
      total = max(total, offset + size(value))
    }
    var offsets = Array(repeating: 0, count: home.count)
    for place in placed { offsets[place.value] = place.offset }
    offsets = home.map { offsets[$0] }
    for value in offsets.indices {
      var (owner, offset) = (value, 0)
      while let place = places[owner] { (owner, offset) = (place.whole, offset + place.offset) }
      offsets[value] = offsets[owner] + offset
    }
    self.offsets = offsets
    byteCount = total
    self.takesOver = takesOver
  }
}

extension ArenaPlan {
  /// Plans memory for slices of `rowCount` rows.
  init(_ graph: FusedGraph, rowCount: Int) {
    self.init(
      graph.operations.map { $0.memoryUse(rowCount: rowCount) }, byteCounts: graph.byteCounts(rowCount: rowCount),
      kept: graph.outputs.map(\.value))
  }
}

extension FusedGraph {
  /// Bytes of each value in slices of `rowCount` rows.
  func byteCounts(rowCount: Int) -> [Int] {
    // Some operations touch whole blocks of rows, which a short slice does not fill.
    var capacities = Array(repeating: rowCount, count: elementCounts.count)
    for operation in operations {
      let block = operation.rowBlock
      let capacity = (rowCount + block - 1) / block * block
      for value in operation.reads + [operation.output] {
        capacities[value] = max(capacities[value], capacity)
      }
    }
    return zip(elementCounts, capacities).map { $0 * $1 * MemoryLayout<Float>.stride }
  }
}

extension FusedOperation {
  /// What the operation does to memory in slices of `rowCount` rows.
  func memoryUse(rowCount: Int) -> MemoryUse {
    var heirOf = residual
    switch kind {
    case .activation, .channelMap: heirOf = inputs[0].value
    default: break
    }
    return MemoryUse(reads: reads, writes: [output], heirOf: heirOf, joins: joins(rowCount: rowCount))
  }

  /// The values that the operation needs.
  var reads: [Int] { inputs.map(\.value) + (residual.map { [$0] } ?? []) }

  /// Where the inputs of a concatenation begin, where each is in one piece there.
  ///
  /// Channels side by side in each pixel are not: oneDNN's fast kernels write dense images only.
  private func joins(rowCount: Int) -> [Int]? {
    guard case .concatenation(let axis) = kind, activation == nil else { return nil }
    let isFirst = orders.input.block != nil || outputShape.dimensions[..<axis].allSatisfy { $0 == 1 }
    guard rowCount == 1, isFirst, Set(reads).count == reads.count else { return nil }
    var offset = 0
    return inputs.map { input in
      defer { offset += input.shape.elementCount * MemoryLayout<Float>.stride }
      return offset
    }
  }
}
