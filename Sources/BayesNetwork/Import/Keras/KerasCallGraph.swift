import BayesTensor

/// The uses of a model's layers, and which takes the output of which.
struct KerasCallGraph {
  /// One use of one layer.
  struct Use {
    var layer: Int
    /// Which of the layer's calls this is, from zero.
    var call: Int
    /// The uses whose outputs go in, in order.
    var inputs: [(use: Int, output: Int)]
  }

  private(set) var uses: [Use] = []
  private let model: KerasModel
  private let file: String
  /// The first use of each layer, by name; the others follow.
  private var firstUses: [String: (use: Int, layer: Int)] = [:]
  /// Inner models whose calls have numbers from one: Keras 2 counts their making as their call 0.
  private var countedFromOne: Set<String> = []

  /// Finds what every use refers to.
  ///
  /// - Throws: `FileError` naming a layer that occurs twice or refers to one that does not exist.
  init(_ model: KerasModel, file: String) throws(FileError) {
    self.model = model
    self.file = file
    for (index, layer) in model.layers.enumerated() {
      guard firstUses.updateValue((uses.count, index), forKey: layer.name) == nil else {
        throw malformed("Two layers are named '\(layer.name)'")
      }
      for call in 0..<(layer.isInput ? 1 : layer.calls.count) {
        uses.append(Use(layer: index, call: call, inputs: []))
      }
    }
    // Every call that is written is referred to, so the last one tells how they are counted.
    for tensor in model.layers.flatMap({ $0.calls.flatMap(\.inputs) }) + model.outputs {
      guard let layer = firstUses[tensor.layer].map({ model.layers[$0.layer] }) else { continue }
      if layer.model != nil, tensor.call == layer.calls.count { countedFromOne.insert(layer.name) }
    }
    for index in uses.indices {
      let layer = model.layers[uses[index].layer]
      guard !layer.isInput else { continue }
      for tensor in layer.calls[uses[index].call].inputs {
        guard let use = use(of: tensor) else {
          throw malformed("Layer '\(layer.name)' takes the output of '\(tensor.layer)', which is not there")
        }
        uses[index].inputs.append((use, tensor.output))
      }
    }
    for tensor in model.outputs where use(of: tensor) == nil {
      throw malformed("The network's output '\(tensor.layer)' is not there")
    }
  }

  private func malformed(_ problem: String) -> FileError {
    FileError(.malformed, file: file, object: "model_config", problem + "; save the model again.")
  }

  /// The use that makes a tensor.
  func use(of tensor: KerasTensor) -> Int? {
    guard let first = firstUses[tensor.layer] else { return nil }
    let layer = model.layers[first.layer]
    let count = layer.isInput ? 1 : layer.calls.count
    let call = tensor.call - (countedFromOne.contains(tensor.layer) ? 1 : 0)
    return (0..<count).contains(call) ? first.use + call : nil
  }

  /// An order in which each use follows its inputs; otherwise that of the description.
  ///
  /// - Throws: `FileError` naming a layer on a cycle.
  func order() throws(FileError) -> [Int] {
    var missing = uses.map(\.inputs.count)
    var dependents = [[Int]](repeating: [], count: uses.count)
    for (index, use) in uses.enumerated() {
      for input in use.inputs { dependents[input.use].append(index) }
    }
    var order = uses.indices.filter { missing[$0] == 0 }
    var next = 0
    while next < order.count {
      for dependent in dependents[order[next]] {
        missing[dependent] -= 1
        if missing[dependent] == 0 { order.append(dependent) }
      }
      next += 1
    }
    guard order.count == uses.count else {
      throw malformed("The layers form a cycle through '\(layerOnCycle(missing))'")
    }
    return order
  }

  /// A layer on a cycle, found by walking backwards from any use that waits.
  private func layerOnCycle(_ missing: [Int]) -> String {
    var seen: Set<Int> = []
    var current = missing.firstIndex { $0 > 0 }
    while let index = current, seen.insert(index).inserted {
      current = uses[index].inputs.first { missing[$0.use] > 0 }?.use
    }
    return current.map { model.layers[uses[$0].layer].name } ?? ""
  }
}
