import BayesTensor

/// Weights of files that list layers, and for each layer its weights.
///
/// Layers are found by name where all are there by name, and in order where the names are another
/// session's, as Keras itself does.  Within a layer weights are found by name; the order of the file is
/// that of Keras, what is trained before what is not, and is followed where names do not tell.
struct KerasListedWeights {
  private let layers: [CheckpointLayer]
  private let names: KerasWeightNames
  private let storage: KerasStorage

  init(_ checkpoint: some Checkpoint, backend: KerasBackend?) {
    layers = checkpoint.layers
    names = KerasWeightNames(checkpoint.layers)
    storage = KerasStorage(checkpoint, backend: backend)
  }

  /// Where each weight is.
  func answers(to requests: [KerasWeightRequest]) -> [KerasWeightAnswer] {
    var answers = [KerasWeightAnswer](repeating: .absent, count: requests.count)
    let ordered = requests.indices.sorted {
      KerasWeightRequest.precedes(requests[$0], requests[$1])
        || !KerasWeightRequest.precedes(requests[$1], requests[$0]) && $0 < $1
    }
    var groups: [(layer: String, members: [Int])] = []
    for index in ordered {
      if groups.last?.layer == requests[index].outermost {
        groups[groups.count - 1].members.append(index)
      } else {
        groups.append((requests[index].outermost, [index]))
      }
    }
    for (listed, group) in zip(listedLayers(for: groups.map(\.layer)), groups) {
      guard let listed else { continue }
      let found = self.answers(to: group.members.map { requests[$0] }, in: listed)
      for (index, answer) in zip(group.members, found) { answers[index] = answer }
    }
    return answers
  }

  /// The file's layer for each of the described ones that have weights.
  private func listedLayers(for described: [String]) -> [CheckpointLayer?] {
    let byName = Dictionary(layers.map { ($0.name, $0) }) { first, _ in first }
    let named = described.map { byName[$0] }
    let weighted = layers.filter { !$0.weightNames.isEmpty }
    guard named.contains(where: { $0 == nil }), weighted.count == described.count else { return named }
    return weighted
  }

  private func answers(to requests: [KerasWeightRequest], in listed: CheckpointLayer) -> [KerasWeightAnswer] {
    let named = requests.map { answer(to: $0, in: listed) }
    let entries = named.flatMap { answer -> [String] in
      if case .found(let source) = answer { source.entries } else { [] }
    }
    if named.allSatisfy({ if case .found = $0 { true } else { false } }), Set(entries).count == entries.count {
      return named
    }
    return positional(requests, in: listed) ?? named
  }

  private func answer(to request: KerasWeightRequest, in listed: CheckpointLayer) -> KerasWeightAnswer {
    func entry(_ weight: KerasWeight) throws(KerasRefusal) -> String? {
      try names.entry(of: weight, layer: request.layer, in: request.models, listed: listed.name)
    }
    do throws(KerasRefusal) {
      if let entry = try entry(request.weight) { return storage.source(request, entry) }
      var gates: [String] = []
      for gate in request.weight.gates {
        var weight = request.weight
        weight.names = [gate.ending]
        guard let entry = try entry(weight) else { return .absent }
        gates.append(entry)
      }
      return gates.isEmpty ? .absent : storage.source(request, gates: gates)
    } catch {
      return .refused(error)
    }
  }

  /// The weights in the order in which Keras lists them, where the numbers and all shapes fit.
  private func positional(_ requests: [KerasWeightRequest], in listed: CheckpointLayer) -> [KerasWeightAnswer]? {
    if let gates = gates(requests, in: listed) { return gates }
    guard listed.entryNames.count == requests.count, Set(listed.entryNames).count == requests.count else { return nil }
    let order = requests.indices.filter { requests[$0].isTrained } + requests.indices.filter { !requests[$0].isTrained }
    var answers = [KerasWeightAnswer](repeating: .absent, count: requests.count)
    for (index, entry) in zip(order, listed.entryNames) {
      let answer = storage.source(requests[index], entry)
      if case .found(let source) = answer, storage.shapes[entry] != source.storedShape { return nil }
      answers[index] = answer
    }
    return answers
  }

  /// The weights of the recurrent layers in one of Keras 1, by the positions of their gates.
  private func gates(_ requests: [KerasWeightRequest], in listed: CheckpointLayer) -> [KerasWeightAnswer]? {
    guard requests.allSatisfy({ !$0.weight.gates.isEmpty && $0.places == requests[0].places }),
      requests.reduce(0, { $0 + $1.weight.gates.count }) == listed.entryNames.count
    else { return nil }
    var answers: [KerasWeightAnswer] = []
    var start = 0
    for (index, request) in requests.enumerated() {
      // The directions of a Bidirectional follow each other.
      if index > 0, requests[index - 1].weight.owners != request.weight.owners {
        start = requests[..<index].reduce(0) { $0 + $1.weight.gates.count }
      }
      let positions = request.weight.gates.map { start + $0.position }
      guard positions.allSatisfy(listed.entryNames.indices.contains) else { return nil }
      answers.append(storage.source(request, gates: positions.map { listed.entryNames[$0] }))
    }
    return answers
  }
}
