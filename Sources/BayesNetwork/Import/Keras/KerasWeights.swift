import BayesTensor

/// A parameter of a step, and what checkpoints call it.
struct KerasWeight: Sendable {
  /// The parameter's name within our layer.
  var parameter: String
  /// The last part of its name in a checkpoint.
  ///
  /// One that starts with an underscore is an ending: Keras 1 puts the layer's name before it.
  var names: [String]
  /// The shape in the file, where it is not the parameter's own.
  var storedShape: Shape?

  static let kernel = KerasWeight(parameter: "weight", names: ["kernel", "_W"])
  static let bias = KerasWeight(parameter: "bias", names: ["bias", "_b"])
}

/// The weights that a checkpoint lists, found by name and never by position.
///
/// The order in a file means little: freezing a layer moves its weights to the end.
struct KerasWeights {
  private let layers: [String: CheckpointLayer]

  init(_ layers: [CheckpointLayer]) {
    self.layers = Dictionary(layers.map { ($0.name, $0) }) { first, _ in first }
  }

  /// The entry of a layer's weight; `nil` where the file has none.
  ///
  /// - Parameter models: the models that the layer is inside of, outermost first.  Files list the
  ///   weights of a whole inner model under the outermost one's name.
  func entry(of weight: KerasWeight, layer: String, in models: [String]) throws(KerasRefusal) -> String? {
    guard let owner = layers[models.first ?? layer] else { return nil }
    var candidates: [Candidate] = []
    for (name, entry) in zip(owner.weightNames, owner.entryNames) {
      if let candidate = Candidate(name, entry: entry, as: weight.names) { candidates.append(candidate) }
    }
    if candidates.count > 1 || (!models.isEmpty && candidates.contains { !$0.path.isEmpty }) {
      candidates = best(candidates, for: layer, in: models)
    }
    guard candidates.count <= 1 else {
      let names = candidates.map { "'\($0.entry)'" }.joined(separator: " and ")
      throw KerasRefusal("the file does not tell which of \(names) is its \(weight.parameter)")
    }
    return candidates.first?.entry
  }

  /// The candidates whose path fits a layer best: its very name before a name that Keras has numbered,
  /// and the models' names before it where the file gives them.
  private func best(_ candidates: [Candidate], for layer: String, in models: [String]) -> [Candidate] {
    let exact = candidates.filter { $0.isOwned(by: layer) }
    let owned = exact.isEmpty ? candidates.filter { $0.isOwned(byNumbered: layer) } : exact
    guard owned.count > 1 else { return owned }
    let placed = owned.filter { $0.isOwned(by: (models + [layer]).joined(separator: "/")) }
    return placed.isEmpty ? owned : placed
  }

  /// A weight whose last part fits.
  private struct Candidate {
    /// What precedes the last part: `block/conv` in `block/conv/kernel:0`.
    let path: Substring
    let entry: String

    init?(_ name: String, entry: String, as names: [String]) {
      let slash = name.lastIndex(of: "/")
      var last = name[(slash.map { name.index(after: $0) } ?? name.startIndex)...]
      if let colon = last.lastIndex(of: ":") { last = last[..<colon] }
      let directory = slash.map { name[..<$0] } ?? ""
      if names.contains(where: { $0 == last }) {
        path = directory
      } else if let ending = names.first(where: { $0.hasPrefix("_") && last.hasSuffix($0) }) {
        // Keras 1 has the layer's name in the weight's own.
        path = last.dropLast(ending.count)
      } else {
        return nil
      }
      self.entry = entry
    }

    func isOwned(by name: some StringProtocol) -> Bool { path == name || path.hasSuffix("/" + name) }

    /// Whether the owner is called `name_1` or the like: Keras numbers names that it meets again.
    func isOwned(byNumbered name: String) -> Bool {
      guard let underscore = path.lastIndex(of: "_") else { return false }
      let digits = path[path.index(after: underscore)...]
      guard !digits.isEmpty, digits.allSatisfy(\.isNumber) else { return false }
      let stem = path[..<underscore]
      return stem == name || stem.hasSuffix("/" + name)
    }
  }
}
