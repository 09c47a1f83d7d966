import BayesTensor

/// Networks that a description of Bayesify's own gives, with weights from the file that holds it or from a state
/// dictionary of PyTorch.
enum GraphArchitecture {
  /// The network that one file describes, and where in another, or in the same, its weights are.
  ///
  /// - Throws: `FileError`: `.malformed` where the description makes no sense, `.missing` where a state dictionary
  ///   lacks weights, `.unsupported` where it holds them more than once.
  static func network(
    of checkpoint: some Checkpoint, describedBy other: some Checkpoint, _ description: GraphDescription
  ) throws(FileError) -> ImportedArchitecture {
    let network = try network(of: description, file: other.file)
    let wanted = Dictionary(
      description.nodes.flatMap { node in
        node.weights.map { (ParameterPath(node: node.name, parameter: $0.key), $0.value) }
      }) { first, _ in first }
    let holdsGraph = checkpoint.file == other.file
    let names = holdsGraph ? nil : try StateNames(checkpoint, for: wanted.values.compactMap(\.state))
    var sources: [ParameterPath: ParameterSource] = [:]
    for spec in network.parameterSpecs {
      guard let weight = wanted[spec.path] else { continue }
      if let names, let state = weight.state {
        let axes = weight.axes ?? Array(0..<spec.shape.rank)
        guard axes.sorted() == Array(0..<axes.count), axes.count <= spec.shape.rank else {
          throw FileError(
            .malformed, file: other.file, object: GraphDescription.object,
            "The axes \(axes) of \(spec.path) are no order of axes. Write the file again.")
        }
        // A weight with fewer axes than its parameter is one along the last of them.
        let extents = Array(spec.shape.dimensions.suffix(axes.count))
        var stored = extents
        for (position, axis) in axes.enumerated() { stored[axis] = extents[position] }
        let entry = names.entry(of: state)
        // A wrong shape shows in the comparison of what is stored.
        let arranged = entry?.state.flatMap { $0.shape == Shape(stored) ? $0 : nil }
        sources[spec.path] = ParameterSource(
          entries: [entry?.name ?? state], storedShape: arranged == nil ? Shape(stored) : entry?.shape ?? Shape(stored),
          state: arranged, axes: axes == Array(0..<axes.count) ? nil : axes)
      } else if let entry = weight.entry {
        sources[spec.path] = ParameterSource(entry: entry, storedShape: spec.shape)
      }
    }
    var imported = ImportedArchitecture(network: network, sources: sources)
    if names != nil, checkpoint.flattening != .channelsFirst { imported.readFlattenedImages(checkpoint.flattening) }
    return imported
  }

  private static func network(of description: GraphDescription, file: String) throws(FileError) -> Network {
    func refuse(_ message: String) -> FileError {
      FileError(.malformed, file: file, object: GraphDescription.object, message + " Write the file again.")
    }
    var positions: [String: Int] = [:]
    var nodes: [Node] = []
    for node in description.nodes {
      var inputs: [Int] = []
      for name in node.inputs {
        guard let position = positions[name] else {
          throw refuse("Node '\(node.name)' takes the output of '\(name)', which does not precede it.")
        }
        inputs.append(position)
      }
      positions[node.name] = nodes.count
      nodes.append(Node(name: node.name, layer: node.layer, inputs: inputs))
    }
    var exits: [Exit] = []
    for exit in description.exits {
      guard let logits = positions[exit.logits] else {
        throw refuse("Exit '\(exit.name)' is the output of '\(exit.logits)', which does not exist.")
      }
      exits.append(Exit(name: exit.name, logits: logits, likelihood: exit.likelihood))
    }
    do {
      let network = try Network(nodes: nodes, exits: exits)
      return try Network(
        nodes: nodes,
        exits: exits.map { exit in
          var exit = exit
          exit.features = network.head(of: exit).flatMap { nodes[$0].inputs.first }
          return exit
        })
    } catch {
      throw refuse(error.message)
    }
  }
}

/// Where a file keeps the tensors of a state dictionary: at the root or under a prefix, with dots or as groups.
private struct StateNames {
  private let entries: [String: CheckpointEntry]

