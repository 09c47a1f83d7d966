public import BayesNetwork
public import BayesPrediction
public import BayesTensor

/// A posterior whose draws are whole networks: the thinned networks of dropout, networks that were trained apart, or one
/// network with other weights in one layer.
///
/// Its file holds no weights but those of that layer; predictions need the checkpoints.
public struct SampledNetworkPosterior: Sendable, Equatable {
  /// What the networks are.
  public enum Kind: Sendable, Equatable {
    /// So many draws of what dropout drops, from a key; with the names of the layers and their rates.
    case dropout(draws: Int, key: RandomKey, layers: [DropoutLayer])
    /// Checkpoints, the first of which is that of `source`.
    case ensemble([EnsembleMember])
    /// So many draws of one layer's weights, from a key; one where the weights are a point.
    case firstLayer(draws: Int, key: RandomKey, FirstLayerPosterior)
    /// So many networks of an ensemble of scaled layers: its members, each at as many draws of its latents, from a key.
    case latent(networks: Int, key: RandomKey, LatentPosterior)
    /// Networks that chains over weights came by.
    case weightSamples(WeightSamplePosterior)
    /// So many draws of some layers' weights, each layer by a distribution of its own, from a key.
    case placement(draws: Int, key: RandomKey, PlacementPosterior)
  }

  /// A dropout layer, as the fit found it.
  public struct DropoutLayer: Sendable, Equatable {
    public var name: String
    public var rate: Double
  }

  /// One network of an ensemble.
  public struct EnsembleMember: Sendable, Equatable {
    /// The file, as the user named it.
    public var file: String
    /// Its SHA-256.
    public var digest: String

    public init(file: String, digest: String) {
      self.file = file
      self.digest = digest
    }
  }

  /// What was chosen for one exit on validation rows.
  public struct Exit: Sendable, Equatable {
    /// What every network's logits are divided by.
    public var temperature = 1.0
    /// The deviation of real targets around their means; `nil` for classes.
    public var noise: Double?
    /// The mean negative log-likelihood of validation labels, nats, at the temperature.
    public var validationNLL: Double?
    /// That at temperature one.
    public var untemperedNLL: Double?

    public init(temperature: Double = 1, validationNLL: Double? = nil, untemperedNLL: Double? = nil) {
      self.temperature = temperature
      self.validationNLL = validationNLL
      self.untemperedNLL = untemperedNLL
    }
  }

  /// The draws that may be asked for.
  public static let allowedDrawCounts = 2...10_000

  public let kind: Kind
  /// One an exit, earliest first.
  public var exits: [Exit]
  /// Exits, names, digests and preprocessing of the first network; `multiplyAdds` are those of all networks.
  public let source: RecordsDescription
  /// What the user should know, one sentence or two each.
  public var warnings: [String]

  /// The number of networks.
  public var sampleCount: Int {
    switch kind {
    case .dropout(let draws, _, _), .firstLayer(let draws, _, _), .latent(let draws, _, _): draws
    case .ensemble(let members): members.count
    case .weightSamples(let posterior): posterior.networkCount
    case .placement(let draws, _, _): draws
    }
  }

  /// Makes the posterior of a network's dropout layers.
  ///
  /// - Parameter source: what is known of the network's exits.
  /// - Throws: `NetworkError` as `ThinnedNetworks`; `FileError` for exits that it is not for.
  /// - Precondition: `draws` is within `allowedDrawCounts`.
  public init(dropoutOf frozen: FrozenNetwork, draws: Int, key: RandomKey, source: RecordsDescription) throws {
    precondition(Self.allowedDrawCounts.contains(draws), "From 2 to 10000 draws can be used; got \(draws).")
    try source.requireSampledExits()
    let networks = try ThinnedNetworks(frozen)
    let layers = networks.sites.map { DropoutLayer(name: $0.name, rate: $0.rate) }
    kind = .dropout(draws: draws, key: key, layers: layers)
    exits = source.exits.map { _ in Exit() }
    warnings = networks.affectsExit.enumerated().filter { !$0.element }.map { index, _ in
      "Exit \(index) ('\(source.exits[index].name)') has no dropout before it, so all its draws are the same."
    }
    var described = source
    for index in described.exits.indices {
      described.exits[index].multiplyAdds = networks.multiplyAdds(toExit: index, draws: draws)
      described.exits[index].head = nil
    }
    self.source = described
  }

