import Bayesify

/// What is known of layers that are drawn each by a distribution of its own.
struct PlacementDescription: Encodable {
  struct Layer: Encodable {
    var name: String
    var kind: String
  }

  var method: String
  var layers: [Layer]
  var rows: Int

  init(_ posterior: PlacementPosterior, draws: Int) {
    method = posterior.method(draws: draws)
    layers = posterior.layers.map { Layer(name: $0.layerName, kind: $0.kind.description) }
    rows = posterior.rowCount
  }

  var lines: [String] { layers.map { "\($0.name): \($0.kind)" } + ["fitted to \(rows) rows"] }
}
