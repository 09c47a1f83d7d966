/// What one step does to values, as far as memory is concerned.
struct MemoryUse: Sendable {
  var reads: [Int]
  var writes: [Int]
  /// A value that the step may overwrite with the first of `writes`, position by position, when nobody
  /// needs it afterwards.
  var heirOf: Int?
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

    // A value that dies where another of its size is made can hand over its bytes.
    var home = Array(byteCounts.indices)
    var takesOver = Array(repeating: false, count: end)
    for (index, use) in uses.enumerated() {
      guard let heir = use.heirOf, let value = use.writes.first, last[home[heir]] == index,
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
    let owners = home.indices.filter { home[$0] == $0 }.sorted { (size($1), $0) < (size($0), $1) }
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
    self.offsets = home.map { offsets[$0] }
    byteCount = total
    self.takesOver = takesOver
  }
}

extension ArenaPlan {
  /// Plans memory for slices of `rowCount` rows.
  init(_ graph: FusedGraph, rowCount: Int) {
    self.init(
      graph.operations.map(\.memoryUse), byteCounts: graph.byteCounts(rowCount: rowCount),
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
      for value in operation.memoryUse.reads + operation.memoryUse.writes {
        capacities[value] = max(capacities[value], capacity)
      }
    }
    return zip(elementCounts, capacities).map { $0 * $1 * MemoryLayout<Float>.stride }
  }
}

extension FusedOperation {
  var memoryUse: MemoryUse {
    let reads = inputs.map(\.value) + (residual.map { [$0] } ?? [])
    var heirOf = residual
    switch kind {
    case .activation, .channelMap: heirOf = inputs[0].value
    default: break
    }
    return MemoryUse(reads: reads, writes: [output], heirOf: heirOf)
  }
}
