import BayesTensor
import Foundation

/// A network as JSON of Bayesify's own: nodes with their layers, exits, and where the weights are.
///
/// ```json
/// {"format": "bayesify-graph", "version": 1, "source": "torch 2.5.0",
///  "nodes": [{"name": "fc", "kind": "Dense", "layer": {"units": 10, "usesBias": true}, "inputs": ["input"],
///             "weights": {"weight": {"entry": "/weights/fc/weight", "state": "fc.weight", "axes": [1, 0]}}}],
///  "exits": [{"name": "exit1", "logits": "fc", "likelihood": "categorical"}]}
/// ```
///
/// A node's `layer` holds the settings of its kind, as `Layer` types are coded.  `entry` is where the file with the
/// graph keeps a weight, in the parameter's order of axes; `state` is its name in a state dictionary of PyTorch, and
/// `axes` are that tensor's axes in the parameter's order.
struct GraphDescription: Codable {
  static let format = "bayesify-graph"
  static let version = 1

  struct Weight: Codable {
    var entry: String?
    var state: String?
    var axes: [Int]?
  }

  struct NodeDescription: Codable {
    var name: String
    var layer: any Layer
    var inputs: [String]
    var weights: [String: Weight]

    private enum Key: String, CodingKey {
      case name, kind, layer, inputs, weights
    }

    init(name: String, layer: any Layer, inputs: [String], weights: [String: Weight]) {
      self.name = name
      self.layer = layer
      self.inputs = inputs
      self.weights = weights
    }

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Key.self)
      name = try container.decode(String.self, forKey: .name)
      let kind = try container.decode(String.self, forKey: .kind)
      guard let type = GraphDescription.layers[kind] else {
        throw DecodingError.dataCorruptedError(
          forKey: .kind, in: container, debugDescription: "There is no layer '\(kind)'.")
      }
      layer = try container.decode(type, forKey: .layer)
      inputs = try container.decode([String].self, forKey: .inputs)
      weights = try container.decodeIfPresent([String: Weight].self, forKey: .weights) ?? [:]
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(name, forKey: .name)
      try container.encode(type(of: layer).kind, forKey: .kind)
      try container.encode(layer, forKey: .layer)
      try container.encode(inputs, forKey: .inputs)
      try container.encode(weights, forKey: .weights)
    }
  }

  struct ExitDescription: Codable {
    var name: String
    var logits: String
    var likelihood: Likelihood?
  }

  var version: Int
  var nodes: [NodeDescription]
  var exits: [ExitDescription]

  /// The kinds of layers that a description may name.
  private static let layers: [String: any Layer.Type] = {
    let types: [any Layer.Type] = [
      Input.self, Identity.self, Convolution.self, TransposedConvolution.self, Dense.self, BatchNormalization.self,
      Rescaling.self, LayerNormalization.self, GroupNormalization.self, UnitNormalization.self, Activation.self,
      ParametricReLU.self, Pooling.self, GlobalPooling.self, ElementwiseMerge.self, Concatenation.self, Reshape.self,
      Permutation.self, Border.self, Upsampling.self, Resizing.self, Repetition.self, Embedding.self,
    ]
    return Dictionary(uniqueKeysWithValues: types.map { ($0.kind, $0) })
  }()

  /// Whether a description may name a layer.
  static func canName(_ layer: any Layer) -> Bool { layers[type(of: layer).kind].map { $0 == type(of: layer) } ?? false }

  init(nodes: [NodeDescription], exits: [ExitDescription]) {
    version = Self.version
    self.nodes = nodes
    self.exits = exits
  }

  /// The description as JSON that `describes` knows.
  ///
  /// - Throws: `EncodingError` for a setting that is infinite or not a number.
  func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // The format comes first, by which descriptions are told.
    return #"{"format": "\#(Self.format)", "# + String(decoding: try encoder.encode(self), as: UTF8.self).dropFirst()
  }

  /// No network's description is longer, and one of hostile brackets takes Foundation seconds a megabyte.
  static let sizeLimit = 2 << 20

  /// Whether JSON is a description of this kind, which begins by saying so; other JSON is not parsed for it.
  static func describes(_ data: Data) -> Bool {
    data.prefix(64).range(of: Data(#""format": "\#(format)""#.utf8)) != nil
  }

  /// - Throws: `FileError` naming the place in the JSON that is wrong.
  init(parsing data: Data, file: String) throws(FileError) {
    guard data.count <= Self.sizeLimit else {
      throw FileError(
        .malformed, file: file, object: Self.object,
        "The description has \(data.count) bytes, and none of a network has more than \(Self.sizeLimit). Write the file "
          + "again.")
    }
    let description: GraphDescription
    do {
      description = try JSONDecoder().decode(GraphDescription.self, from: data)
    } catch let error as DecodingError {
      throw FileError(
        .malformed, file: file, object: Self.object,
        "The description of the network cannot be read: \(error.place). Write the file again with bayesify_torch.py.")
    } catch {
      throw FileError(
        .malformed, file: file, object: Self.object,
        "The description of the network cannot be read: \(error). Write the file again.")
    }
    guard description.version == Self.version else {
      throw FileError(
        .unsupported, file: file, object: Self.object,
        "The description has version \(description.version); this program reads version \(Self.version). Write the "
          + "file again with the script that came with this program.")
    }
    self = description
  }

  /// The attribute that holds a description.
  static let object = "bayesify_graph"
}

extension DecodingError {
  /// Where a description is wrong, and how.
  fileprivate var place: String {
    func words(_ context: Context) -> String {
      let path = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
      return (path.isEmpty ? "" : "at \(path): ") + context.debugDescription
    }
    switch self {
    case .keyNotFound(let key, let context): return words(context) + " ('\(key.stringValue)' is missing)"
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      return words(context)
    @unknown default: return "\(self)"
    }
  }
}
