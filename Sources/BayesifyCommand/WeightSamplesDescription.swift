import Bayesify

/// What is known of networks that chains over weights came by.
struct WeightSamplesDescription: Encodable {
  struct Layer: Encodable {
    var name: String
    var weights: Int
    var removed: Int
    /// ε₁
    var slab: Double
    /// ε₀
    var spike: Double?
    var groups: Int?
    /// The groups that are rather in the slab.
    var included: Int?
  }

  struct Agreement: Encodable {
    var rows: Int
    var medianRHat: Double
    /// The share of rows with an R-hat above 1.1.
    var disagreeing: Double
    /// Where chains have ten networks at least.
    var medianEffectiveNetworks: Double?
  }

  var method: String
  var sampler: String
  var temperature: Double
  var effectiveTemperature: Double
  var learningRate: Double
  var centre: String
  var chains: Int
  var cycles: Int
  var epochs: Int
  var rows: Int
  var exit: Int?
  var inclusion: Double
  var loss: Double
  var sparsity: Double
  var layers: [Layer]
  var agreement: Agreement?

  init(_ posterior: WeightSamplePosterior) {
    method = posterior.method
    sampler = posterior.sampler.rawValue
    temperature = posterior.temperatureShare
    effectiveTemperature = posterior.effectiveTemperatureShare
    learningRate = posterior.learningRate
    centre = posterior.centre.rawValue
    chains = posterior.chainCount
    cycles = posterior.cycleCount
    epochs = posterior.epochCount
    rows = posterior.rowCount
    exit = posterior.exitIndex
    inclusion = posterior.inclusion
    loss = posterior.loss
    sparsity = posterior.sparsity
    layers = posterior.layers.map { layer in
      Layer(
        name: layer.name, weights: layer.weightCount, removed: layer.removedCount, slab: layer.slab, spike: layer.spike,
        groups: layer.spike.map { _ in layer.responsibilities.count },
        included: layer.spike.map { _ in layer.responsibilities.count { $0 >= 0.5 } })
    }
    agreement = posterior.agreement.map {
      Agreement(
        rows: $0.rowCount, medianRHat: $0.medianScaleReduction, disagreeing: $0.disagreeingShare,
        medianEffectiveNetworks: $0.medianSampleCount)
    }
  }

  var lines: [String] {
    var lines = [
      "\(chains) chain(s) of \(epochs) epoch(s) in \(cycles) cycle(s) over \(rows) rows: loss \(loss.significantDigits()) nats a row"
    ]
    if let agreement {
      lines.append(
        "of \(agreement.rows) rows' labels: R-hat \(agreement.medianRHat.significantDigits(3)) in the median, above 1.1 for "
          + "\((100 * agreement.disagreeing).significantDigits(3)) %"
          + (agreement.medianEffectiveNetworks.map { "; effective networks \($0.significantDigits(3)) in the median" } ?? ""))
    }
    guard layers.contains(where: { $0.spike != nil }) else { return lines }
    return lines
      + layers.map { layer in
        "\(layer.name): \(layer.removed) of \(layer.weights) weights removed, \(layer.included ?? 0) of \(layer.groups ?? 0) "
          + "groups in the slab"
      }
  }
}
