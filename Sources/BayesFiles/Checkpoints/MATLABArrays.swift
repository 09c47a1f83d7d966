import BayesNetwork
import BayesTensor

/// The arrays of a MATLAB 7.3 file, as a state dictionary of PyTorch would keep them.
///
/// MATLAB's first axis varies fastest, so that HDF5 has all axes in the opposite order.  Arrays are taken to lie as the
/// layers of its Deep Learning Toolbox have them: kernels `height×width×in×out` (grouped ones with the groups as a fifth
/// axis), along one axis `length×in×out`, of transposed convolutions `height×width×out×in`, of dense layers `out×in`.
/// Vectors may lie along any axis.  `conv1_Weights` and the field `Weights` of a structure `conv1` are the same.
struct MATLABArrays {
  /// What each array is, by its path.
  let states: [String: StateTensor]

  private static let classes: Set = [
    "single", "double", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "logical",
  ]
  private static let leaves = [
    "weight": ["weights", "weight", "w", "kernel", "kernels", "filters", "scale", "gamma"],
    "bias": ["bias", "biases", "b", "offset", "beta"],
    "running_mean": ["trainedmean", "trained_mean", "running_mean", "moving_mean", "mean"],
    "running_var": [
      "trainedvariance", "trained_variance", "running_var", "running_variance", "moving_variance", "variance", "var",
    ],
  ].reduce(into: [String: String]()) { leaves, leaf in
    for word in leaf.value { leaves[word] = leaf.key }
  }

  /// - Throws: `FileError.Code.unsupported` where there are no arrays of numbers under names of their own.
  init(_ contents: HDF5File) throws(FileError) {
    var named: [(entry: ArchiveEntry, module: String, word: String)] = []
    var biases: [String: Int] = [:]
    for entry in contents.entries where !entry.path.hasPrefix("/#") {
      let attributes = try contents.attributes(of: entry.path)
      guard let kind = attributes["MATLAB_class"]?.firstText, Self.classes.contains(kind),
        attributes["MATLAB_empty"] == nil
      else { continue }
      let (module, word) = Self.divided(entry.path)
      named.append((entry, module, word))
      if Self.leaves[word] == "bias" { biases[module] = entry.shape.elementCount }
    }
    guard !named.isEmpty else {
      throw FileError(
        .unsupported, file: contents.file,
        "MATLAB kept no arrays of numbers by name here, and its network objects and cells are not read; save each array "
          + "under a name, s.conv1_Weights = net.Layers(2).Weights and so on, with save(file, '-struct', 's', '-v7.3').")
    }
    var states: [String: StateTensor] = [:]
    for (entry, module, word) in named {
      states[entry.path] = Self.state(entry.shape, module, word, biasCount: biases[module])
    }
    self.states = states
  }

  /// The module and the last word of a name: `conv1` and `weights` of `/conv1_Weights` or `/conv1/Weights`.
  private static func divided(_ path: String) -> (module: String, word: String) {
    let parts = path.split(separator: "/").map(String.init)
    let last = parts[parts.count - 1]
    let modules = parts.dropLast()
    // The longest word first: `bn_running_mean` is no `mean`.
    var start = last.startIndex
    while leaves[last[start...].lowercased()] == nil {
      guard let underscore = last[start...].firstIndex(of: "_") else { return (modules.joined(separator: "."), last) }
      start = last.index(after: underscore)
    }
    let module = last[..<start].dropLast()
    return ((modules + (module.isEmpty ? [] : [String(module)])).joined(separator: "."), last[start...].lowercased())
  }

  private static func state(_ shape: Shape, _ module: String, _ word: String, biasCount: Int?) -> StateTensor {
    let leaf = leaves[word]
    let name = (module.isEmpty ? "" : module + ".") + (leaf ?? word)
    let isVector = shape.dimensions.count(where: { $0 != 1 }) <= 1
    if isVector, leaf != nil, leaf != "weight" || word == "scale" || word == "gamma" {
      return StateTensor(name: name, extents: [shape.elementCount], axes: [0])
    }
    guard leaf == "weight" else {
      return StateTensor(name: name, extents: shape, axes: Array((0..<shape.rank).reversed()))
    }
    switch shape.rank {
    case 2: return StateTensor(name: name, extents: shape, axes: [1, 0])
    // MATLAB drops a last axis of one, here that of the only output.
    case 3 where biasCount == 1 && shape[0] != 1:
      return StateTensor(name: name, extents: Shape([1] + shape.dimensions), axes: [0, 1, 3, 2])
    case 3: return StateTensor(name: name, extents: shape, axes: [0, 1, 2])
    case 4: return StateTensor(name: name, extents: shape, axes: [0, 1, 3, 2])
    case 5:
      return StateTensor(
        name: name, extents: Shape([shape[0] * shape[1]] + shape.dimensions.dropFirst(2)), axes: [0, 1, 3, 2])
    default: return StateTensor(name: name, extents: shape, axes: Array((0..<shape.rank).reversed()))
    }
  }
}
