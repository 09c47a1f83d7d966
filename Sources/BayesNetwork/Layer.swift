public import BayesTensor

/// A parameter that a layer needs.
public struct ParameterSpec: Hashable, Sendable {
  /// Its name within the layer: `weight`, `bias`.
  public var name: String
  public var shape: Shape
  /// Whether it has a gradient; stored statistics have none.
  public var isTrained: Bool

  public init(_ name: String, _ shape: Shape, isTrained: Bool = true) {
    self.name = name
    self.shape = shape
    self.isTrained = isTrained
  }
}

/// A graph or a layer's settings make no sense.
public struct NetworkError: Error, CustomStringConvertible {
  /// What is wrong, with the offending values.
  public let message: String

  public init(_ message: String) { self.message = message }

  public var description: String { message }
}

/// One step of a network: settings and a function, never weights.
///
/// Shapes that a layer is asked about are those of one row; tensors carry the batch axis first.
/// Rows never interact.
public protocol Layer: Codable, Sendable {
  /// The layer's name in a manifest.
  static var kind: String { get }

  /// The parameters that the layer needs for inputs of these shapes, in the order `forward` takes them.
  func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec]

  /// The shape of one output row.
  ///
  /// - Throws: `NetworkError` when the inputs do not fit the settings.
  func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape

  /// Multiply-adds for one row; zero where a layer only moves or maps elements.
  func multiplyAdds(for inputs: [Shape], output: Shape) -> Int

  /// The output for a batch.
  func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar>
}

extension Layer {
  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] { [] }
  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int { 0 }
}

/// Refuses a layer that was given the wrong number of inputs or inputs of the wrong rank.
func requireInputs(
  _ inputs: [Shape], count: Int = 1, rank: Int? = nil, of kind: String
) throws(NetworkError) {
  guard inputs.count == count else {
    throw NetworkError("\(kind) takes \(count) input(s); it was given \(inputs.count).")
  }
  if let rank, let wrong = inputs.first(where: { $0.rank != rank }) {
    throw NetworkError("\(kind) takes rows of \(rank) axes; it was given \(wrong).")
  }
}

/// The largest window, stride, factor or number of filters that a layer may state.
///
/// The product of one with the elements of a row cannot overflow.
let largestSetting = 1 << 24

/// Refuses settings that are not between one and `largestSetting`.
func requireSettings(_ values: [Int], of kind: String) throws(NetworkError) {
  if let wrong = values.first(where: { !(1...largestSetting).contains($0) }) {
    throw NetworkError("A setting of \(kind) is \(wrong); it must be between 1 and \(largestSetting).")
  }
}

extension Shape {
  /// The most elements that one row or one parameter may have.
  static let largestElementCount = 1 << 31

  /// Makes the shape of a row or a parameter from extents that may be anything.
  ///
  /// - Throws: `NetworkError` where there is no extent, one is not positive, or the elements are more
  ///   than `largestElementCount`.
  init(checking dimensions: [Int], of kind: String) throws(NetworkError) {
    var count = 1
    for extent in dimensions {
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      guard extent > 0, !overflow, product <= Self.largestElementCount else {
        throw NetworkError(
          "\(kind) would need the extents \(dimensions); each must be positive and their product at most "
            + "\(Self.largestElementCount).")
      }
      count = product
    }
    guard !dimensions.isEmpty else { throw NetworkError("\(kind) would make rows without an axis.") }
    self.init(dimensions)
  }
}
