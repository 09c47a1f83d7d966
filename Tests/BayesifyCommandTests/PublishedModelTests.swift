import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Checkpoints that others published, measured on whole test sets, where this machine has them.
@Suite(.enabled(if: TestFiles.shared != nil))
struct PublishedModelTests {
  /// The published figures have three or four digits.
  private let threeDigits = 5e-4
  private let fourDigits = 5e-5
  /// Single-precision probabilities, as behind the published figures, tie where a network is saturated.
  private let tiedScores = 5e-3
  /// Today's Keras differs from the Keras of then in the last bits, which may turn one image of 10,000.
  private let oneImage = 1.001e-4

  #if DEBUG
    private let trainingRows = "0:4000"
    private let draws = "22"
  #else
    private let trainingRows = "0:20000"
    private let draws = "50"
  #endif

  private let residual = [
    "--scale", "255", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225",
  ]

  private func shared(_ name: String) -> String {
    (TestFiles.shared ?? TestFiles.package).appending(path: name).path(percentEncoded: false)
  }

  @Test func residualNetworkOfEightLayersMeasuresAsPublished() async throws {
    let exit = try await exits(
      "mlperf-tiny-resnet8-cifar10.h5", "--data", shared("data/cifar10-test.h5"))[0]
    #expect(exit.rowCount == 10_000)
    expectClose(exit.accuracy, 0.8719, tolerance: oneImage)
    // 0.407 and 0.037; today's Keras gives 0.4063.
    expectClose(exit.nll, 0.407, tolerance: 1e-3)
    expectClose(exit.ece.value, 0.037, tolerance: threeDigits)
  }

  @Test func clothesNetworkMeasuresAsPublished() async throws {
    let exit = try await exits(
      "fashion-cnn.h5", "--scale", "255", "--data", shared("data/fashion-mnist-test.h5"), "--ood",
      "mnist=" + shared("data/mnist-t10k-images-idx3-ubyte.gz"), "--ood",
      "kmnist=" + shared("data/kmnist-test-images.npy"), "--ood",
      "notmnist=" + shared("data/notmnist-t10k-images-idx3-ubyte.gz"))[0]
    expectClose(exit.accuracy, 0.892, tolerance: threeDigits)
    expectClose(exit.nll, 0.295, tolerance: threeDigits)
    expectClose(exit.ece.value, 0.007, tolerance: threeDigits)
    try expectDetection(exit, ["mnist": 0.438, "kmnist": 0.538, "notmnist": 0.697])
  }

  @Test func outlierExposureBaselineMeasuresAsPublished() async throws {
    let exit = try await exits(
      "outlier-exposure-mnist-baseline.h5", "--scale", "255", "--data",
      shared("data/mnist-t10k-images-idx3-ubyte.gz"), "--labels",
      shared("data/mnist-t10k-labels-idx1-ubyte.gz"), "--ood",
      "fashion=" + shared("data/fashion-mnist-test.h5"), "--ood",
      "kmnist=" + shared("data/kmnist-test-images.npy"), "--ood",
      "notmnist=" + shared("data/notmnist-t10k-images-idx3-ubyte.gz"))[0]
    expectClose(exit.accuracy, 0.9906, tolerance: fourDigits)
    expectClose(exit.nll, 0.028, tolerance: threeDigits)
    expectClose(exit.ece.value, 0.002, tolerance: threeDigits)
    try expectDetection(exit, ["fashion": 0.993, "kmnist": 0.971, "notmnist": 0.961])
  }

  #if DEBUG
    /// Three quarters of a minute each without optimisation.
    private static let multiScale = [("msdnet-small-cifar10.h5", "test")]
  #else
    private static let multiScale = ["msdnet-small-cifar10.h5", "msdnet-small-cifar10-overfit.keras"].flatMap { file in
      ["test", "validation"].map { (file, $0) }
    }
  #endif

