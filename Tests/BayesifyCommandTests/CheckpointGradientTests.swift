import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Compiled gradients of trained networks on real images, where this machine has them, against PyTorch.
@Suite(.enabled(if: TestFiles.shared != nil))
struct CheckpointGradientTests {
  private func shared(_ name: String) -> String {
    (TestFiles.shared ?? TestFiles.package).appending(path: name).path(percentEncoded: false)
  }

  /// Every tensor, to 1e-4 of its largest entry; the golden files say which entries of large ones are there.
  @Test(arguments: [
    ("resnet8", "mlperf-tiny-resnet8-cifar10.h5", Preprocessing.identity),
    (
      "msdnet", "msdnet-small-cifar10.h5",
      Preprocessing(
        scale: 255, mean: [0.4914, 0.4824, 0.4467], standardDeviation: [0.2471, 0.2435, 0.2616])
    ),
  ])
  func everyGradientIsThatOfPyTorch(name: String, file: String, preprocessing: Preprocessing) async throws {
    let expected = try HDF5Archive(golden("Gradients/checkpoint-\(name).h5"))
    let frozen = try CheckpointModel(shared("checkpoints/" + file)).frozen
    let network = frozen.network
    let data = try openDataset(shared("data/cifar10-test.h5"))
    let (rows, labels) = (try data.inputs(0..<16), try data.labels(0..<16))
    let paths = Set(
      network.nodes.indices.flatMap { node in
        let inputs = network.nodes[node].inputs.map { network.shapes[$0] }
        return network.nodes[node].layer.parameterSpecs(for: inputs).filter(\.isTrained).map {
          ParameterPath(node: network.nodes[node].name, parameter: $0.name)
        }
      })
    let plan = try NativeBackend().prepareTraining(
      frozen, preprocessing: preprocessing, outputs: network.exits.map(\.logits), of: paths)
    let actual = try await plan.gradients(at: [rows], parameters: Parameters(), width: 2) { outputs, range in
      let losses = try outputs.map { try SoftmaxCrossEntropy()($0, labels: Array(labels[range])) }
      let loss = WeightedLoss(losses, weights: losses.map { _ in 1 })
      return LossGradient(value: loss.value, cotangents: loss.cotangents)
    }
    let loss: Tensor<Double> = try expected.read("/loss", as: Double.self)
    // Logits are single: PyTorch's own loss in single is 6e-7 off that in double, this one 2e-6 by the order of oneDNN's sums.
    expectClose(actual.loss, loss[0], tolerance: 4e-6)
    #expect(paths.count == (name == "resnet8" ? 34 : 266))
    for path in paths {
      let gradient = try #require(actual.parameters[path])
      let sample = try expected.read("/gradients/\(path)", as: Float.self)
      let largest = Float(try expected.read("/largest/\(path)", as: Double.self)[0])
      #expect(largest > 0)
      let entries = (0..<sample.count).map { gradient[$0 * gradient.count / sample.count] / largest }
      expectClose(
        Tensor(shape: sample.shape, entries), sample.map { $0 / largest }, tolerance: 1e-4, "\(path)")
    }
  }
}
