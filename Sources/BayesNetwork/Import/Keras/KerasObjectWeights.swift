import BayesTensor

/// Weights of files that follow the objects of a model: `layers/dense_1/vars/0`.
///
/// A layer's object is named after its class, with a number where the class recurs in the model; the number
/// is not that of the layer's own name.
struct KerasObjectWeights {
  private let objects: [String: CheckpointObject]
  /// For each list of layers, its members by class, in the order of their numbers.
  private var members: [String: [String: [(number: Int, path: String)]]] = [:]
  /// For each list of layers, its members by the name that the file gives them.
  private var named: [String: [String: String]] = [:]
  private let storage: KerasStorage

  init(_ checkpoint: some Checkpoint) {
    storage = KerasStorage(checkpoint, backend: nil)
    var objects: [String: CheckpointObject] = [:]
    for object in checkpoint.objects { objects[Self.modern(object.path)] = object }
    self.objects = objects
    var seen: Set<String> = []
    for path in objects.keys.sorted() {
      let parts = path.split(separator: "/")
      for end in parts.indices.dropFirst() where parts[end - 1] == Self.list {
        let list = parts[..<end].joined(separator: "/")
        let member = list + "/" + parts[end]
        if end == parts.count - 1, let name = objects[path]?.name { named[list, default: [:]][name] = member }
        guard seen.insert(member).inserted else { continue }
        let (kind, number) = Self.divided(parts[end])
        members[list, default: [:]][kind, default: []].append((number, member))
      }
    }
    for list in members.keys {
      for kind in (members[list] ?? [:]).keys { members[list]?[kind]?.sort { $0.number < $1.number } }
    }
  }

  private static let list = "layers"

  /// The path as versions since 2.15 write it.
  private static func modern(_ path: String) -> String {
    path.split(separator: "/").map { $0 == "_layer_checkpoint_dependencies" ? list : String($0) }
      .joined(separator: "/")
  }

  /// `dense_10` is the class `dense` and the number 10.
  private static func divided(_ name: Substring) -> (kind: String, number: Int) {
    guard let underscore = name.lastIndex(of: "_"), let number = Int(name[name.index(after: underscore)...]),
      name[name.index(after: underscore)...].allSatisfy(\.isNumber)
    else { return (String(name), 0) }
    return (String(name[..<underscore]), number)
  }

  /// Where each weight is.
  func answers(to requests: [KerasWeightRequest]) -> [KerasWeightAnswer] {
    requests.map { request in
      guard let path = path(of: request.places) else { return .absent }
      for owner in request.weight.owners {
        guard let object = objects[owner.isEmpty ? path : path + "/" + owner] else { continue }
        guard object.entryNames.indices.contains(request.position) else { return .absent }
        return storage.source(request, object.entryNames[request.position])
      }
      return .absent
    }
  }

  private func path(of places: [KerasPlace]) -> String? {
    var path = ""
    for place in places {
      let list = path.isEmpty ? Self.list : path + "/" + Self.list
      let siblings = members[list]?[place.kind] ?? []
      if siblings.count == place.count {
        path = siblings[place.rank].path
      } else if let own = named[list]?[place.name] {
        // Layers without tensors may leave no trace, so that numbers do not tell.
        path = own
      } else if let numbered = siblings.first(where: { $0.number == place.rank }) {
        path = numbered.path
      } else {
        return nil
      }
    }
    return path
  }
}
