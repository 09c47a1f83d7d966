public import BayesTensor

/// The name of one parameter: the node's name, a slash, the parameter's name within the layer.
///
/// For example `block2/convolution/weight`.
public struct ParameterPath: Hashable, Sendable, Comparable, CustomStringConvertible {
  public var description: String

  public init(_ description: String) { self.description = description }

  public init(node: String, parameter: String) { description = node + "/" + parameter }

  public static func < (a: ParameterPath, b: ParameterPath) -> Bool { a.description < b.description }
}

/// The weights of a network: a named collection with value semantics.
public struct Parameters: Sendable, Equatable {
  private var tensors: [ParameterPath: Tensor<Float>]

  public init(_ tensors: [ParameterPath: Tensor<Float>] = [:]) { self.tensors = tensors }

  public subscript(path: ParameterPath) -> Tensor<Float>? {
    get { tensors[path] }
    set { tensors[path] = newValue }
  }

  /// All paths, in alphabetical order.
  public var paths: [ParameterPath] { tensors.keys.sorted() }

  /// The number of weights in all.
  public var count: Int { tensors.values.reduce(0) { $0 + $1.count } }

  /// These parameters with those of `other` in the places that it names.
  public func replacing(_ other: Parameters) -> Parameters {
    Parameters(tensors.merging(other.tensors) { $1 })
  }
}
