import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Ensembles of scaled layers on networks that answer at every pixel, and anomalies within test images.
struct LatentSegmentationTests {
  private enum Shapes {
    static let checkpoint = path("shapes.h5")
    static let training = path("train.h5")
    static let validation = path("validation.h5")
    static let test = path("test.h5")
    static let anomaly = ["--anomaly-label", "4"]

    static func path(_ name: String) -> String {
      TestFiles.package.appending(path: "Models/shapes-segmentation/\(name)").path(percentEncoded: false)
    }

    static func golden(_ name: String) throws -> GoldenValue {
      try JSONDecoder().decode(GoldenValue.self, from: Data(contentsOf: URL(filePath: path(name))))
    }
  }

  private func report(_ name: String, in folder: TestFolder) throws -> Report {
    try Report(json: folder.bytes(name), file: name)
  }

  // MARK: - The network, by Keras

  @Test func probabilitiesAreThoseOfKeras() async throws {
    let folder = try TestFolder()
    try await folder.succeed("predict", Shapes.checkpoint, "--data", Shapes.test, "--rows", "0:2", "--ignore-label", "4", "-o", "p.h5")
    let found = try HDF5Archive(folder.path("p.h5")).read("/exits/0/probabilities", as: Float.self)
    #expect(found.shape == [2, 48, 48, 4])
    let golden = try Shapes.golden("golden.json")["probabilities"]["everyFourthPixel"].numbers
    var position = 0
    for row in 0..<2 {
      for y in stride(from: 0, to: 48, by: 4) {
        for x in stride(from: 0, to: 48, by: 4) {
          for k in 0..<4 {
            #expect(abs(Double(found[((row * 48 + y) * 48 + x) * 4 + k]) - golden[position]) < 1e-5)
            position += 1
          }
        }
      }
    }
  }

