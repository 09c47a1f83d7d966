import BayesTensor

/// One layer in the list of its model.
struct KerasPlace: Hashable, Sendable {
  var name: String
  /// The position among the model's layers.
  var position: Int
  /// The class as the description spells it.
  var className: String
  /// The class as object paths spell it: `batch_normalization`.
  var kind: String
  /// The position among the model's layers of the class, and how many those are.
  var rank: Int
  var count: Int
}

/// A weight that the described network needs, before anybody knows where it is.
struct KerasWeightRequest: Sendable {
  /// The models around the layer, outermost first, and the layer itself.
  var places: [KerasPlace]
  var weight: KerasWeight
  /// The shape that the file should give it.
  var storedShape: Shape
  /// The position among the weights of its owner.
  var position: Int
  /// Whether training was told to leave it alone.
  var isFrozen: Bool

  /// The layer that lists the weight in files that list layers.
  var outermost: String { places[0].name }
  var layer: String { places[places.count - 1].name }
  var models: [String] { places.dropLast().map(\.name) }

  /// Whether the weight comes first where Keras lists those that are trained before all others.
  var isTrained: Bool { !isFrozen && !weight.isState }

  /// The layers' order in the description.
  static func precedes(_ first: KerasWeightRequest, _ second: KerasWeightRequest) -> Bool {
    first.places.map(\.position).lexicographicallyPrecedes(second.places.map(\.position))
  }
}

/// Where a weight is.
enum KerasWeightAnswer: Sendable {
  case found(ParameterSource)
  case absent
  case refused(KerasRefusal)

  var isFound: Bool { if case .found = self { true } else { false } }
}

extension KerasModel {
  /// The places of all layers, in their order.
  var places: [KerasPlace] {
    let kinds = layers.map { Self.objectName(ofClass: $0.kind) }
    var counts: [String: Int] = [:]
    for kind in kinds { counts[kind, default: 0] += 1 }
    var ranks: [String: Int] = [:]
    return layers.indices.map { index in
      let kind = kinds[index]
      defer { ranks[kind, default: 0] += 1 }
      return KerasPlace(
        name: layers[index].name, position: index, className: layers[index].kind, kind: kind, rank: ranks[kind] ?? 0,
        count: counts[kind] ?? 1)
    }
  }

  /// A class's name as object paths spell it: words in lower case, joined by underscores.
  ///
  /// As Keras does, a word starts at a capital before a small letter, and at one after a small letter; digits
  /// start none: `conv2d_transpose`, `p_re_lu`, `lstm`.
  static func objectName(ofClass name: String) -> String {
    // What older versions call `Model` is saved as what it has become.
    let characters = Array(name == "Model" ? "Functional" : name)
    var result = ""
    for (index, character) in characters.enumerated() {
      let follows = index > 0
      let isBeforeSmall = index + 1 < characters.count && characters[index + 1].isLowercase
      let isAfterSmall = follows && characters[index - 1].isLowercase
      if follows, character.isUppercase, isBeforeSmall || isAfterSmall { result += "_" }
      result += character.lowercased()
    }
    return result
  }
}
