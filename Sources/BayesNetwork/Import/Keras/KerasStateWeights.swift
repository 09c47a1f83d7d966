import BayesTensor

/// Weights of a state dictionary of PyTorch, flat or nested, under any prefix, or of a file that can be seen as one.
///
/// A layer's module is the one that is named like it, else the only one whose tensors have the layer's shapes and that
/// no other layer is; where several could be, nothing is guessed.
struct KerasStateWeights {
  /// Tensors by module: `layer1.0.conv1` has `weight`.
  private var modules: [String: [String: Tensor]] = [:]

  private struct Tensor {
    var entry: CheckpointEntry
    var shape: Shape { entry.state?.shape ?? entry.shape }
  }

  /// Batches that a normalisation has seen; nothing to predict with.
  private static let counter = "num_batches_tracked"

  init(_ checkpoint: some Checkpoint) {
    for entry in checkpoint.entries {
      // Groups and dots mean the same.
      let name = (entry.state?.name ?? entry.name).map { $0 == "/" ? "." : $0 }.drop { $0 == "." }
      guard let dot = name.lastIndex(of: ".") else { continue }
      let leaf = String(name[(dot + 1)...])
      guard leaf != Self.counter else { continue }
      modules[String(name[..<dot]), default: [:]][leaf] = Tensor(entry: entry)
    }
  }

  /// A weight as PyTorch keeps it.
  private struct Form {
    var leaf: String
    var shape: Shape
    var axes: [Int]?

    init?(_ request: KerasWeightRequest) {
      let due = request.storedShape.dimensions
      let kind = request.places[request.places.count - 1].kind
      switch (kind, request.weight.parameter) {
      case ("batch_normalization", let parameter), ("layer_normalization", let parameter):
        let leaves = ["scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"]
        guard let leaf = leaves[parameter] else { return nil }
        (self.leaf, shape, axes) = (leaf, request.storedShape, nil)
      case (_, "bias") where due.count == 1: (leaf, shape, axes) = ("bias", request.storedShape, nil)
      case ("depthwise_conv2d", "weight"):
        (leaf, shape, axes) = ("weight", [due[2] * due[3], 1, due[0], due[1]], [2, 3, 1, 0])
      case ("conv2d", "weight"), ("conv2d_transpose", "weight"):
        (leaf, shape, axes) = ("weight", [due[3], due[2], due[0], due[1]], [2, 3, 1, 0])
      case ("conv1d", "weight"): (leaf, shape, axes) = ("weight", [due[2], due[1], due[0]], [2, 1, 0])
      case ("dense", "weight"): (leaf, shape, axes) = ("weight", [due[1], due[0]], [1, 0])
      case ("embedding", "weight"): (leaf, shape, axes) = ("weight", request.storedShape, nil)
      default: return nil
      }
    }
  }

  /// Where each weight is.
  func answers(to requests: [KerasWeightRequest]) -> [KerasWeightAnswer] {
    var answers = [KerasWeightAnswer](repeating: .absent, count: requests.count)
    guard !modules.isEmpty else { return answers }
    let groups = Dictionary(grouping: requests.indices) { requests[$0].places }
    var candidates: [[KerasPlace]: Set<String>] = [:]
    for (places, members) in groups {
      let forms = members.compactMap { Form(requests[$0]) }
      guard forms.count == members.count else {
        let kind = places[places.count - 1].className
        for index in members { answers[index] = .refused(KerasRefusal("a state dictionary keeps a \(kind) otherwise")) }
        continue
      }
      candidates[places] = Set(
        modules.filter { _, tensors in
          tensors.count == forms.count && forms.allSatisfy { tensors[$0.leaf]?.shape == $0.shape }
        }.keys)
    }
    let modulesByLayer = Self.assignment(candidates)
    for (places, found) in candidates {
      for index in groups[places] ?? [] {
        guard let form = Form(requests[index]) else { continue }
        if let module = modulesByLayer[places], let tensor = modules[module]?[form.leaf] {
          answers[index] = .found(
            ParameterSource(
              entries: [tensor.entry.name], storedShape: tensor.entry.shape, state: tensor.entry.state, axes: form.axes))
        } else if !found.isEmpty {
          let names = found.sorted().map { "'\($0)'" }
          answers[index] = .refused(
            KerasRefusal(
              "its weights could be those of \(names.joined(separator: " or ")); give the layer the name of one, or "
                + "write the module with bayesify_torch.py"))
        }
      }
    }
    return answers
  }

  /// The module of each layer that can only be one.
  private static func assignment(_ candidates: [[KerasPlace]: Set<String>]) -> [[KerasPlace]: String] {
    var open = candidates
    var result: [[KerasPlace]: String] = [:]
    func claim(_ module: String, for places: [KerasPlace]) {
      result[places] = module
      open[places] = nil
      for other in open.keys { open[other]?.remove(module) }
    }
    for (places, modules) in candidates {
      let named = modules.filter { isName($0, of: places) }
      if named.count == 1, let module = named.first { claim(module, for: places) }
    }
    while let (places, module) = open.lazy.compactMap({ places, modules in
      modules.count == 1 ? modules.first.map { (places, $0) } : nil
    }).first {
      claim(module, for: places)
    }
    return result
  }

  /// Whether a module is named like a layer: `model.layer1.conv1` like `layer1_conv1`.
  private static func isName(_ module: String, of places: [KerasPlace]) -> Bool {
    let name = ModuleNames.letters(places.map(\.name).joined())
    return ModuleNames.ends(of: module, upTo: name.count).last == name
  }
}
