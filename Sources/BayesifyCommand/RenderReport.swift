import ArgumentParser
import Bayesify
import Foundation

struct RenderReport: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Turns a report's JSON into one self-contained page.",
    discussion: "Example: bayesify report report.json -o report.html")

  @Argument(help: "A report that 'evaluate' wrote.")
  var report: String

  @Option(name: .shortAndLong, help: "The page, HTML.")
  var output: String

  @OptionGroup var execution: ExecutionOptions

  func run() async throws {
    try execution.requireWritable(output, apartFrom: [report])
    let data = try FileContents.of(report)
    let page =
      RegressionReport.recognizes(json: data)
      ? HTMLRenderer().render(try RegressionReport(json: data, file: report))
      : HTMLRenderer().render(try Report(json: data, file: report))
    try AtomicFile.write(Data(page.utf8), to: output, replacing: execution.force)
  }
}
