import BayesTensor

/// The weights that a checkpoint lists, found by name and never by position.
///
/// The order in a file means little: freezing a layer moves its weights to the end.
struct KerasWeightNames {
  /// A weight of the file, seen as one whose name ends in a certain way.
  private struct Candidate {
    /// What precedes that ending: `block/conv` in `block/conv/kernel:0` or in `block/conv_W`.
    let path: Substring
    let entry: String

    /// The same weight as one of the owner of a part; `nil` where the path does not end in that part.
    func leaving(_ part: [String]) -> Candidate? {
      var owner = path
      for beginning in part.reversed() {
        let start = owner.lastIndex(of: "/").map { owner.index(after: $0) } ?? owner.startIndex
        let isAny = beginning.isEmpty || beginning.hasSuffix("_")
        guard !owner.isEmpty, isAny ? owner[start...].hasPrefix(beginning) : owner[start...] == beginning
        else { return nil }
        owner = start == owner.startIndex ? "" : owner[..<owner.index(before: start)]
      }
      return Candidate(path: owner, entry: entry)
    }

    func isOwned(by name: String) -> Bool { path == name || path.hasSuffix("/" + name) }

    /// Whether the owner is called `name_1` or the like: Keras numbers names that it meets again.
    func isOwned(byNumbered name: String) -> Bool {
      guard let underscore = path.lastIndex(of: "_") else { return false }
      let digits = path[path.index(after: underscore)...]
      guard !digits.isEmpty, digits.allSatisfy(\.isNumber) else { return false }
      return path[..<underscore] == name || path[..<underscore].hasSuffix("/" + name)
    }
  }

  /// For each layer of the file, its weights by the ends of their names.
  private var layers: [String: [Substring: [Candidate]]] = [:]

  init(_ listed: [CheckpointLayer]) {
    for layer in listed where layers[layer.name] == nil {
      var candidates: [Substring: [Candidate]] = [:]
      for (name, entry) in zip(layer.weightNames, layer.entryNames) {
        let slash = name.lastIndex(of: "/")
        let path = slash.map { name[..<$0] } ?? ""
        let last = name[(slash.map { name.index(after: $0) } ?? name.startIndex)...].prefix { $0 != ":" }
        candidates[last, default: []].append(Candidate(path: path, entry: entry))
        for index in last.indices where last[index] == "_" {
          let owner = Candidate(path: name[..<index], entry: entry)
          candidates[last[index...], default: []].append(owner)
        }
      }
      layers[layer.name] = candidates
    }
  }

  /// The entry of a layer's weight; `nil` where the file has none.
  ///
  /// - Parameters:
  ///   - models: the models that the layer is inside of, outermost first.
  ///   - listed: the layer of the file that lists it: a whole inner model is listed as one.
  func entry(
    of weight: KerasWeight, layer: String, in models: [String], listed: String
  ) throws(KerasRefusal) -> String? {
    let known = layers[listed] ?? [:]
    let all = weight.names.flatMap { known[Substring($0)] ?? [] }
    var candidates: [Candidate] = []
    // Some versions leave the parts out of their paths.
    for part in weight.parts + [[]] where candidates.isEmpty {
      candidates = all.compactMap { $0.leaving(part) }
      if candidates.count > 1 || !models.isEmpty {
        candidates = best(candidates, for: layer, in: models)
      }
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
    // Keras 3.0 to 3.3 wrote no paths.
    guard candidates.contains(where: { !$0.path.isEmpty }) else { return candidates }
    let exact = candidates.filter { $0.isOwned(by: layer) }
    let owned = exact.isEmpty ? candidates.filter { $0.isOwned(byNumbered: layer) } : exact
    guard owned.count > 1 else { return owned }
    let place = (models + [layer]).joined(separator: "/")
    let placed = owned.filter { $0.isOwned(by: place) }
    return placed.isEmpty ? owned : placed
  }
}
