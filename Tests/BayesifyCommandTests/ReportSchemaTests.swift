import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Reports against the published schema, by the Python library jsonschema.
struct ReportSchemaTests {
  /// A program that has jsonschema with the schema's draft.
  static let python: String? = {
    let named = ProcessInfo.processInfo.environment["BAYESIFY_PYTHON"]
    // Debian's package belongs to Debian's Python, which need not be the first.
    return [named, "python3", "/usr/bin/python3"].compactMap { $0 }.first { program in
      do {
        return try run(program, "from jsonschema import Draft202012Validator").code == 0
      } catch {
        return false
      }
    }
  }()

  private static func run(
    _ program: String, _ script: String, _ arguments: String...
  ) throws -> (code: Int32, output: String) {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [program, "-W", "ignore", "-c", script] + arguments
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, text)
  }

  /// The places where a report does not keep to the schema.
  private func faults(_ report: String, schema name: String = "report.schema.json") throws -> [Substring] {
    let schema = TestFiles.package.appending(path: "Documentation/\(name)").path(percentEncoded: false)
    let script = """
      import json, sys
      from jsonschema import Draft202012Validator
      schema, report = (json.load(open(file, encoding="utf-8")) for file in sys.argv[1:])
      Draft202012Validator.check_schema(schema)
      for error in Draft202012Validator(schema).iter_errors(report):
          print("/".join(str(part) for part in error.absolute_path), error.message[:200])
      print("done")
      """
    let run = try Self.run(Self.python ?? "python3", script, schema, report)
    try #require(run.code == 0 && run.output.hasSuffix("done\n"), "\(run)")
    return run.output.split(separator: "\n").dropLast()
  }

  @Test(.enabled(if: python != nil, "There is no Python with jsonschema."))
  func reportsOnRealTargetsKeepToTheirs() async throws {
    let folder = try TestFolder()
    let files = TestFiles.package.appending(path: "Tests/Golden/Regression").path(percentEncoded: false)
    try await folder.succeed([
      "fit", "laplace", files + "/network.h5", "--likelihood", "gaussian", "--data", files + "/train.h5",
      "--prior-precision", "2", "--noise", "0.5", "-o", "posterior.h5",
    ])
    try await folder.succeed([
      "evaluate", files + "/network.h5", "posterior.h5", "--data", files + "/test.h5", "--validation",
      files + "/validation.h5", "--likelihood", "gaussian", "--calibrators", "all", "--conformal", "0.1", "--timing", "--json",
      "report.json", "--quiet",
    ])
    let schema = "regression-report.schema.json"
    #expect(try faults(folder.path("report.json"), schema: schema) == [])
    let broken = String(decoding: try folder.bytes("report.json"), as: UTF8.self)
      .replacingOccurrences(of: #""rmse" : "#, with: #""error" : "#)
    try broken.write(toFile: folder.path("broken.json"), atomically: true, encoding: .utf8)
    #expect(try !faults(folder.path("broken.json"), schema: schema).isEmpty)
  }

  @Test(.enabled(if: python != nil, "There is no Python with jsonschema."))
  func reportsKeepToThePublishedSchema() async throws {
    let folder = try TestFolder()
    try await folder.succeed([
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "2", "--temperature", "1.3", "-o",
      "posterior.h5",
    ])
    try await folder.succeed([
      "trust", "tune", Digits.checkpoint, "--validation", Digits.validation, "--max-risk", "5%", "-o", "trust.json",
    ])
    // Everything that a report may hold.
    try await folder.succeed([
      "evaluate", Digits.checkpoint, "posterior.h5", "--data", Digits.test, "--validation", Digits.validation, "--ood",
      "letters=" + Digits.letters, "--reference", Digits.training, "--detectors", "all", "--calibrators", "isotonic",
      "--conformal", "0.1", "--policy", "trust.json", "--shift", "blur", "--timing", "--json", "full.json", "--quiet",
    ])
    #expect(try faults(folder.path("full.json")) == [])
    // And as little as it may.
    try await folder.succeed([
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--rows", "0:1", "--json", "small.json", "--quiet",
    ])
    #expect(try faults(folder.path("small.json")) == [])

    // The schema is no empty promise: it sees what is missing, of another type, out of its range, or new.
    let report = try Report(json: folder.bytes("full.json"), file: "full.json")
    #expect(report.shift != nil && report.models[0].exits[2].trust != nil && report.models[0].exits[2].detectors != nil)
    for (text, replacement) in [
      (#""accuracy" : "#, #""precise" : "#), (#""rowCount" : 1000"#, #""rowCount" : "1000""#),
      (#""schema" : 1"#, #""schema" : 2"#), (#""auroc" : 0."#, #""auroc" : 2."#),
    ] {
      let broken = String(decoding: try folder.bytes("full.json"), as: UTF8.self)
        .replacingOccurrences(of: text, with: replacement)
      let file = folder.path("broken.json")
      try broken.write(toFile: file, atomically: true, encoding: .utf8)
      #expect(try !faults(file).isEmpty, "\(replacement)")
    }
  }
}
