import BayesPrediction
public import BayesTensor

extension LastLayerLaplacePosterior {
  /// Writes a posterior as plain arrays, with which a few lines of any language predict from features.
  ///
  /// For exit `k`, below `exits/k/`: the head (`weight`, `bias`, `temperature`), what its logits are (`sigmoid`: 0 a
  /// softmax, 1 a label a logit, 2 one logit for no and yes), and, unless the predictive is `plain`, what gives the
  /// covariance `Q diag(v) Qᵀ`, `v = (Rᵀ a)² · reciprocals + offsets`, `a = [φ; inputScale]`: `reciprocals`, `offsets`
  /// and, where they are not the identity, `inputVectors` (`R`) and `outputVectors` (`Q`); `draws` where there are any.
  /// `Python/bayesify_serving.py` reads them.
  ///
  /// - Parameter file: the posterior's, for messages.
  /// - Throws: `FileError` for structures, predictives and likelihoods that are not so simple, and where the file
  ///   cannot be written.
  public func writeServingArrays(to archive: any ArrayArchiveWriter, file: String, on backend: any Backend) throws {
    guard [.whitened, .antithetic, .probit, .plain].contains(predictive), !isEnsemble else {
      throw FileError(
        .unsupported, file: file,
        "Plain arrays are for the predictives whitened, antithetic, probit and plain of exits that stand alone; this "
          + "posterior predicts by '\(predictive.rawValue)'\(isEnsemble ? " in an ensemble" : ""), so fit it with one "
          + "of these.")
    }
    for (index, exit) in exits.enumerated() {
      let path = "/exits/\(index)"
      guard let head = exit.description.head, exit.description.likelihood != .gaussian else {
        throw FileError(
          .unsupported, file: file, object: path, "Plain arrays give probabilities, and this exit gives real numbers.")
      }
      try archive.write(doublePrecision(head.weight), at: path + "/weight")
      try archive.write(doublePrecision(head.bias), at: path + "/bias")
      try archive.write(Tensor(shape: [1], [exit.temperature]), at: path + "/temperature")
      let kind: Double =
        switch exit.description.likelihood {
        case .multilabel: 1
        case .binary: 2
        case .categorical, .gaussian: 0
        }
      try archive.write(Tensor(shape: [1], [kind]), at: path + "/sigmoid")
      guard predictive != .plain else { continue }
      switch exit.curvature {
      case .kronecker(let spectrum):
        let table = spectrum.varianceTable(priorPrecision: exit.priorPrecision)
        try archive.write(table.reciprocals, at: path + "/reciprocals")
        try archive.write(table.bias, at: path + "/offsets")
        try archive.write(spectrum.input.vectors, at: path + "/inputVectors")
        try archive.write(spectrum.output.vectors, at: path + "/outputVectors")
        if spectrum.foldsBias {
          try archive.write(Tensor(shape: [1], [spectrum.biasScale]), at: path + "/inputScale")
        }
      case .diagonal(let diagonal):
        try archive.write(
          diagonal.values.map { 1 / ($0 + exit.priorPrecision) }.transposed(), at: path + "/reciprocals")
        try archive.write(Tensor<Double>(zeros: [diagonal.logitCount]), at: path + "/offsets")
        if diagonal.hasBias {
          try archive.write(Tensor(shape: [1], [diagonal.biasScale]), at: path + "/inputScale")
        }
      case .full, .lowRank:
        throw FileError(
          .unsupported, file: file, object: path,
          "Plain arrays are for Kronecker and diagonal structures; this posterior is '\(structure.rawValue)', so fit "
            + "it with one of these.")
      }
      let draws = try predictive.sharedDraws(
        count: sampleCount, logitCount: exit.description.logitCount, key: drawsKey, on: backend)
      if let draws {
        try archive.write(draws, at: path + "/draws")
      }
    }
  }
}
