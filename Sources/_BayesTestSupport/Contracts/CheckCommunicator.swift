public import BayesTensor
public import Testing

/// Expects of a communicator what sums over shards rely on; every rank makes the call.
///
/// - The rank lies below the size.
/// - Sums are taken in rank order, to the bit, and infinities and signs of zero survive.
/// - Gathered tensors come in rank order, and every rank in turn can broadcast.
/// - Shapes are kept, without elements and without axes too.
public func checkCommunicator(
  _ communicator: some Communicator, sourceLocation: Testing.SourceLocation = #_sourceLocation
) {
  for fault in communicatorFaults(communicator) {
    Issue.record("\(fault)", sourceLocation: sourceLocation)
  }
}

/// What `checkCommunicator` finds wrong, a sentence a fault.
///
/// For programs under `mpirun`: outside a test, nobody would hear of a recorded issue.
public func communicatorFaults(_ communicator: some Communicator) -> [String] {
  let (rank, size) = (communicator.rank, communicator.size)
  guard (0..<size).contains(rank) else { return ["There is no rank \(rank) among \(size)."] }
  var faults: [String] = []
  func compare(_ actual: Tensor<Double>, _ expected: Tensor<Double>, _ what: String) {
    if actual.shape != expected.shape {
      faults.append("\(what) of shape \(expected.shape) has shape \(actual.shape) on rank \(rank) of \(size).")
    } else if let position = (0..<actual.count).first(where: { actual[$0].bitPattern != expected[$0].bitPattern }) {
      faults.append(
        "\(what) of shape \(expected.shape) holds \(actual[position]) at \(position) on rank \(rank) of "
          + "\(size), not \(expected[position]).")
    }
  }

  for (index, shape) in ([[], [1], [0, 3], [2, 3], [257, 3]] as [Shape]).enumerated() {
    // Any rank can tell what any other holds.
    let shards = (0..<size).map { shard in
      var values: Tensor<Double> = RandomKey(seed: 21).child(index).child(shard).normals(shape)
      if shape.elementCount > 1 {
        values[0] = -0.0
        if shard == size - 1 { values[1] = .infinity }
      }
      return values
    }
    let own = shards[rank]

    var sum = own
    communicator.allReduce(&sum)
    let expected = shards.dropFirst().reduce(shards[0]) { sum, shard in
      Tensor(shape: shape, zip(sum.elements, shard.elements).map { $0 + $1 })
    }
    compare(sum, expected, "The sum")

    let gathered = communicator.gather(own)
    if gathered.count == size {
      for (shard, value) in gathered.enumerated() { compare(value, shards[shard], "Gathered tensor \(shard)") }
    } else {
      faults.append("\(gathered.count) tensors were gathered on rank \(rank) of \(size).")
    }

    for root in 0..<size {
      var values = own
      communicator.broadcast(&values, from: root)
      compare(values, shards[root], "The broadcast tensor of rank \(root)")
    }
  }
  return faults
}
