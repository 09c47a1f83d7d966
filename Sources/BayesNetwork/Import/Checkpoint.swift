public import BayesTensor
public import Foundation

/// One tensor of a checkpoint, before anything of it is read.
public struct CheckpointEntry: Hashable, Sendable {
  /// Its full name in the file.
  public var name: String
  public var shape: Shape
  /// The element type as stored: `float32`, `float16`, `int64`, ….
  public var scalarType: String
  /// What it is in a state dictionary of PyTorch; `nil` where it is just that, or where nothing tells.
  public var state: StateTensor?

  public init(name: String, shape: Shape, scalarType: String, state: StateTensor? = nil) {
    self.name = name
    self.shape = shape
    self.scalarType = scalarType
    self.state = state
  }
}

/// The tensors that a file lists for one layer.
public struct CheckpointLayer: Hashable, Sendable {
  /// The layer's name.
  public var name: String
  /// Names of its weights as the file gives them, in the file's order: `conv1/kernel:0`.
  public var weightNames: [String]
  /// The entry of each weight, in the same order.
  public var entryNames: [String]

  public init(name: String, weightNames: [String], entryNames: [String]) {
    self.name = name
    self.weightNames = weightNames
    self.entryNames = entryNames
  }
}

/// The tensors that a file keeps under the place of one object in its model, as Keras does since 2.12.
public struct CheckpointObject: Hashable, Sendable {
  /// Where the object is: `layers/lstm_1/cell`.
  public var path: String
  /// The object's own name, where the file gives it.
  public var name: String?
  /// The entry of each tensor, in the object's order.
  public var entryNames: [String]

  public init(path: String, name: String?, entryNames: [String]) {
    self.path = path
    self.name = name
    self.entryNames = entryNames
  }
}

/// A file of trained weights, open for reading.
public protocol Checkpoint: Sendable {
  /// The file, as the user named it; for messages.
  var file: String { get }
  /// The layout, in words: "Keras 2.4 model, HDF5".
  var format: String { get }
  /// The description of the architecture that the file carries (for Keras, the `model_config` JSON).
  var architecture: Data? { get }
  /// All tensors; nothing is read yet.
  var entries: [CheckpointEntry] { get }
  /// The layers in the file's order, where the layout lists them.
  var layers: [CheckpointLayer] { get }
  /// The objects that hold tensors, where the layout lists those.
  var objects: [CheckpointObject] { get }
  /// The major version of the Keras that wrote the file, where it says so.
  var kerasVersion: Int? { get }
  /// The library that computed for Keras, where the file says so: `tensorflow`, `theano`.
  var kerasBackend: String? { get }
  /// How the library that wrote the file flattens images.
  var flattening: ImageFlattening { get }

  /// One tensor, converted to `Float`.
  ///
  /// - Throws: `FileError` naming the file and the tensor.
  func tensor(named name: String) throws(FileError) -> Tensor<Float>

  /// The SHA-256 of the file, in hexadecimal; of several files, that of what `sha256sum` prints for them.
  ///
  /// - Cost: reads everything once.
  func digest() throws(FileError) -> String
}

extension Checkpoint {
  public var objects: [CheckpointObject] { [] }
  public var kerasVersion: Int? { nil }
  public var kerasBackend: String? { nil }
  public var flattening: ImageFlattening { .channelsFirst }
}
