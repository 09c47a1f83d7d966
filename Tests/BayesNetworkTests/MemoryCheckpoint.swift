import BayesNetwork
import BayesTensor
import Foundation

/// A checkpoint that was never a file.
struct MemoryCheckpoint: Checkpoint {
  let file = "model.h5"
  let format = "memory"
  var architecture: Data?
  var entries: [CheckpointEntry] = []
  var layers: [CheckpointLayer] = []
  var objects: [CheckpointObject] = []
  var kerasVersion: Int?
  var kerasBackend: String?

  /// - Parameter weights: for each layer its weights' names and shapes, in the order of the file.
  init(_ architecture: String?, weights: [(layer: String, weights: [(name: String, shape: Shape)])] = []) {
    self.architecture = architecture.map { Data($0.utf8) }
    for (layer, weights) in weights {
      let entryNames = weights.map { "model_weights/\(layer)/\($0.name)" }
      layers.append(
        CheckpointLayer(name: layer, weightNames: weights.map(\.name), entryNames: entryNames))
      entries += zip(entryNames, weights).map {
        CheckpointEntry(name: $0, shape: $1.shape, scalarType: "float32")
      }
    }
  }

  func digest() -> String { "" }

  /// Adds objects with the shapes of their tensors.
  mutating func put(_ objects: [(path: String, shapes: [Shape])]) {
    for (path, shapes) in objects {
      let names = shapes.indices.map { "\(path)/vars/\($0)" }
      self.objects.append(CheckpointObject(path: path, name: nil, entryNames: names))
      entries += zip(names, shapes).map { CheckpointEntry(name: $0, shape: $1, scalarType: "float32") }
    }
  }

  /// Elements count up from zero.
  func tensor(named name: String) throws(FileError) -> Tensor<Float> {
    guard let entry = entries.first(where: { $0.name == name }) else {
      throw FileError(.missing, file: file, object: name, "There is no such tensor.")
    }
    return Tensor(shape: entry.shape, (0..<entry.shape.elementCount).map { Float($0) })
  }
}

/// Descriptions of models, written as the versions of Keras write them.
enum KerasJSON {
  /// A layer without its place: `{"class_name": …, "config": {"name": …, …}}`.
  static func layer(_ kind: String, _ name: String, _ settings: String = "") -> String {
    let settings = settings.isEmpty ? "" : ", " + settings
    return #"{"class_name": "\#(kind)", "config": {"name": "\#(name)"\#(settings)}}"#
  }

  /// A layer of a functional model of Keras 2, called once.
  static func node(_ kind: String, _ name: String, _ settings: String = "", on inputs: String...) -> String {
    let references = inputs.map { #"["\#($0)", 0, 0, {}]"# }.joined(separator: ", ")
    return layer(kind, name, settings).dropLast()
      + #", "name": "\#(name)", "inbound_nodes": [\#(inputs.isEmpty ? "" : "[\(references)]")]}"#
  }

  /// A layer of a functional model of Keras 3, called once.
  static func node3(_ kind: String, _ name: String, _ settings: String = "", on inputs: String...) -> String {
    let tensors = inputs.map {
      #"{"class_name": "__keras_tensor__", "config": {"shape": [null], "keras_history": ["\#($0)", 0, 0]}}"#
    }.joined(separator: ", ")
    let arguments = inputs.count > 1 ? "[[\(tensors)]]" : "[\(tensors)]"
    let call = inputs.isEmpty ? "" : #"{"args": \#(arguments), "kwargs": {"mask": null}}"#
    return layer(kind, name, settings).dropLast() + #", "name": "\#(name)", "inbound_nodes": [\#(call)]}"#
  }

  static func input(_ row: String, name: String = "image", key: String = "batch_input_shape") -> String {
    layer("InputLayer", name, #""\#(key)": [null, \#(row)]"#)
  }

  static func sequential(_ layers: String..., settings: String = "") -> String {
    let layers = layers.joined(separator: ", ")
    return #"{"class_name": "Sequential", "config": {"name": "model", "layers": [\#(layers)]\#(settings)}}"#
  }

  static func functional(
    _ layers: String..., inputs: String = #"["image", 0, 0]"#, outputs: String, name: String = "model"
  ) -> String {
    let layers = layers.joined(separator: ", ")
    return #"""
    {"class_name": "Functional", "config": {"name": "\#(name)", "layers": [\#(layers)],
     "input_layers": [\#(inputs)], "output_layers": [\#(outputs)]}}
    """#
  }
}
