import BayesPrediction
public import BayesTensor

/// A posterior of sampled networks in a file.
///
/// - `/` has the attributes of every posterior (see `LastLayerLaplacePosterior`), `method`, and of dropout `layerNames` and
///   `layerRates`, of an ensemble `memberFiles` and `memberDigests`.
/// - `/exits/0` and so on have attributes of the exit.
/// - `/layers/0` and so on have `inputs`, `outputs` and `biases` of an ensemble of scaled layers, and `autoencoder/encoder` and
///   so on where latents are drawn; `/statistics/0` and so on `values`, with the attribute `path`; `/layers` what they share.
/// - `/placement`, `/placement/0` and so on belong to layers that are drawn each by a distribution of its own.
/// - `/chains`, `/layers/0`, `/samples/0` and so on belong to networks of chains over weights.
/// - `/layer` has the attributes of a posterior of one layer's weights, `/layer/0` and so on `means` and `deviations` of its
///   parameters, with the attribute `path`.
extension SampledNetworkPosterior {
  /// The values of the attribute `method` in a posterior's file.
  public static let dropoutMethodName = "dropout"
  public static let ensembleMethodName = "ensemble"
  public static let firstLayerMethodName = "first-layer"
  public static let latentMethodName = "latent"
  public static let weightSamplesMethodName = "spike-slab"
  public static let placementMethodName = "placement"
  public static let methodNames: Set = [
    dropoutMethodName, ensembleMethodName, firstLayerMethodName, latentMethodName, weightSamplesMethodName,
    placementMethodName,
  ]

  /// Writes the posterior; the caller finishes the archive.
  ///
  /// - Throws: `FileError` where the file cannot be written.
  public func write(to archive: any ArrayArchiveWriter) throws(FileError) {
    func header(_ method: String, _ key: RandomKey) throws(FileError) {
      try archive.writePosteriorHeader(
        method: method, sampleCount: sampleCount, drawsKey: key, source: source, warnings: warnings)
    }
    switch kind {
    case .dropout(_, let key, let layers):
      try header(Self.dropoutMethodName, key)
      try archive.setAttribute("layerNames", .texts(layers.map(\.name)), of: "/")
      try archive.setAttribute("layerRates", .numbers(layers.map(\.rate)), of: "/")
    case .firstLayer(_, let key, let layer):
      try header(Self.firstLayerMethodName, key)
      try archive.write(layer)
    case .latent(_, let key, let latent):
      try header(Self.latentMethodName, key)
      try archive.write(latent)
    case .weightSamples(let posterior):
      // Nothing is drawn.
      try header(Self.weightSamplesMethodName, RandomKey(seed: 0))
      try archive.write(posterior)
    case .placement(_, let key, let placement):
      try header(Self.placementMethodName, key)
      try archive.write(placement)
    case .ensemble(let members):
      // Nothing is drawn.
      try header(Self.ensembleMethodName, RandomKey(seed: 0))
      try archive.setAttribute("memberFiles", .texts(members.map(\.file)), of: "/")
      try archive.setAttribute("memberDigests", .texts(members.map(\.digest)), of: "/")
    }
    for (index, exit) in exits.enumerated() {
      let path = "/exits/\(index)"
      let description = source.exits[index]
      try archive.setAttribute("name", .text(description.name), of: path)
      try archive.setAttribute("likelihood", .text(description.likelihood.rawValue), of: path)
      try archive.setAttribute("logitCount", .integer(description.logitCount), of: path)
      if let multiplyAdds = description.multiplyAdds {
        try archive.setAttribute("multiplyAdds", .integer(multiplyAdds), of: path)
      }
      try archive.setAttribute("temperature", .number(exit.temperature), of: path)
      if let noise = exit.noise { try archive.setAttribute("noise", .number(noise), of: path) }
      if let value = exit.validationNLL { try archive.setAttribute("validationNLL", .number(value), of: path) }
      if let value = exit.untemperedNLL { try archive.setAttribute("untemperedNLL", .number(value), of: path) }
    }
  }

