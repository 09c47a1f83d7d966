public import BayesFiles
import BayesKernels
public import BayesNetwork
public import BayesTensor

/// How far an exit's answers are from those of the network where it was trained.
public struct SelfTestComparison: Sendable, Encodable {
  /// What the file's numbers are.
  public enum Meaning: String, Sendable, Encodable {
    case logits
    case probabilities
  }

  public var exit: String
  public var meaning: Meaning
  public var rows: Int
  /// The largest absolute difference.
  public var largestDifference: Double
  /// The largest absolute value in the file.
  public var largestOutput: Double

  /// Relative to the largest output; what another library's rounding explains.
  public static let tolerance = 1e-4

  public var agrees: Bool { largestDifference <= Self.tolerance * max(largestOutput, 1e-3) }
}

extension NumericSelfTest {
  /// Compares a network's answers with these; exits that the file does not name are passed over.
  ///
  /// Numbers that are an exit's probabilities rather than its logits are compared with those.
  ///
  /// - Throws: `FileError.Code.shape` where rows or answers do not fit the network, `.missing` where an answer's exit
  ///   does not exist.
  /// - Cost: one pass over the rows, layer by layer.
  public func comparisons(with frozen: FrozenNetwork) throws(FileError) -> [SelfTestComparison] {
    let network = frozen.network
    guard inputs.shape.rank > 0, inputs.shape.row == network.inputShape, inputs.rowCount > 0 else {
      throw FileError(
        .shape, file: file, object: "inputs",
        "The rows have the shape \(inputs.shape), and the network takes rows of \(network.inputShape); give rows as "
          + "they go into the network.")
    }
    try requireFinite(inputs, "inputs")
    for (name, expected) in outputs { try requireFinite(expected, name ?? "outputs") }
    let backend: NativeBackend
    do { backend = try NativeBackend() } catch {
      throw FileError(.unsupported, file: file, "The rows cannot be computed: \(error)")
    }
    var comparisons: [SelfTestComparison] = []
    for (name, expected) in outputs.sorted(by: { ($0.key ?? "") < ($1.key ?? "") }) {
      let exit = try exit(named: name, of: network)
      let logits = network.outputs(
        of: [exit.logits], for: inputs, parameters: frozen.parameters, on: backend)[0]
      guard expected.shape == logits.shape else {
        throw FileError(
          .shape, file: file, object: name ?? "outputs",
          "The answers have the shape \(expected.shape), and exit '\(exit.name)' gives \(logits.shape); give one row "
            + "of answers for each row of inputs.")
      }
      var best = Self.comparison(of: logits, with: expected, exit.name, .logits, rows: inputs.rowCount)
      let function: ActivationFunction? =
        switch exit.likelihood {
        case .categorical: .softmax
        case .binary, .multilabel: .sigmoid
        case .gaussian, nil: nil
        }
      if let function, !best.agrees {
        let probabilities = Activation(function).forward([logits], parameters: [], on: ReferenceBackend())
        let other = Self.comparison(of: probabilities, with: expected, exit.name, .probabilities, rows: inputs.rowCount)
        if other.largestDifference < best.largestDifference { best = other }
      }
      comparisons.append(best)
    }
    return comparisons
  }

  /// Refuses a network that does not answer as the file says.
  ///
  /// - Throws: `FileError.Code.value` naming the exit that is furthest off; others as `comparisons(with:)`.
  public func require(_ frozen: FrozenNetwork) throws(FileError) {
    let wrong = try comparisons(with: frozen).filter { !$0.agrees }
    guard let worst = wrong.max(by: { $0.largestDifference < $1.largestDifference }) else { return }
    throw FileError(
      .value, file: file, object: "self-test",
      "Exit '\(worst.exit)' is off by up to \(worst.largestDifference.significantDigits()) where the answers in the "
        + "file reach \(worst.largestOutput.significantDigits()); the weights and the architecture do not belong "
        + "together, so write the file again from the trained network.")
  }

  /// Refuses numbers that nothing can be compared with.
  private func requireFinite(_ values: Tensor<Float>, _ object: String) throws(FileError) {
    guard let position = values.firstNonFinite else { return }
    throw FileError(
      .value, file: file, object: object,
      "Row \(position / max(1, values.shape.row.elementCount)) holds \(values[position]); give finite numbers.")
  }

  private func exit(named name: String?, of network: Network) throws(FileError) -> Exit {
    guard let name else {
      if network.exits.count == 1 { return network.exits[0] }
      throw FileError(
        .missing, file: file, object: "outputs",
        "The network has the exits \(network.exits.map { "'\($0.name)'" }.joined(separator: ", ")); give one array for "
          + "each, by its name.")
    }
    // In paths of arrays a slash would be a group.
    guard
      let exit = network.exits.first(where: {
        $0.name == name || $0.name.map { $0 == "/" ? "." : $0 } == Array(name)
      })
    else {
      throw FileError(
        .missing, file: file, object: name,
        "The network has no exit of this name; it has \(network.exits.map { "'\($0.name)'" }.joined(separator: ", ")).")
    }
    return exit
  }

  private static func comparison(
    of actual: Tensor<Float>, with expected: Tensor<Float>, _ exit: String, _ meaning: SelfTestComparison.Meaning,
    rows: Int
  ) -> SelfTestComparison {
    var (difference, largest) = (0.0, 0.0)
    for position in 0..<expected.count {
      let distance = abs(Double(actual[position]) - Double(expected[position]))
      // A distance that is no number is no agreement.
      difference = distance.isNaN ? .infinity : max(difference, distance)
      largest = max(largest, abs(Double(expected[position])))
    }
    return SelfTestComparison(
      exit: exit, meaning: meaning, rows: rows, largestDifference: difference, largestOutput: largest)
  }
}
