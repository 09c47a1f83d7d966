import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Early exits fitted to trained networks, through the command.
struct HeadsCommandTests {
  private struct Fitted: Decodable {
    struct Exit: Decodable {
      var name: String
      var node: String
      var features: Int
      var multiplyAdds: Int
      var penalty: Double
      var validationNLL: Double
      var validationAccuracy: Double
    }
    var exits: [Exit]
    var multiplyAdds: Int
  }

  private struct Inspection: Decodable {
    struct Exit: Decodable {
      var name: String
      var classes: Int
      var multiplyAdds: Int
      var transforms: [String]
      var likelihood: String
    }
    var format: String
    var exits: [Exit]
  }

  @Test func exitsAreFittedAndTheRestStaysAsItWas() async throws {
    let folder = try TestFolder()
    let run = try await folder.succeed(
      "heads", Digits.checkpoint, "--exits-at", "block_2_pool,block_1_pool", "--data", Digits.training, "--validation",
      Digits.validation, "-o", "model.h5", "--json")
    let fitted = try JSONDecoder().decode(Fitted.self, from: Data(run.output.utf8))
    #expect(fitted.exits.map(\.node) == ["block_1_pool", "block_2_pool"] && fitted.exits.map(\.features) == [24, 32])
    #expect(fitted.exits.allSatisfy { LogisticHeads.standardPenalties.contains($0.penalty) })
    let inspected = try JSONDecoder().decode(
      Inspection.self, from: Data(try await folder.succeed("inspect", "model.h5", "--json").output.utf8))
    #expect(inspected.format == "Bayesify graph and weights, HDF5")
    #expect(
      inspected.exits.map(\.name) == ["exit_block_1_pool", "exit_1", "exit_block_2_pool", "exit_2", "exit_3"])
    #expect(
      inspected.exits.allSatisfy { $0.classes == 10 && $0.transforms == ["laplace"] && $0.likelihood == "categorical" })
    #expect(inspected.exits.map(\.multiplyAdds).max() == fitted.multiplyAdds)
    for exit in fitted.exits {
      #expect(inspected.exits.first { $0.name == exit.name }?.multiplyAdds == exit.multiplyAdds)
    }
    // Records of both files: the outputs that were there are the same bits.
    for (model, name) in [(Digits.checkpoint, "before.h5"), ("model.h5", "after.h5")] {
      try await folder.succeed("extract", model, "--data", Digits.test, "-o", name)
    }
    let (before, after) = (try HDF5Archive(folder.path("before.h5")), try HDF5Archive(folder.path("after.h5")))
    for (old, new) in [(0, 1), (1, 3), (2, 4)] {
      for array in ["logits", "features"] {
        #expect(try before.read("/exits/\(old)/\(array)") == after.read("/exits/\(new)/\(array)"))
      }
    }
    // What the fit said of the validation rows is what is measured on them with the written file.
    try await folder.succeed(
      "evaluate", "model.h5", "--data", Digits.validation, "--json", "report.json")
    let measured = try Report(json: folder.bytes("report.json"), file: "report.json").models[0].exits
    for exit in fitted.exits {
      let own = try #require(measured.first { $0.name == exit.name })
      expectClose(own.nll, exit.validationNLL, tolerance: 1e-5)
      expectClose(own.accuracy, exit.validationAccuracy, tolerance: 1e-12)
      // Ten classes; a head that has learned nothing is right once in ten.
      #expect(own.accuracy > 0.8)
    }
    try await folder.succeed(
      "fit", "laplace", "model.h5", "--data", Digits.training, "--validation", Digits.validation, "-o", "posterior.h5")
    let tuned = try await folder.succeed(
      "exits", "tune", "model.h5", "--validation", Digits.validation, "--budget", "60000", "-o", "policy.json")
    #expect(tuned.output.contains("exit_block_1_pool"))
    // Where it comes from.
    let archive = try HDF5Archive(folder.path("model.h5"))
    #expect(try archive.text("originDigest") == FileDigest.sha256(ofFile: Digits.checkpoint))
    #expect(try archive.text("dataDigest", of: "/heads") == FileDigest.sha256(ofFile: Digits.training))
    #expect(try archive.attribute("penalties", of: "/heads/0") == .numbers(LogisticHeads.standardPenalties))
    guard case .numbers(let losses)? = try archive.attribute("validationNLL", of: "/heads/1") else {
      Issue.record("There is no trail.")
      return
    }
    #expect(losses.count == LogisticHeads.standardPenalties.count && losses.min() == fitted.exits[1].validationNLL)
  }

  @Test func bytesDoNotDependOnThreadsOrSlices() async throws {
    let folder = try TestFolder()
    for (name, options) in [("one.h5", ["--threads", "1", "--batch", "7"]), ("two.h5", ["--threads", "3"])] {
      let run = try await folder.run(
        [
          "heads", Digits.checkpoint, "--exits-at", "block_2_relu", "--penalty", "0.001", "--data", Digits.training,
          "-o", name,
        ]
          + options)
      #expect(run.exitCode == 0, "\(run.testDescription)")
    }
    #expect(try folder.bytes("one.h5") == folder.bytes("two.h5"))
    // An output that is there is kept.
    try await folder.refuse(
      "heads", Digits.checkpoint, "--exits-at", "block_2_relu", "--penalty", "1", "--data", Digits.training, "-o",
      "one.h5",
      code: 74, naming: "one.h5", "--force")
    try await folder.succeed(
      "heads", "one.h5", "--exits-at", "block_1_pool", "--penalty", "1", "--data", Digits.training, "-o", "two.h5",
      "--force")
    #expect(try await folder.succeed("inspect", "two.h5").output.contains("exit_block_2_relu"))
  }

  @Test(
    arguments: [
      (["--exits-at", "block_1_pol"], 65, "There is no node 'block_1_pol'; those most like it are 'block_1_pool'"),
      (["--exits-at", "image"], 65, "is the input"),
      (["--exits-at", "exit_3"], 65, "is an output or lies behind one"),
      (["--exits-at", "exit_1_hidden"], 65, "leads to exit 'exit_1' alone"),
      (["--exits-at", "exit_3_hidden"], 65, "would cost no fewer multiply-adds"),
      (["--exits-at", "block_1_pool,block_1_pool"], 65, "named twice"),
      (["--exits-at", "block_1_conv"], 65, "last bits"),
      (["--exits-at", "a,,b"], 64, "give names of nodes separated by commas"),
      (["--exits-at", "block_1_pool", "--penalty", "0"], 64, "give 'validation' or a number from 1e-08"),
      (["--exits-at", "block_1_pool", "--penalty", "validation"], 64, "give --validation DATA"),
      (["--exits-at", "block_1_pool", "--validation-rows", "0:3"], 64, "--validation-rows is for validation rows"),
      (["--exits-at", "block_1_pool", "--rows", "0:6"], 65, "No training row has the label"),
      (["--exits-at", "block_1_pool", "--rows", "0:1"], 65, "All labels of the training rows are"),
      (["--exits-at", "block_1_pool", "--scale", "1e-40"], 65, "gives a logit of"),
      (["--exits-at", "block_1_pool", "--scale", "1e40"], 65, "the same for all rows"),
    ] as [([String], Int32, String)])
  func badRequestsAreRefused(options: [String], code: Int32, words: String) async throws {
    let folder = try TestFolder()
    var arguments = ["heads", Digits.checkpoint, "--data", Digits.training, "-o", "model.h5", "--quiet"] + options
    if !options.contains("--penalty") { arguments += ["--penalty", "0.01"] }
    let run = try await folder.run(arguments)
    #expect(run.exitCode == code && run.errorLines.count == 1, "\(run.testDescription)")
    #expect(run.errors.contains(words), "\(run.testDescription)")
    #expect(try folder.names == [])
  }

  @Test func rowsThatHeadsCannotBeFittedToAreRefused() async throws {
    let folder = try TestFolder()
    let options = ["heads", Digits.checkpoint, "--exits-at", "block_1_pool", "--penalty", "1", "-o", "model.h5"]
    try folder.writeNoise(rowCount: 20, to: "noise.npy")
    try folder.write([UInt8](repeating: 12, count: 20), shape: [20], to: "labels.npy")
    for (more, words) in [
      (["--data", "noise.npy"], "The training rows have no labels; give them with --labels."),
      (["--data", "noise.npy", "--labels", "labels.npy"], "label 12"),
      (["--data", Digits.training, "--validation", "noise.npy"], "give them with --validation-labels"),
    ] {
      let run = try await folder.run(options + more + ["--quiet"])
      #expect(run.exitCode == 65 && run.errorLines.count == 1 && run.errors.contains(words), "\(run.testDescription)")
    }
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.training, "-o", "records.h5")
    try await folder.refuse(
      "heads", Digits.checkpoint, "--exits-at", "block_1_pool", "--penalty", "1", "-o", "model.h5", "--data",
      "records.h5",
      code: 65, naming: "records.h5", "give the data")
  }

  @Test func layersWithoutAFormAreNamed() async throws {
    let folder = try TestFolder()
    try await folder.refuse(
      "heads", golden("KerasLayers/lstm.h5"), "--exits-at", "x", "--penalty", "1", "--likelihood", "categorical",
      "--data",
      Digits.training, "-o", "model.h5", code: 65, naming: "lstm.h5, node '", "Recurrence has no form")
  }

  /// ResNet-20 with exits at the ends of its first two stages.
  @Test(.enabled(if: TestFiles.shared != nil))
  func residualNetworkGetsExits() async throws {
    let folder = try TestFolder()
    func shared(_ name: String) -> String {
      (TestFiles.shared ?? TestFiles.package).appending(path: name).path(percentEncoded: false)
    }
    let preprocessing = ["--scale", "255", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--quiet"]
    let run = try await folder.run(
      [
        "heads", shared("checkpoints/resnet20-cifar10.h5"), "--exits-at", "activation_6,activation_12", "--data",
        shared("data/cifar10-train-20k.h5"), "--rows", "0:6000", "--validation", shared("data/cifar10-test.h5"),
        "--validation-rows", "0:2000", "-o", "model.h5",
      ] + preprocessing)
    #expect(run.exitCode == 0, "\(run.testDescription)")
    let test = ["--data", shared("data/cifar10-test.h5"), "--rows", "5000:7000", "--json", "report.json", "--force"]
    func exits(_ model: String) async throws -> [ExitResult] {
      let run = try await folder.run(["evaluate", model] + test + preprocessing)
      #expect(run.exitCode == 0, "\(run.testDescription)")
      return try Report(json: folder.bytes("report.json"), file: "report.json").models[0].exits
    }
    let (with, without) = (
      try await exits("model.h5"), try await exits(shared("checkpoints/resnet20-cifar10.h5"))
    )
    #expect(with.map(\.name) == ["exit_activation_6", "exit_activation_12", "probs"])
    // All 20,000 training rows give 0.453 and 0.662 on 5,000 test rows; these are fewer of both.
    #expect(with[0].accuracy > 0.41 && with[0].accuracy < 0.49, "\(with[0].accuracy)")
    #expect(with[1].accuracy > 0.62 && with[1].accuracy < 0.70, "\(with[1].accuracy)")
    #expect(
      with[2].accuracy == without[0].accuracy && with[2].nll == without[0].nll
        && with[2].ece.value == without[0].ece.value)
  }
}
