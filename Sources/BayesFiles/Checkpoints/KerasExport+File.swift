public import BayesNetwork
public import BayesTensor

extension KerasExport {
  /// Writes the model as Keras 3 does, whole or not at all.
  ///
  /// - Parameter replacing: whether a file of that name may be replaced.
  /// - Throws: `FileError.Code.cannotWrite`.
  public func write(to file: String, replacing: Bool = false) throws(FileError) {
    let writer = try HDF5ArchiveWriter(file, replacing: replacing)
    do {
      let root = "/model_weights"
      for path in ["/", root] {
        try writer.setAttribute("keras_version", .text("3.0.0"), of: path)
        try writer.setAttribute("backend", .text("tensorflow"), of: path)
      }
      try writer.setAttribute("model_config", .text(configuration), of: "/")
      try writer.setAttribute("layer_names", .texts(layers.map(\.name)), of: root)
      for layer in layers {
        let names = layer.weights.map { "\(layer.name)/\($0.name)" }
        try writer.setAttribute("weight_names", .texts(names), of: "\(root)/\(layer.name)")
        for (name, weight) in zip(names, layer.weights) {
          try writer.write(weight.values, at: "\(root)/\(layer.name)/\(name)")
        }
      }
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
  }
}