  /// Accuracy, likelihood, calibration, mean intersection over union and both ways of telling anomalies apart, by NumPy
  /// from the probabilities of Keras.
  @Test func numbersAreThoseOfNumPy() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      ["evaluate", Shapes.checkpoint, "--data", Shapes.test, "--json", "r.json", "--html", "r.html", "--quiet"] + Shapes.anomaly)
    let exit = try report("r.json", in: folder).models[0].exits[0]
    let measured = try Shapes.golden("measured.json")
    let (test, anomalies) = (measured["test"], measured["anomalies"])
    expectClose(exit.accuracy, test["accuracy"].number, tolerance: 2e-5)
    expectClose(exit.nll, test["nll"].number, tolerance: 1e-4)
    expectClose(exit.ece.value, test["ece15"].number, tolerance: 1e-4)
    expectClose(try #require(exit.details?.overlap?.mean), test["mIoU"].number, tolerance: 1e-4)
    let set = try #require(exit.ood.first)
    #expect(set.name == "anomalies" && set.rowCount == Int(anomalies["pixels"].number))
    expectClose(try #require(set.scores["maximumProbability"]).auroc, anomalies["aurocPooled"].number, tolerance: 1e-5)
    let perImage = try #require(set.perImage?["maximumProbability"])
    #expect(perImage.imageCount == Int(anomalies["images"].number))
    expectClose(perImage.auroc, anomalies["aurocPerImage"].number, tolerance: 1e-5)
    let page = String(decoding: try folder.bytes("r.html"), as: UTF8.self)
    #expect(page.contains("Within each image") && page.contains("Pixel by pixel"))
  }

  // MARK: - Ensembles

  /// A conversion that changes nothing gives the checkpoint's numbers, and its pictures.
  @Test func identityIsTheCheckpoint() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "latent", Shapes.checkpoint, "--data", Shapes.training, "--control", "identity", "--layers",
      "aspp_2,aspp_4,aspp_join,decoder_conv,classifier", "-o", "identity.h5", "--quiet")
    try await folder.succeed(
      ["evaluate", Shapes.checkpoint, "identity.h5", "--data", Shapes.test, "--rows", "0:6", "--json", "r.json", "--quiet"]
        + Shapes.anomaly)
    let report = try report("r.json", in: folder)
    let exits = report.models.map { $0.exits[0] }
    #expect(exits[1].accuracy == exits[0].accuracy && exits[1].uncertainty.epistemic < 1e-9)
    expectClose(exits[1].nll, exits[0].nll, tolerance: 1e-6)
    let maps = try #require(report.pixelMaps)
    // Every second image has anomalies.
    #expect(Set(maps.prefix(3).map(\.row)) == [1, 3, 5] && maps.count == 4 && maps[3].anomalousShare == 0)
    #expect(maps.allSatisfy { $0.models.count == 2 && $0.models[0].classes == $0.models[1].classes && $0.image != nil })
  }

  @Test func pixelsAreFittedPredictedAndMeasured() async throws {
    let folder = try TestFolder()
    func fit(_ name: String, _ options: String...) async throws -> CommandRun {
      try await folder.succeed(
        ["fit", "latent", Shapes.checkpoint, "--data", Shapes.training, "--rows", "0:20", "--layers", "decoder_conv,classifier",
         "--warm-up-steps", "20", "--epochs", "2", "--batch-rows", "8", "--statistics-rows", "8", "-o", name, "--quiet"] + options)
    }
    _ = try await fit("latent.h5", "--validation", Shapes.validation, "--validation-rows", "0:4")
    let posterior = try SampledNetworkPosterior(from: HDF5Archive(folder.path("latent.h5")))
    #expect(posterior.source.positions == [48, 48] && posterior.exits[0].temperature != 1)
    for threads in ["1", "3"] {
      _ = try await fit("\(threads).h5", "--threads", threads)
      try await folder.succeed(
        "predict", "\(threads).h5", "--data", Shapes.test, "--rows", "0:5", "--ignore-label", "4", "--threads", threads, "-o",
        "p\(threads).h5", "--quiet")
    }
    #expect(try folder.bytes("1.h5") == folder.bytes("3.h5") && folder.bytes("p1.h5") == folder.bytes("p3.h5"))
    let predictions = try HDF5Archive(folder.path("p1.h5"))
    #expect(predictions.entry("/exits/0/probabilities")?.shape == [5, 48, 48, 4])
    #expect(predictions.entry("/exits/0/epistemic")?.shape == [5, 48, 48])

    // Pixels that are passed over are passed over of every model, and the network's numbers are its own alone.
    for (name, models) in [("both", [Shapes.checkpoint, "latent.h5"]), ("alone", [Shapes.checkpoint])] {
      try await folder.succeed(
        ["evaluate"] + models + [
          "--data", Shapes.test, "--rows", "0:5", "--ignore-label", "4", "--json", name + ".json", "--quiet",
        ])
    }
    let (both, alone) = (try report("both.json", in: folder), try report("alone.json", in: folder))
    #expect(both.models[0].exits == alone.models[0].exits)
    #expect(both.models[1].exits[0].rowCount == both.models[0].exits[0].rowCount)
    #expect(both.models[1].exits[0].uncertainty.epistemic > 1e-6)
    #expect(both.pixelMaps?.first?.models.map { $0.mutualInformation != nil } == [false, true])
  }

  // MARK: - Refusals

  @Test func labelsThatAreNoAnomaliesAreRefused() async throws {
    let folder = try TestFolder()
    let evaluate = ["evaluate", Shapes.checkpoint, "--data", Shapes.test, "--json", "r.json"]
    for (options, code, words) in [
      (["--anomaly-label", "2"], 65, "Label 2 is a class"), (["--anomaly-label", "5", "--ignore-label", "4"], 65, "No label is 5"),
      (["--anomaly-label", "4", "--ignore-label", "4"], 64, "both 4"), (["--anomaly-label", "-1"], 64, "--anomaly-label"),
      (["--anomaly-label", "4", "--ood", "anomalies=" + Shapes.test + ":x"], 64, "Two foreign sets"), ([], 65, "has label 4"),
      (["--anomaly-label", "4", "--fail-if", "auroc:others<0.5"], 64, "no --ood"),
    ] as [([String], Int32, String)] {
      let run = try await folder.run(evaluate + options)
      #expect(run.exitCode == code && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names.isEmpty)
    }
    let run = try await folder.run(evaluate + ["--quiet", "--fail-if", "auroc:anomalies<0.99"] + Shapes.anomaly)
    #expect(run.exitCode == 1 && run.errors.contains("anomalies"), "\(run.testDescription)")
  }
}