  /// Makes the posterior of one layer's weights.
  ///
  /// - Parameters:
  ///   - draws: for a distribution; of a point there is one.
  ///   - source: what is known of the network's exits.
  /// - Throws: `NetworkError` where the network has no such layer; `FileError` for exits that it is not for.
  /// - Precondition: `draws` is within `allowedDrawCounts`.
  public init(
    firstLayer: FirstLayerPosterior, of frozen: FrozenNetwork, draws: Int, key: RandomKey, source: RecordsDescription
  ) throws {
    precondition(Self.allowedDrawCounts.contains(draws), "From 2 to 10000 draws can be used; got \(draws).")
    try source.requireSampledExits()
    let networks = try LayerDraws(firstLayer, of: frozen)
    let draws = firstLayer.form == .variational ? draws : 1
    kind = .firstLayer(draws: draws, key: key, firstLayer)
    exits = source.exits.map { _ in Exit() }
    warnings = networks.affectsExit.enumerated().filter { !$0.element }.map { index, _ in
      "Exit \(index) ('\(source.exits[index].name)') does not depend on layer '\(firstLayer.layerName)', so all its draws are "
        + "the same."
    }
    var described = source
    for index in described.exits.indices {
      described.exits[index].multiplyAdds = networks.multiplyAdds(toExit: index, draws: draws)
      described.exits[index].head = nil
    }
    self.source = described
  }

  /// The means of a layer's weights alone, as a posterior of their own; `nil` for other kinds.
  ///
  /// - Parameter source: what is known of the network's exits.
  /// - Throws: `NetworkError` where the network has no such layer.
  public func meanAlone(of frozen: FrozenNetwork) throws -> SampledNetworkPosterior? {
    guard case .firstLayer(_, let key, let layer) = kind else { return nil }
    return try SampledNetworkPosterior(
      firstLayer: layer.meanAlone, of: frozen, draws: Self.allowedDrawCounts.lowerBound, key: key, source: source)
  }

  /// Makes the posterior of networks that were trained apart.
  ///
  /// - Parameters:
  ///   - members: the networks in order, and what is known of their exits.
  /// - Throws: `FileError` naming the file whose input or exits are not those of the first, or that comes twice.
  /// - Precondition: there are two members at least.
  public init(
    ensembleOf members: [(member: EnsembleMember, network: Network, description: RecordsDescription)]
  ) throws(FileError) {
    precondition(members.count > 1, "An ensemble has two members at least.")
    let first = members[0]
    try first.description.requireSampledExits()
    for (index, other) in members.enumerated().dropFirst() {
      func refusal(_ code: FileError.Code, _ message: String) -> FileError {
        FileError(code, file: other.member.file, message)
      }
      if let same = members[..<index].first(where: { $0.member.digest == other.member.digest }) {
        throw refusal(
          .value, "It is the same as \(same.member.file); members of an ensemble are networks that were trained apart.")
      }
      guard other.network.inputShape == first.network.inputShape else {
        throw refusal(
          .shape,
          "It takes rows of \(other.network.inputShape), but \(first.member.file) takes \(first.network.inputShape); members of "
            + "an ensemble take the same rows.")
      }
      let (own, theirs) = (first.description.exits, other.description.exits)
      guard own.count == theirs.count else {
        throw refusal(
          .shape,
          "It has \(theirs.count) exit(s), but \(first.member.file) has \(own.count); members of an ensemble have the same exits."
        )
      }
      for (exit, (a, b)) in zip(own, theirs).enumerated()
      where a.likelihood != b.likelihood || a.logitCount != b.logitCount {
        throw FileError(
          .shape, file: other.member.file, object: "exit \(exit) ('\(b.name)')",
          "It gives \(b.logitCount) \(b.likelihood.rawValue) logit(s), that of \(first.member.file) \(a.logitCount) "
            + "\(a.likelihood.rawValue) one(s); members of an ensemble know the same classes.")
      }
      try other.description.requireSampledExits()
    }
    kind = .ensemble(members.map(\.member))
    exits = first.description.exits.map { _ in Exit() }
    var described = first.description
    for index in described.exits.indices {
      described.exits[index].multiplyAdds = members.reduce(0) { $0 + $1.network.multiplyAdds(toExit: index) }
      described.exits[index].head = nil
    }
    source = described
    warnings = []
  }