  @Test(arguments: multiScale)
  func everyExitOfTheMultiScaleNetworkMeasuresAsInTraining(_ file: String, _ split: String) async throws {
    struct Numbers: Decodable {
      var accuracy: Double
      var nll: Double
      var ece15: Double
    }
    let name = file.prefix { $0 != "." } + ".measured.json"
    let measured = try JSONDecoder().decode(
      [String: Numbers].self, from: Data(contentsOf: URL(filePath: shared("checkpoints/" + name))))
    let results = try await exits(
      file, "--scale", "255", "--mean", "0.4914,0.4824,0.4467", "--std", "0.2471,0.2435,0.2616", "--data",
      shared(split == "test" ? "data/cifar10-test.h5" : "data/cifar10-validation-5k.h5"))
    #expect(results.count == 4)
    for (index, exit) in results.enumerated() {
      let expected = try #require(measured["exit\(index + 1)_\(split)"])
      #expect(exit.rowCount == (split == "test" ? 10_000 : 5_000))
      let oneImage = 1.001 / Double(exit.rowCount)
      expectClose(exit.accuracy, expected.accuracy, tolerance: oneImage)
      // The mean of single-precision losses of another program.
      expectClose(exit.nll, expected.nll, tolerance: 1e-5)
      // One image in another bin moves it by so much.
      expectClose(exit.ece.value, expected.ece15, tolerance: oneImage)
    }
  }

  @Test func residualNetworkOfTwentyLayersGivesTheKnownTable() async throws {
    let folder = try TestFolder()
    let checkpoint = shared("checkpoints/resnet20-cifar10.h5")
    func extract(_ data: String, _ output: String, _ options: String...) async throws {
      let run = try await folder.run(
        ["extract", checkpoint, "--data", shared("data/" + data), "-o", output] + residual + options)
      try #require(run.exitCode == 0, "\(run.testDescription)")
    }
    try await extract("cifar10-train-20k.h5", "train.h5", "--rows", trainingRows)
    try await extract("cifar10-test.h5", "test.h5")
    try await extract("cifar100-ood-4k.h5:x", "ood.h5")

    let whole = try await folder.report(
      checkpoint, "--data", "test.h5", "--ood", "cifar100=ood.h5").models[0].exits[0]
    expectClose(whole.accuracy, 0.9173, tolerance: fourDigits)
    expectClose(whole.nll, 0.373, tolerance: threeDigits)
    expectClose(whole.ece.value, 0.053, tolerance: threeDigits)
    try expectDetection(whole, ["cifar100": 0.859])

    let forms = ["kronecker", "kronecker-folded", "kronecker-factored"]
    for form in forms {
      try await folder.succeed(
        "fit", "laplace", "train.h5", "--validation", "test.h5", "--validation-rows", "0:5000", "--form", form,
        "--draws", draws, "-o", form + ".h5")
    }
    let report = try await folder.report(
      [checkpoint] + forms.map { $0 + ".h5" } + [
        "--data", "test.h5", "--rows", "5000:10000", "--validation", "test.h5", "--validation-rows", "0:5000",
        "--ood", "cifar100=ood.h5",
      ])
    #expect(report.warnings.allSatisfy { !$0.contains("recur") })
    let rows = report.models.map { $0.exits[0] }
    #expect(report.models.map(\.name) == ["resnet20-cifar10", "resnet20-cifar10 + temperature"] + forms)
    #expect(rows.allSatisfy { $0.rowCount == 5000 })
    let (map, temperature) = (rows[0], rows[1])
    expectClose(map.nll, 0.3464, tolerance: fourDigits)
    expectClose(map.ece.value, 0.0515, tolerance: fourDigits)
    expectClose(try #require(temperature.settings["temperature"]), 2.385, tolerance: threeDigits)
    expectClose(temperature.nll, 0.2366, tolerance: fourDigits)
    expectClose(temperature.ece.value, 0.0108, tolerance: fourDigits)
    let best = try #require(rows[2...].min { $0.nll < $1.nll })
    #expect(best.nll < temperature.nll + 0.002)
    #expect(best.ece.value < 0.015)

    // Validation rows that the network was trained on are noticed by their digests and by its accuracy.
    let memorised = try await folder.succeed(
      "fit", "laplace", "train.h5", "--validation", "train.h5", "--validation-rows", "0:1000", "--draws", "22",
      "-o", "memorised.h5")
    #expect(memorised.errors.contains("1000 of the 1000 validation rows (train.h5) recur among the training rows"))
    #expect(memorised.errors.contains("as on those it was trained on"))
  }

  private func exits(_ checkpoint: String, _ options: String...) async throws -> [ExitResult] {
    try await TestFolder().report([shared("checkpoints/" + checkpoint)] + options).models[0].exits
  }

  private func expectDetection(_ exit: ExitResult, _ published: [String: Double]) throws {
    #expect(Set(exit.ood.map(\.name)) == Set(published.keys))
    for foreign in exit.ood {
      expectClose(
        try #require(foreign.scores["maximumProbability"]).auroc, try #require(published[foreign.name]),
        tolerance: tiedScores, foreign.name)
    }
  }
}
