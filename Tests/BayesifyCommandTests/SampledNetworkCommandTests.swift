import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Dropout and ensembles through the command, against Keras.
struct SampledNetworkCommandTests {
  private let members = ["one.h5", "two.keras", "three.keras"].map { golden("SampledNetworks/\($0)") }
  private let rows = golden("SampledNetworks/rows.h5")
  private let expected = Result { try GoldenValue(contentsOf: "SampledNetworks/expected.json") }

  @Test func ensemblesAreTheMeansOfTheirMembers() async throws {
    let folder = try TestFolder()
    let run = try await folder.run(["fit", "ensemble"] + members + ["-o", "ensemble.h5"])
    #expect(run.exitCode == 0 && run.output.contains("3 networks"), "\(run.testDescription)")
    for threads in ["1", "3"] {
      try await folder.succeed("predict", "ensemble.h5", "--data", rows, "--threads", threads, "-o", "\(threads).h5")
    }
    let (one, three) = (try HDF5Archive(folder.path("1.h5")), try HDF5Archive(folder.path("3.h5")))
    for (index, exit) in try expected.get()["exits"].list.enumerated() {
      let probabilities: Tensor<Double> = try one.read("/exits/\(index)/probabilities", as: Double.self)
      // Keras computes in single precision.
      expectClose(probabilities, exit["ensemble"].tensor(), tolerance: 1e-6)
      #expect(try three.read("/exits/\(index)/probabilities", as: Double.self) == probabilities)
      #expect(try one.read("/exits/\(index)/epistemic", as: Double.self).elements.allSatisfy { $0 > 1e-4 })
    }
    let told = try await folder.succeed("inspect", "ensemble.h5").output
    for member in members { #expect(told.contains(try FileDigest.sha256(ofFile: member))) }
    #expect(told.contains("Ensemble of 3 networks"))
    let report = try await folder.succeed(
      "evaluate", members[0], "ensemble.h5", "--data", rows, "--json", "report.json")
    #expect(report.output.contains("ensemble"))
    let models = try Report(json: folder.bytes("report.json"), file: "report.json").models
    #expect(models.map(\.kind.name) == ["map", "ensemble of 3"])
    // Three networks of one size.
    let costs = models.map { $0.exits.compactMap(\.multiplyAdds) }
    #expect(costs[1] == costs[0].map { 3 * $0 })
  }

  @Test func dropoutIsThatOfKeras() async throws {
    let folder = try TestFolder()
    let draws = 2000
    try await folder.succeed(
      "fit", "dropout", members[0], "--draws", "\(draws)", "--seed", "11", "-o", "dropout.h5", "--quiet")
    try await folder.succeed("predict", "dropout.h5", "--data", rows, "-o", "predictions.h5", "--quiet")
    let predictions = try HDF5Archive(folder.path("predictions.h5"))
    let golden = try expected.get()
    let theirDraws = golden["draws"].number
    var (worst, count) = (0.0, 0)
    for (index, exit) in golden["exits"].list.enumerated() {
      for (array, mean, variance) in [
        ("probabilities", "mean", "variance"), ("aleatoric", "entropy", "entropyVariance"),
      ] {
        let ours = try predictions.read("/exits/\(index)/\(array)", as: Double.self)
        let (theirs, spread): (Tensor<Double>, Tensor<Double>) = (exit[mean].tensor(), exit[variance].tensor())
        try #require(ours.shape == theirs.shape)
        for position in 0..<ours.count {
          let error = (spread[position] * (1 / Double(draws) + 1 / theirDraws)).squareRoot()
          worst = max(worst, abs(ours[position] - theirs[position]) / error)
          count += 1
        }
      }
    }
    // Of 120 numbers the largest is beyond 4.5 standard errors once in a thousand seeds.
    #expect(count == 120 && worst < 4.5, "\(worst) standard errors")
  }

  @Test func dropoutDependsOnTheSeedAloneAndIsTempered() async throws {
    let folder = try TestFolder()
    for (name, seed) in [("a", "1"), ("b", "1"), ("c", "2")] {
      try await folder.succeed(
        "fit", "dropout", members[0], "--draws", "16", "--seed", seed, "-o", "\(name).h5", "--quiet")
    }
    #expect(try folder.bytes("a.h5") == folder.bytes("b.h5"))
    func epistemic(_ posterior: String, _ options: String...) async throws -> Tensor<Double> {
      let run = try await folder.run(
        ["predict", posterior, "--data", rows, "-o", "p.h5", "--force", "--quiet"] + options)
      #expect(run.exitCode == 0, "\(run.testDescription)")
      return try HDF5Archive(folder.path("p.h5")).read("/exits/1/epistemic", as: Double.self)
    }
    let all = try await epistemic("a.h5", "--threads", "1")
    #expect(try await epistemic("a.h5", "--threads", "3", "--batch", "2") == all)
    #expect(try await epistemic("a.h5", "--rows", "5:8") == all.rows(5..<8))
    #expect(try await epistemic("c.h5") != all)
    let told = try await folder.succeed("inspect", "a.h5").output
    for words in ["Monte Carlo dropout, 16 draws", "channels: rate 0.3", "columns: rate 0.25", "units: rate 0.4"] {
      #expect(told.contains(words))
    }
    // These rows have random labels, of which a higher temperature makes more.
    let run = try await folder.succeed(
      "fit", "dropout", members[0], "--draws", "16", "--validation", rows, "-o", "tempered.h5", "--json", "--quiet")
    struct Fitted: Decodable {
      struct Exit: Decodable {
        var temperature: Double
        var validationNLL: Double
        var untemperedNLL: Double
      }
      var exits: [Exit]
    }
    let fitted = try JSONDecoder().decode(Fitted.self, from: Data(run.output.utf8))
    #expect(fitted.exits.allSatisfy { $0.temperature > 1 && $0.validationNLL < $0.untemperedNLL })
    try await folder.succeed("evaluate", "tempered.h5", "--data", rows, "--json", "report.json")
    let models = try Report(json: folder.bytes("report.json"), file: "report.json").models
    #expect(models.map(\.kind.name) == ["map", "dropout, 16 draws"])
    for (exit, chosen) in zip(models[1].exits, fitted.exits) {
      expectClose(exit.nll, chosen.validationNLL, tolerance: 1e-6)
    }
  }

  @Test func otherModelsAreRefused() async throws {
    let folder = try TestFolder()
    try await folder.refuse(
      "fit", "dropout", golden("SampledNetworks/no-rate.keras"), "-o", "x.h5", code: 65, naming: "no-rate.keras",
      "rate zero")
    try await folder.refuse(
      "fit", "dropout", Digits.checkpoint, "-o", "x.h5", code: 65, naming: "digits.h5", "no dropout layer")
    for (other, words) in [
      ("other-classes.keras", "know the same classes"), ("other-rows.keras", "take the same rows"),
      ("one-exit.keras", "have the same exits"), ("one.h5", "the same as"),
    ] {
      try await folder.refuse(
        "fit", "ensemble", members[0], members[1], golden("SampledNetworks/\(other)"), "-o", "x.h5", code: 65,
        naming: other, words)
    }
    try await folder.refuse("fit", "ensemble", members[0], "-o", "x.h5", code: 64, naming: "two members")
    try await folder.refuse(
      "fit", "dropout", members[0], "--draws", "1", "-o", "x.h5", code: 64, naming: "from 2 to 10000")
    try await folder.refuse(
      "fit", "dropout", members[0], "--validation-rows", "0:2", "-o", "x.h5", code: 64,
      naming: "--validation-rows is for")
  }

  @Test func recordsAndMembersThatHaveChangedAreRefused() async throws {
    let folder = try TestFolder()
    for (index, member) in members.enumerated() {
      try FileManager.default.copyItem(
        atPath: member, toPath: folder.path("\(index).\(URL(filePath: member).pathExtension)"))
    }
    try await folder.succeed("fit", "ensemble", "0.h5", "1.keras", "2.keras", "-o", "ensemble.h5", "--quiet")
    try await folder.succeed("extract", "0.h5", "--data", rows, "-o", "records.h5", "--quiet")
    try await folder.refuse(
      "predict", "ensemble.h5", "--data", "records.h5", "-o", "p.h5", code: 65, naming: "records.h5", "give the data")
    try await folder.refuse("export", "ensemble.h5", "-o", "s.npz", code: 65, naming: "ensemble.h5", "last layers")
    try await folder.refuse(
      "predict", "ensemble.h5", "--data", rows, "--joint-covariance", "-o", "p.h5", code: 65,
      naming: "last-layer posterior")
    try await folder.refuse(
      "exits", "tune", "ensemble.h5", "--validation", rows, "--budget", "5000", "-o", "policy.json", code: 65,
      naming: "rows.h5", "an ensemble or dropout is several")
    try FileManager.default.removeItem(atPath: folder.path("2.keras"))
    try await folder.refuse(
      "predict", "ensemble.h5", "--data", rows, "-o", "p.h5", code: 65, naming: "'2.keras' of the ensemble is not there"
    )
    try FileManager.default.copyItem(atPath: members[1], toPath: folder.path("2.keras"))
    try await folder.refuse(
      "predict", "ensemble.h5", "--data", rows, "-o", "p.h5", code: 65, naming: "2.keras is another file")
    // In another folder members lie beside the posterior.
    try FileManager.default.removeItem(atPath: folder.path("2.keras"))
    try FileManager.default.createDirectory(atPath: folder.path("moved"), withIntermediateDirectories: false)
    for name in ["0.h5", "1.keras", "ensemble.h5"] {
      try FileManager.default.moveItem(atPath: folder.path(name), toPath: folder.path("moved/" + name))
    }
    try FileManager.default.copyItem(atPath: members[2], toPath: folder.path("moved/2.keras"))
    try await folder.succeed("predict", "moved/ensemble.h5", "--data", rows, "-o", "p.h5", "--quiet")
  }
}
