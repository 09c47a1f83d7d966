import ArgumentParser
import Bayesify

struct Extract: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a network once and keeps features and logits of every exit.",
    discussion: """
      The records may stand wherever data may; the network then does not run again. Networks that answer at every \
      pixel or step, with labels [rows, height, width] or [rows, steps], give a record for each, 4 bytes a number.

      Example: bayesify extract model.h5 --data test.h5 --scale 255 -o records.h5
      """)

  @Argument(help: "A checkpoint.")
  var checkpoint: String

  @Option(help: "The rows to run: a data file, file.h5:inputs,labels, or a folder of images by class.")
  var data: String

  @Option(help: "A file of labels, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(name: .shortAndLong, help: "The records, HDF5.")
  var output: String

  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "A summary in JSON on standard output.")
  var json = false

  func validate() throws { try OutputFormat.requireSuffix(of: output, among: [.hdf5]) }

  func run() async throws {
    try model.requireTable(among: data, labels)
    try execution.requireWritable(
      output, apartFrom: [checkpoint, data, labels, model.classNames, model.checkpoint.architecture])
    let progress = execution.progress()
    let session = Session(model, execution, progress)
    let checkpoint = try model.checkpoint.model(checkpoint)
    let input = try RowInput(data, labels: labels, labelColumn: model.labelColumn, rows: rows?.range)
    guard case .dataset(let dataset) = input else {
      throw FileError(.value, file: data, "These are exit records already; extract takes raw inputs.")
    }
    let records = try session.networkRecords(
      checkpoint, over: dataset, stored: nil, stage: "extract", dataDigest: try session.digest(of: data))
    try await session.announce(records)
    let writer = try ExitRecordsWriter(
      records.description, to: HDF5ArchiveWriter(output, replacing: execution.force))
    do {
      try await records.forEachRun { records, rows in
        try writer.append(rowDigests: RowDigests.digests(of: rows))
        try writer.append(records)
      }
      try Task.checkCancellation()
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    progress.finishLine()
    try RowsSummary(output: output, of: records).show(asJSON: json, progress)
  }
}
