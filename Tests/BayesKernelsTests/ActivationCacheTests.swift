import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// What a frozen prefix gives, computed once.
@Suite struct ActivationCacheTests {
  private struct Rows: Dataset {
    let tensor: Tensor<Float>
    var file: String { "memory" }
    var rowCount: Int { tensor.rowCount }
    var rowShape: Shape { tensor.shape.row }
    var hasLabels: Bool { false }
    func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch { RowBatch(tensor.rows(rows)) }
    func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { [] }
  }

  @Test func gradientsFromTheCacheAreThoseFromTheInput() async throws {
    let frozen = try StagedNetworkTests.network()
    let outputs = frozen.network.exits.map(\.logits)
    let lastExit = frozen.network.nodes[outputs[2]].name
    let paths: Set<ParameterPath> = [
      ParameterPath("\(lastExit)/weight"), ParameterPath("\(lastExit)/bias"),
      // The convolution across before the last exit.
      ParameterPath("\(frozen.network.nodes[outputs[2] - 3].name)/weight"),
    ]
    let boundary = try frozen.network.frozenBoundary(of: outputs, training: paths)
    #expect(!boundary.contains(0) && boundary.contains(outputs[0]) && boundary.contains(outputs[1]))
    let backend = try NativeBackend()
    let input = RandomKey(seed: 6).normals([300, 8, 8, 3], as: Float.self)
    let inMemory = try await ActivationCache(
      of: boundary, in: frozen, over: Rows(tensor: input), preprocessing: .identity, on: backend, width: 2)
    let archive = MemoryArchive()
    try await ActivationCache.write(
      boundary, of: frozen, over: Rows(tensor: input), preprocessing: .identity, on: backend, width: 2, to: archive)
    let read = try ActivationCache(reading: archive, of: boundary, in: frozen.network)

    let whole = try backend.prepareTraining(frozen, outputs: outputs, of: paths)
    let rest = try backend.prepareTraining(
      frozen, preprocessing: .identity, inputs: boundary, outputs: outputs, of: paths, includingInputs: false)
    let rows = 250..<290
    let expected = try await whole.gradients(
      at: [RowBatch(input.rows(rows))], parameters: Parameters(), width: 2, of: TrainingPlanTests.loss)
    for cache in [inMemory, read] {
      #expect(cache.rowCount == 300)
      let actual = try await rest.gradients(
        at: cache.rows(rows), parameters: Parameters(), width: 2, of: TrainingPlanTests.loss)
      for path in paths {
        guard let a = actual.parameters[path], let b = expected.parameters[path] else { continue }
        expectClose(a, b, tolerance: 1e-3, "\(path)")
      }
      #expect(abs(actual.loss - expected.loss) < 1e-4 * expected.loss)
    }
  }

  @Test func aCacheOfOtherNodesIsRefused() async throws {
    let frozen = try StagedNetworkTests.network()
    let archive = MemoryArchive()
    try await ActivationCache.write(
      [2, 4], of: frozen, over: Rows(tensor: Tensor(zeros: [3, 8, 8, 3])), preprocessing: .identity,
      on: ReferenceBackend(), width: 1, to: archive)
    #expect(throws: FileError.self) { try ActivationCache(reading: archive, of: [4, 2], in: frozen.network) }
    #expect(throws: FileError.self) { try ActivationCache(reading: archive, of: [2, 4, 5], in: frozen.network) }
  }
}