  /// - Throws: `FileError`: `.missing` where some are nowhere, `.unsupported` where some or all are there twice.
  init(_ checkpoint: some Checkpoint, for names: [String]) throws(FileError) {
    if checkpoint.entries.contains(where: { $0.state != nil }) {
      entries = try Self.entries(ofOtherLibrary: checkpoint, for: names)
      return
    }
    // The same spelling for `/model/fc/weight` and `/model.fc.weight`.
    let dotted = checkpoint.entries.map { entry in
      (name: String((entry.state?.name ?? entry.name).map { $0 == "/" ? "." : $0 }.drop { $0 == "." }), entry: entry)
    }
    let byName = Dictionary(dotted.map { ($0.name, $0.entry) }) { first, _ in first }
    guard !names.isEmpty else {
      entries = [:]
      return
    }
    func prefixes(of wanted: String) -> Set<String> {
      Set(
        dotted.compactMap { name, _ in
          name == wanted ? "" : name.hasSuffix("." + wanted) ? String(name.dropLast(wanted.count)) : nil
        })
    }
    // Any weight that is there tells the prefixes; the first may be the one that is not.
    let prefixes = names.sorted().lazy.map(prefixes(of:)).first { !$0.isEmpty } ?? []
    func missing(_ prefix: String) -> [String] { names.filter { byName[prefix + $0] == nil } }
    let complete = prefixes.filter { missing($0).isEmpty }.sorted()
    guard complete.count <= 1 else {
      throw FileError(
        .unsupported, file: checkpoint.file,
        "The weights are there \(complete.count) times, under "
          + complete.map { "'\($0)'" }.joined(separator: " and ") + "; keep one of them.")
    }
    guard let prefix = complete.first else {
      let fewest = prefixes.min { (missing($0).count, $0) < (missing($1).count, $1) } ?? ""
      let absent = missing(fewest)
      throw Self.absence(of: absent, among: names, in: checkpoint)
    }
    entries = Dictionary(names.compactMap { name in byName[prefix + name].map { (name, $0) } }) { first, _ in first }
  }

  /// Where files of other libraries keep them, whose names have other punctuation.
  private static func entries(
    ofOtherLibrary checkpoint: some Checkpoint, for names: [String]
  ) throws(FileError) -> [String: CheckpointEntry] {
    func leaf(_ name: String) -> Substring { name.split(separator: ".").last ?? "" }
    let longest = names.map(\.count).max() ?? 0
    var found: [String: [CheckpointEntry]] = [:]
    for entry in checkpoint.entries {
      guard let name = entry.state?.name.replacing("/", with: ".") else { continue }
      // Under any prefix; punctuation alone is no part.
      let module = String(name.dropLast(leaf(name).count))
      for end in Set(ModuleNames.ends(of: module, upTo: longest)) { found[end + "." + leaf(name), default: []].append(entry) }
    }
    var entries: [String: CheckpointEntry] = [:]
    var absent: [String] = []
    for name in names {
      let key = ModuleNames.letters(name.dropLast(leaf(name).count)) + "." + leaf(name)
      let candidates = found[key] ?? []
      guard candidates.count <= 1 else {
        throw FileError(
          .unsupported, file: checkpoint.file,
          "The weight \(name) could be " + candidates.map { "'\($0.name)'" }.joined(separator: " or ")
            + "; keep one of them, or rename the layer.")
      }
      if let entry = candidates.first { entries[name] = entry } else { absent.append(name) }
    }
    guard absent.isEmpty else { throw absence(of: absent, among: names, in: checkpoint) }
    return entries
  }

  private static func absence(
    of absent: [String], among names: [String], in checkpoint: some Checkpoint
  ) -> FileError {
    FileError(
      .missing, file: checkpoint.file,
      "\(absent.count) of the \(names.count) weights that the architecture names are not there: "
        + absent.sorted().prefix(5).joined(separator: ", ") + (absent.count > 5 ? ", …" : "")
        + ". Name the state dictionary of this very network.")
  }

  func entry(of name: String) -> CheckpointEntry? { entries[name] }
}
