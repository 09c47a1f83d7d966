public import BayesEvaluation
public import BayesReport

/// Where re-trainings of single layers ended: plain data.
public struct FirstLayerOptimaReport: Sendable, Hashable, Codable {
  /// The version of the JSON shape that this program writes.
  public static let schema = 1

  /// Where one training ended, on held-out rows; or the trained weights.
  public struct Optimum: Sendable, Hashable, Codable {
    public var name: String
    public var start: FirstLayerOptimaStudy.Start
    /// The mean negative log-likelihood of training labels over the last epoch, nats a row; absent for the trained
    /// weights.
    public var dataTerm: Double?
    public var accuracy: Double
    public var accuracyInterval: Interval
    /// Nats a row.
    public var nll: Double
    public var nllInterval: Interval?
  }

  /// Two optima beside each other.
  public struct Pair: Sendable, Hashable, Codable {
    public var first: String
    public var second: String
    /// The Euclidean distance of their weights and biases.
    public var distance: Double
    /// That over the norm of the trained weights; absent where these are zero.
    public var relativeDistance: Double?
    /// The cosine of the angle between them; absent where one is zero.
    public var cosine: Double?
    /// The share of held-out rows for which they name different classes.
    public var disagreement: Double
    /// After Wilson.
    public var disagreementInterval: Interval
    /// The NLL of held-out labels half way between them, nats a row.
    public var nllBetween: Double
    /// That less the mean of theirs: above zero where a ridge lies between them.
    public var rise: Double
  }

  public struct Layer: Sendable, Hashable, Codable {
    public var name: String
    public var weightCount: Int
    /// The Euclidean norm of the trained weights and biases.
    public var trainedNorm: Double
    /// The trained weights, and then the optima in the order of their starts.
    public var optima: [Optimum]
    /// All pairs.
    public var pairs: [Pair]
    public var warnings: [String]

    /// The pairs of optima that began at random weights.
    public var randomPairs: [Pair] { pairs(of: .random) }
    /// The pairs of optima that began at the trained weights.
    public var checkpointPairs: [Pair] { pairs(of: .checkpoint) }

    private func pairs(of start: FirstLayerOptimaStudy.Start) -> [Pair] {
      let names = Set(optima.filter { $0.start == start }.map(\.name))
      return pairs.filter { names.contains($0.first) && names.contains($0.second) }
    }
  }

  public var kind = "first-layer-optima"
  public var schemaVersion = FirstLayerOptimaReport.schema
  public var exit: Int
  public var exitName: String
  public var trainingRowCount: Int
  public var heldOutRowCount: Int
  public var epochCount: Int
  public var layers: [Layer]
  public var warnings: [String]
  public var provenance: Provenance

  public init(
    exit: Int, exitName: String, trainingRowCount: Int, heldOutRowCount: Int, epochCount: Int, layers: [Layer],
    warnings: [String], provenance: Provenance
  ) {
    self.exit = exit
    self.exitName = exitName
    self.trainingRowCount = trainingRowCount
    self.heldOutRowCount = heldOutRowCount
    self.epochCount = epochCount
    self.layers = layers
    self.warnings = warnings
    self.provenance = provenance
  }
}
