public import BayesTensor
import Foundation

extension FrozenNetwork {
  /// Writes this network as a checkpoint that imports as the very same: its graph, and all weights in single precision.
  ///
  /// The attribute `bayesify_graph` of `/` holds the graph, `/weights/<node>/<parameter>` the weights, nodes by index; the
  /// caller may add attributes, and finishes the archive.
  ///
  /// - Throws: `FileError.Code.unsupported` naming the node whose layer the description has no form for; what writing
  ///   throws.
  public func write(to archive: any ArrayArchiveWriter) throws(FileError) {
    try network.requireGraphForm(file: archive.file)
    var nodes: [GraphDescription.NodeDescription] = []
    for (index, node) in network.nodes.enumerated() {
      var weights: [String: GraphDescription.Weight] = [:]
      for spec in network.parameterSpecs(of: index) {
        guard let tensor = parameters[spec.path] else { preconditionFailure("A frozen network has all parameters.") }
        let name = String(spec.path.description.dropFirst(node.name.count + 1))
        let entry = "/weights/\(index)/\(name)"
        try archive.write(tensor, at: entry)
        weights[name] = GraphDescription.Weight(entry: entry)
      }
      nodes.append(
        GraphDescription.NodeDescription(
          name: node.name, layer: node.layer, inputs: node.inputs.map { network.nodes[$0].name }, weights: weights))
    }
    let description = GraphDescription(
      nodes: nodes,
      exits: network.exits.map {
        GraphDescription.ExitDescription(
          name: $0.name, logits: network.nodes[$0.logits].name, likelihood: $0.likelihood)
      })
    let text: String
    do {
      text = try description.json()
    } catch {
      throw FileError(
        .unsupported, file: archive.file, "The network cannot be described (\(error)); give one with finite settings.")
    }
    guard text.utf8.count <= GraphDescription.sizeLimit else {
      throw FileError(
        .unsupported, file: archive.file,
        "The description of the network has \(text.utf8.count) bytes, and none of more than \(GraphDescription.sizeLimit) is "
          + "read; give a network of fewer layers.")
    }
    try archive.setAttribute(GraphDescription.object, .text(text), of: "/")
  }
}

extension Network {
  /// Refuses layers that the description of a graph cannot name.
  ///
  /// - Parameter file: where the network comes from, for the message.
  /// - Throws: `FileError.Code.unsupported` naming the first node with such a layer.
  public func requireGraphForm(file: String) throws(FileError) {
    guard let node = nodes.first(where: { !GraphDescription.canName($0.layer) }) else { return }
    throw FileError(
      .unsupported, file: file, object: "node '\(node.name)'",
      "A layer of kind \(type(of: node.layer).kind) has no form in a file of Bayesify's own yet, so this network cannot be "
        + "written; give one without such layers.")
  }
}