  /// Reads a posterior and checks all of it.
  ///
  /// - Throws: `FileError` naming the object that is missing, not finite, out of range or of a later version.
  public init(from archive: any ArrayArchive) throws(FileError) {
    let reader = PosteriorReader(archive: archive)
    let method = try archive.text("method")
    try reader.requireMethod(Self.methodNames.contains(method) ? method : Self.dropoutMethodName)
    let fewest = [Self.firstLayerMethodName, Self.weightSamplesMethodName, Self.placementMethodName].contains(method) ? 1 : Self.allowedDrawCounts.lowerBound
    let sampleCount = try reader.sampleCount(within: fewest...Self.allowedDrawCounts.upperBound)
    let kind: Kind
    if method == Self.ensembleMethodName {
      let (files, digests) = (try reader.texts("memberFiles", of: "/"), try reader.texts("memberDigests", of: "/"))
      guard files.count == sampleCount, digests.count == sampleCount else {
        throw reader.failure(
          .missing, "/",
          "There are \(files.count) files and \(digests.count) digests for \(sampleCount) members; fit again.")
      }
      kind = .ensemble(zip(files, digests).map { EnsembleMember(file: $0, digest: $1) })
    } else if method == Self.firstLayerMethodName {
      kind = .firstLayer(draws: sampleCount, key: try reader.json("drawsKey", of: "/"), try reader.firstLayer())
    } else if method == Self.weightSamplesMethodName {
      kind = .weightSamples(try reader.weightSamples(networkCount: sampleCount))
    } else if method == Self.placementMethodName {
      kind = .placement(
        draws: sampleCount, key: try reader.json("drawsKey", of: "/"), try reader.placement(drawCount: sampleCount))
    } else if method == Self.latentMethodName {
      let latent = try reader.latentPosterior()
      guard sampleCount.isMultiple(of: latent.memberCount),
        latent.form == .latentSample || sampleCount == latent.memberCount
      else {
        throw reader.failure(.value, "/", "\(sampleCount) networks are not draws of \(latent.memberCount) members; fit again.")
      }
      kind = .latent(networks: sampleCount, key: try reader.json("drawsKey", of: "/"), latent)
    } else {
      let names = try reader.texts("layerNames", of: "/")
      guard case .numbers(let rates)? = try archive.attribute("layerRates", of: "/"), rates.count == names.count,
        !names.isEmpty, rates.allSatisfy({ $0 > 0 && $0 <= 1 })
      else {
        throw reader.failure(
          .value, "/", "The attributes 'layerNames' and 'layerRates' are not names with rates above 0; fit again.")
      }
      kind = .dropout(
        draws: sampleCount, key: try reader.json("drawsKey", of: "/"),
        layers: zip(names, rates).map { DropoutLayer(name: $0, rate: $1) })
    }
    var exits: [Exit] = []
    var descriptions: [ExitDescription] = []
    for index in 0..<(try reader.exitCount()) {
      let path = "/exits/\(index)"
      let likelihood: Likelihood = try reader.choice("likelihood", of: path)
      let logitCount = try reader.integer("logitCount", of: path)
      let fits =
        switch likelihood {
        case .categorical: logitCount > 1
        case .binary: logitCount == 1
        case .multilabel: logitCount > 0
        case .gaussian: method == Self.weightSamplesMethodName && logitCount > 0
        }
      guard fits, logitCount <= 1 << 24 else {
        throw reader.failure(
          .value, path, "\(logitCount) logit(s) do not go with the likelihood '\(likelihood.rawValue)'; fit again.")
      }
      descriptions.append(
        ExitDescription(
          name: try archive.text("name", of: path), likelihood: likelihood, logitCount: logitCount,
          multiplyAdds: try reader.optionalInteger("multiplyAdds", of: path)))
      exits.append(
        Exit(
          temperature: try reader.positiveNumber("temperature", of: path),
          validationNLL: try reader.optionalNumber("validationNLL", of: path),
          untemperedNLL: try reader.optionalNumber("untemperedNLL", of: path)))
      if likelihood == .gaussian { exits[index].noise = try reader.positiveNumber("noise", of: path) }
    }
    self.init(
      kind: kind, exits: exits, source: try reader.source(exits: descriptions),
      warnings: try reader.texts("warnings", of: "/"))
  }
}
