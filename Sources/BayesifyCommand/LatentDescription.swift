import Bayesify

/// What is known of an ensemble of scaled layers.
struct LatentDescription: Encodable {
  struct Layer: Encodable {
    var name: String
    var inputs: Int
    var outputs: Int
    var divergenceWeight: Double
    /// Nats a member.
    var divergence: Double
    /// How far members lie apart in what scales the inputs.
    var spread: Double
  }

  var method: String
  var form: String
  var members: Int
  var exit: Int
  var epochs: Int
  var rows: Int
  var dataTerm: Double
  var addedNumbers: Int
  var layers: [Layer]

  init(_ posterior: LatentPosterior, networks: Int) {
    method = posterior.method(networks: networks)
    form = posterior.form.rawValue
    members = posterior.memberCount
    exit = posterior.exitIndex
    epochs = posterior.epochCount
    rows = posterior.rowCount
    dataTerm = posterior.dataTerm
    addedNumbers = posterior.addedCount
    layers = posterior.layers.enumerated().map { index, layer in
      let readings = posterior.readings(of: index)
      return Layer(
        name: layer.name, inputs: layer.inputs.shape[1], outputs: layer.outputs.shape[1],
        divergenceWeight: posterior.divergenceWeights[index], divergence: readings.divergence, spread: readings.spread)
    }
  }

  var lines: [String] {
    [
      "\(addedNumbers) numbers beside the network's, \(epochs) epoch(s) over \(rows) rows: data term "
        + "\(dataTerm.significantDigits()) nats a row"
    ]
      + layers.map {
        "\($0.name): \($0.inputs) inputs, \($0.outputs) outputs, KL \($0.divergence.significantDigits(3)) nats a member, "
          + "members \($0.spread.significantDigits(3)) apart"
      }
  }
}