  /// Makes the posterior of an ensemble of scaled layers.
  ///
  /// - Parameters:
  ///   - draws: of each member's latents.
  ///   - source: what is known of the network's exits.
  /// - Throws: `NetworkError` where the network has no such layers; `FileError` for exits that it is not for.
  init(
    latent: LatentPosterior, of frozen: FrozenNetwork, draws: Int, key: RandomKey, source: RecordsDescription
  ) throws {
    try source.requireSampledExits()
    let networkCount = latent.networkCount(draws: draws)
    let networks = try LatentDraws(latent, of: frozen, networks: networkCount)
    kind = .latent(networks: networkCount, key: key, latent)
    exits = source.exits.map { _ in Exit() }
    warnings =
      networks.affectsExit.enumerated().filter { !$0.element }.map { index, _ in
        "Exit \(index) ('\(source.exits[index].name)') does not depend on these layers, so all its members are the same."
      } + latent.warnings
    var described = source
    for index in described.exits.indices {
      described.exits[index].multiplyAdds = networks.multiplyAdds(toExit: index, draws: networkCount)
      described.exits[index].head = nil
    }
    self.source = described
  }

  /// Makes the posterior of networks that chains came by.
  ///
  /// - Parameter source: what is known of the network's exits.
  /// - Throws: `NetworkError` where the network has no such layers; `FileError` for exits that it is not for.
  init(weightSamples posterior: WeightSamplePosterior, of frozen: FrozenNetwork, source: RecordsDescription) throws {
    if !source.isRegression { try source.requireSampledExits() }
    let networks = try WeightSampleDraws(posterior, of: frozen)
    kind = .weightSamples(posterior)
    exits = source.exits.map { _ in Exit() }
    warnings =
      networks.affectsExit.enumerated().filter { !$0.element }.map { index, _ in
        "Exit \(index) ('\(source.exits[index].name)') does not depend on these layers, so all networks are the same there."
      } + posterior.warnings
    var described = source
    for index in described.exits.indices {
      described.exits[index].multiplyAdds = networks.multiplyAdds(toExit: index, draws: posterior.networkCount)
      described.exits[index].head = nil
    }
    self.source = described
  }

  /// Makes the posterior of a placement.
  ///
  /// - Parameter source: what is known of the network's exits.
  /// - Throws: `NetworkError` where the network has no such layers; `FileError` for exits that it is not for.
  /// - Precondition: there is one draw at least, and no more than `allowedDrawCounts` has.
  public init(
    placement: PlacementPosterior, of frozen: FrozenNetwork, draws: Int, key: RandomKey, source: RecordsDescription,
    on backend: any Backend
  ) throws {
    precondition((1...Self.allowedDrawCounts.upperBound).contains(draws), "From 1 to 10000 draws can be used; got \(draws).")
    try source.requireSampledExits()
    let networks = try PlacementDraws(placement.layers, statistics: placement.statistics, of: frozen, on: backend)
    kind = .placement(draws: draws, key: key, placement)
    exits = source.exits.map { _ in Exit() }
    warnings = networks.affectsExit.enumerated().filter { !$0.element }.map { index, _ in
      "Exit \(index) ('\(source.exits[index].name)') does not depend on these layers, so all its draws are the same."
    }
    var described = source
    for index in described.exits.indices {
      described.exits[index].multiplyAdds = networks.multiplyAdds(toExit: index, draws: draws)
      described.exits[index].head = nil
    }
    self.source = described
  }

  init(kind: Kind, exits: [Exit], source: RecordsDescription, warnings: [String]) {
    self.kind = kind
    self.exits = exits
    self.source = source
    self.warnings = warnings
  }
}

extension RecordsDescription {
  /// Refuses exits whose draws are not averaged as probabilities.
  fileprivate func requireSampledExits() throws(FileError) {
    for (index, exit) in exits.enumerated() where exit.likelihood == .gaussian {
      throw FileError(
        .unsupported, file: file, object: "exit \(index) ('\(exit.name)')",
        "Draws of networks are for classes and labels, and its likelihood is gaussian; 'fit laplace' takes it.")
    }
  }
}
