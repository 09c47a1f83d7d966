import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Real networks that others trained, where this machine has them, against the outputs of Keras.
@Suite(.enabled(if: TestFiles.shared != nil))
struct KerasModelTests {
  private func checkpoint(_ file: String) throws -> any Checkpoint {
    let folder = TestFiles.shared ?? TestFiles.package
    return try openCheckpoint(folder.appending(path: "checkpoints/" + file).path(percentEncoded: false))
  }

  /// Expects the answers of Keras to `numpy.random.RandomState(0).rand(2, *input_shape)`.
  private func expectKerasOutputs(_ frozen: FrozenNetwork, _ file: String) throws {
    let golden = try GoldenValue(contentsOf: "KerasModels/\(file).json")
    let shape = Shape(golden["inputShape"].numbers.map { Int($0) })
    #expect(frozen.network.inputShape == shape.row)
    var generator = MersenneTwister(seed: 0)
    let input = generator.uniforms(shape).converted(to: Float.self)
    let exits = frozen.network.exits
    let results = frozen.network.outputs(
      of: exits.map(\.logits), for: input, parameters: frozen.parameters, on: ReferenceBackend())
    let expected = golden["outputs"].list
    #expect(exits.count == expected.count)
    for (exit, logits) in zip(exits, results) {
      let output = try #require(expected.first { $0["name"].text == exit.name })
      expectEqualsKeras(exit.answer(for: logits), output.tensor(as: Float.self), exit.name)
    }
  }

  /// File, names of the exits, width of the features of each (0: none), likelihoods.
  @Test(arguments: [
    ("mlperf-tiny-resnet8-cifar10.h5", ["dense"], [64], [.categorical]),
    ("resnet20-cifar10.h5", ["probs"], [64], [.categorical]),
    ("mini-xception-fer2013.hdf5", ["predictions"], [0], [.categorical]),
    ("outlier-exposure-mnist-baseline.h5", ["probs"], [50], [.categorical]),
    ("mtcnn-48net-full.h5", ["conv6-1", "conv6-2", "conv6-3"], [256, 256, 256], [.categorical, nil, nil]),
    ("fashion-cnn.h5", ["dense_1"], [64], [.categorical]),
    (
      "msdnet-small-cifar10.h5", ["exit1", "exit2", "exit3", "exit4"], [128, 128, 128, 128],
      [.categorical, .categorical, .categorical, .categorical]
    ),
    (
      "msdnet-small-cifar10-overfit.keras", ["exit1", "exit2", "exit3", "exit4"], [128, 128, 128, 128],
      [.categorical, .categorical, .categorical, .categorical]
    ),
    ("cifar10-cnn-keras3.keras", ["dense_1"], [64], [.categorical]),
    ("outlier-exposure-mnist-tuned.keras", ["probs"], [50], [.categorical]),
  ] as [(String, [String], [Int], [Likelihood?])])
  func importsWithTheOutputsOfKeras(
    file: String, exits: [String], widths: [Int], likelihoods: [Likelihood?]
  ) throws {
    let frozen = try FrozenNetwork(importing: try checkpoint(file))
    #expect(frozen.network.exits.map(\.name) == exits)
    #expect(frozen.network.exits.map(\.likelihood) == likelihoods)
    #expect(
      frozen.network.exits.map { $0.features.map { frozen.network.shapes[$0].elementCount } ?? 0 } == widths)
    try expectKerasOutputs(frozen, file)
  }

  @Test func weightsAloneFitTheDescriptionOfAnotherFile() throws {
    try expectKerasOutputs(
      importing(checkpoint("mtcnn-48net-weights-only.h5"), describedBy: checkpoint("mtcnn-48net-full.h5")),
      "mtcnn-48net-full.h5")
  }

  @Test func weightsAloneFitTheDescriptionInJSON() throws {
    let name = "digits-recognizer.weights.h5"
    try expectKerasOutputs(
      importing(
        checkpoint(name), describedBy: openCheckpoint(golden("KerasModels/\(name).architecture.json"))), name)
  }

  private func importing(
    _ checkpoint: some Checkpoint, describedBy other: some Checkpoint
  ) throws(FileError) -> FrozenNetwork {
    try FrozenNetwork(importing: checkpoint, describedBy: other)
  }

  @Test(arguments: [
    ("fashion-tfsm-layer.keras", "(TFSMLayer): it stands for a TensorFlow SavedModel that is not in the file"),
    ("resnet20-cifar10-state-dict.pt", "a Python pickle, as PyTorch files do, which is never run"),
    ("mtcnn-48net-weights-only.h5", "give one with --architecture FILE"),
    ("digits-recognizer.weights.h5", "give one with --architecture FILE"),
  ])
  func whatCannotBeImportedIsRefusedByName(_ file: String, _ message: String) throws {
    let error = try #require(throws: FileError.self) { try FrozenNetwork(importing: try checkpoint(file)) }
    #expect(error.message.contains(message), "\(error)")
  }
}
