import BayesNetwork
import BayesTensor

/// The arrays of a network of Caffe, as a state dictionary of PyTorch would keep them.
///
/// Caffe numbers a layer's arrays: `/data/conv1/0` is the kernel, `/data/conv1/1` the bias.  Three arrays of which the
/// last is one number are a normalisation's mean, variance and the factor that divides both; scale and offset are those
/// of the `Scale` layer that is named like it, `bn2a` and `scale2a` or `conv1/bn` and `conv1/scale`.
struct CaffeArrays {
  /// What each array is, by its path.
  private(set) var states: [String: StateTensor] = [:]

  private struct Blob {
    var path: String
    var shape: Shape
  }

  /// - Returns: `nil` where the arrays are named otherwise.
  /// - Throws: `FileError` for what Caffe writes beside weights, and for layers without their first array.
  init?(_ contents: HDF5File) throws(FileError) {
    if contents.hasArray("/iter"), contents.hasArray("/learned_net") {
      throw FileError(
        .unsupported, file: contents.file,
        "This is the state of a solver of Caffe, which holds no weights; name the .caffemodel.h5 file beside it.")
    }
    guard let layers = Self.layers(contents.entries) else { return nil }
    var statistics: [String: String] = [:]
    var scales: [String: [String]] = [:]
    for (layer, blobs) in layers.sorted(by: { $0.key < $1.key }) {
      guard let first = blobs[0] else {
        throw FileError(
          .missing, file: contents.file, object: layer,
          "The layer has arrays but not the first; copy the file again, or save the network again.")
      }
      if blobs.count == 3, let second = blobs[1], let factor = blobs[2], factor.shape.elementCount == 1,
        let mean = Self.vector(first), let variance = Self.vector(second), mean == variance
      {
        for (blob, leaf) in [(first, "running_mean"), (second, "running_var")] {
          states[blob.path] = StateTensor(name: layer + "." + leaf, extents: mean, axes: [0], divisor: factor.path)
        }
        states[factor.path] = StateTensor(name: layer + ".num_batches_tracked", extents: [1], axes: [0])
        statistics[layer] = Self.stem(layer)
        continue
      }
      let bias = blobs[1].flatMap(Self.vector)
      let weight = Self.unpadded(first, biasCount: bias?[0])
      if weight.rank == 1 { scales[Self.stem(layer), default: []].append(layer) }
      states[first.path] = StateTensor(name: layer + ".weight", extents: weight, axes: Array(0..<weight.rank))
      for (number, blob) in blobs where number > 0 {
        let shape = number == 1 ? bias ?? blob.shape : blob.shape
        states[blob.path] = StateTensor(
          name: layer + (number == 1 ? ".bias" : ".\(number)"), extents: shape, axes: Array(0..<shape.rank))
      }
    }
    // A name that two share tells nothing.
    for (stem, normalizations) in Dictionary(grouping: statistics.keys, by: { statistics[$0] ?? "" }) {
      guard let found = scales[stem], found.count == 1, normalizations.count == 1, let blobs = layers[found[0]]
      else { continue }
      for (number, leaf) in [(0, "weight"), (1, "bias")] {
        if let path = blobs[number]?.path { states[path]?.name = normalizations[0] + "." + leaf }
      }
    }
  }

  /// The arrays by layer and number.
  private static func layers(_ entries: [ArchiveEntry]) -> [String: [Int: Blob]]? {
    var layers: [String: [Int: Blob]] = [:]
    let paths = entries.map { $0.path.split(separator: "/") }
    let hasRoot = paths.contains { $0.first == "data" && $0.count > 2 }
    for (entry, parts) in zip(entries, paths) {
      // What training kept of gradients.
      if hasRoot, parts.first == "diff" { continue }
      guard !hasRoot || parts.first == "data", let last = parts.last else { return nil }
      let layer = parts.dropFirst(hasRoot ? 1 : 0).dropLast()
      let number = last == "w" ? 0 : last == "b" ? 1 : last.allSatisfy(\.isNumber) ? Int(last) : nil
      guard !layer.isEmpty, let number else { return nil }
      layers[layer.joined(separator: "."), default: [:]][number] = Blob(path: entry.path, shape: entry.shape)
    }
    return layers.isEmpty ? nil : layers
  }

  /// The one axis of an array that has one; versions before 2015 kept ones before it, up to four axes.
  private static func vector(_ blob: Blob) -> Shape? {
    guard let count = blob.shape.dimensions.last, count == blob.shape.elementCount else { return nil }
    return [count]
  }

  /// The shape without the ones that those versions kept before a vector or a matrix.
  private static func unpadded(_ blob: Blob, biasCount: Int?) -> Shape {
    let extents = blob.shape.dimensions
    guard extents.count == 4, extents[0] == 1, extents[1] == 1 else { return blob.shape }
    if extents[2] == 1, biasCount == nil || biasCount == extents[3] { return [extents[3]] }
    return biasCount == extents[2] ? [extents[2], extents[3]] : blob.shape
  }

  /// What a normalisation and its scale have in common in their names.
  private static func stem(_ layer: String) -> String {
    var name = layer.lowercased().filter { $0.isLetter || $0.isNumber }
    for word in ["batchnorm", "scale", "norm", "bn"] { name = name.replacing(word, with: "") }
    return name
  }
}
