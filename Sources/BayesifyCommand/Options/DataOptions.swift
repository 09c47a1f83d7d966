public import ArgumentParser
import Bayesify
import Foundation

/// How stored numbers become the network's inputs, and how its outputs are read.
struct ModelOptions: ParsableArguments {
  @OptionGroup var checkpoint: CheckpointOptions

  @Option(
    parsing: .unconditional, help: "Divide inputs by this.", transform: number("a number but zero") { $0 != 0 })
  var scale: Double?

  @Option(
    parsing: .unconditional, help: "Then subtract this: one number, or one a channel, separated by commas.",
    transform: optionValue)
  var mean: NumberList?

  @Option(
    parsing: .unconditional, help: "Then divide by this: one number, or one a channel, separated by commas.",
    transform: optionValue)
  var std: NumberList?

  @Option(
    parsing: .unconditional,
    help: "How outputs are read where the last activation leaves it open: categorical, binary, multilabel or gaussian.")
  var likelihood: Likelihood?

  @Option(help: "The column of labels in .csv files: its name, or its index from 0.")
  var labelColumn: String?

  @Option(
    parsing: .unconditional,
    help: "A label that means no class, as 255 for void pixels: rows and pixels with it are not fitted, tuned or measured on.",
    transform: wholeNumber(.min ... .max))
  var ignoreLabel: Int?

  @Option(
    help: "A text file with one class name a line. (default: the sub-folders, where data are a folder of images)")
  var classNames: String?

  func validate() throws {
    if let std, std.values.contains(0) { throw ValidationError("--std must not hold zeros.") }
  }

  /// Refuses a column of labels that no file could have.
  func requireTable(among files: String?...) throws {
    guard labelColumn != nil, !files.contains(where: { $0?.lowercased().hasSuffix(".csv") ?? false }) else { return }
    throw ValidationError("--label-column is for .csv files, and none is named; leave it out.")
  }

  /// The preprocessing asked for; `nil` when no option says anything.
  var preprocessing: Preprocessing? {
    guard scale != nil || mean != nil || std != nil else { return nil }
    return Preprocessing(
      scale: scale ?? 1, mean: mean?.values ?? [0], standardDeviation: std?.values ?? [1])
  }

  /// What was asked for, or what `stored` says was used before.
  ///
  /// - Throws: `FileError` when they contradict each other.
  func preprocessing(stored: Preprocessing?, in file: String) throws -> Preprocessing {
    guard let stored else { return preprocessing ?? .identity }
    guard preprocessing == nil || preprocessing == stored else {
      throw FileError(
        .value, file: file,
        "It was made with --scale \(stored.scale) --mean \(NumberList(stored.mean)) --std "
          + "\(NumberList(stored.standardDeviation)), and other preprocessing is asked for now; leave these "
          + "options out.")
    }
    return stored
  }

  func names() throws -> [String] {
    guard let classNames else { return [] }
    let data = try FileContents.of(classNames)
    guard let text = String(data: data, encoding: .utf8) else {
      throw FileError(.malformed, file: classNames, "The file of class names is not UTF-8 text.")
    }
    var lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    while lines.last?.isEmpty == true { lines.removeLast() }
    return lines
  }
}

/// What a checkpoint may leave open.
struct CheckpointOptions: ParsableArguments {
  @Option(
    help: """
      For a checkpoint that holds weights alone: the JSON of model.to_json(), a Keras file that holds the whole model, \
      or a file of bayesify_torch.py.
      """)
  var architecture: String?

  @Option(parsing: .unconditional, help: "For convolutions of Keras 1: what computed for it, tensorflow or theano.")
  var kerasBackend: KerasBackend?

  var reading: CheckpointReading { CheckpointReading(architecture: architecture, backend: kerasBackend) }

  /// Refuses what says how to read a checkpoint where none is opened.
  ///
  /// - Parameter reason: what needs no network.
  func requireNetwork(becauseOf reason: String) throws {
    guard let name = architecture != nil ? "--architecture" : kerasBackend != nil ? "--keras-backend" : nil else { return }
    throw ValidationError(
      "\(name) says how to read a checkpoint, and \(reason) need none; leave it out.")
  }

  /// Imports a checkpoint.
  ///
  /// - Throws: `FileError`, also where an architecture is named that is not needed.
  func model(_ file: String) throws(FileError) -> CheckpointModel {
    if try HDF5Archive.recognizes(file) {
      let archive = try HDF5Archive(file)
      if try archive.optionalText("format") == LastLayerLaplacePosterior.formatName {
        throw FileError(
          .unsupported, file: file,
          "This is a posterior that a fit wrote, and no network; name the checkpoint that it was fitted to here. To add "
            + "rows to it, name it with 'fit laplace --continue'; to predict with it, with 'predict'.")
      }
      if archive.holdsPredictions {
        throw FileError(.unsupported, file: file, "These are predictions and no network; name a checkpoint here.")
      }
    }
    return try model(openCheckpoint(file))
  }

  /// Imports a checkpoint that is open.
  ///
  /// - Throws: as `model(_:)`.
  func model(_ checkpoint: some Checkpoint) throws(FileError) -> CheckpointModel {
    let model = try CheckpointModel(checkpoint, reading: reading)
    try requireUse(by: [model])
    return model
  }

  /// Refuses an architecture that none of some checkpoints needs.
  func requireUse(by models: [CheckpointModel]) throws(FileError) {
    guard let architecture, !models.isEmpty, models.allSatisfy({ $0.architectureFile == nil }) else { return }
    throw FileError(
      .value, file: architecture,
      "\(models[0].file) describes its network itself; leave --architecture out, or give a file of weights alone.")
  }
}

extension Likelihood: ExpressibleByArgument {}
extension InferencePrecision: ExpressibleByArgument {}
extension KerasBackend: ExpressibleByArgument {}
