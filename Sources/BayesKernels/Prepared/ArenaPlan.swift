/// Where in one block of memory each value of a graph lives, so that values that are never alive
/// together share bytes.
struct ArenaPlan: Sendable {
  /// The byte offset of each value.
  let offsets: [Int]
  /// The size of the block.
  let byteCount: Int
  /// Operations whose result lies where their residual lay.
  let accumulates: [Bool]

  /// Plans memory for `rowCount` rows.
  ///
  /// - Source: greedy by size (Pisarchyk and Lee 2020, arXiv:2001.03288).
  init(_ graph: FusedGraph, rowCount: Int) {
    let end = graph.operations.count
    var first = Array(repeating: -1, count: graph.elementCounts.count)
    var last = Array(repeating: -1, count: graph.elementCounts.count)
    for (index, operation) in graph.operations.enumerated() {
      first[operation.output] = index
      last[operation.output] = index
      for value in operation.inputs.map(\.value) + (operation.residual.map { [$0] } ?? []) {
        last[value] = index
      }
    }
    for output in graph.outputs { last[output.value] = end }

    // Some operations touch whole blocks of rows, which a short slice does not fill.
    var capacities = Array(repeating: rowCount, count: graph.elementCounts.count)
    for operation in graph.operations {
      let block = operation.rowBlock
      let capacity = (rowCount + block - 1) / block * block
      for value in operation.inputs.map(\.value) + [operation.output] + (operation.residual.map { [$0] } ?? []) {
        capacities[value] = max(capacities[value], capacity)
      }
    }

    // A value that dies where another of its size is made can hand over its bytes.
    var home = Array(graph.elementCounts.indices)
    var accumulates = Array(repeating: false, count: end)
    for (index, operation) in graph.operations.enumerated() {
      let heir: Int?
      if let residual = operation.residual {
        heir = operation.inputs.contains { home[$0.value] == home[residual] } ? nil : residual
      } else {
        switch operation.kind {
        case .activation, .channelMap: heir = operation.inputs[0].value
        default: heir = nil
        }
      }
      guard let heir, last[home[heir]] == index,
        graph.elementCounts[heir] == graph.elementCounts[operation.output],
        capacities[home[heir]] >= capacities[operation.output]
      else { continue }
      home[operation.output] = home[heir]
      last[home[heir]] = last[operation.output]
      accumulates[index] = operation.residual != nil
    }

    func size(_ value: Int) -> Int { (graph.elementCounts[value] * capacities[value] * 4 + 63) / 64 * 64 }
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
    self.accumulates = accumulates
  }
}
