@testable import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Networks in bfloat16: refused in words where the processor has none, close to `Float` wherever it runs.
@Suite struct InferencePrecisionTests {
  @Test(.enabled(if: !InferencePrecision.bfloat16.isSupported)) func isRefusedWithoutTheInstructions() {
    let error = #expect(throws: NumericalError.self) { try NativeBackend(precision: .bfloat16) }
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains("bfloat16 needs a processor with AMX") == true)
    #expect(error?.message.contains("use float32") == true)
  }

  /// The library takes the permission anywhere, and where it uses it, factors are off by 2⁻⁹ at most.
  @Test func outputsAreThoseOfFloatUpToRounding() async throws {
    var builder = NetworkBuilder(input: [8, 8, 16])
    builder.add(Convolution(filters: 32, window: Extent2D(height: 3, width: 3), padding: .same))
    builder.add(Activation(.plainReLU))
    builder.add(Convolution(filters: 32, window: Extent2D(height: 1, width: 1)))
    builder.add(GlobalPooling(.average))
    let last = builder.add(Dense(units: 10))
    let frozen = try builder.frozen()
    let rows = RowBatch(RandomKey(seed: 2).normals([9, 8, 8, 16], as: Float.self))
    var results: [Tensor<Float>] = []
    for precision in InferencePrecision.allCases {
      let prepared = try NativePreparedNetwork(
        frozen, map: nil, inputs: [0], outputs: [last], sliceRowCount: nil, WorkMemories(),
        Engine(precision: precision))
      results.append(try await prepared([rows], width: 2)[0])
    }
    expectClose(results[1], results[0], tolerance: 0.02)
  }

  @Test func floatIsAlwaysThere() throws {
    #expect(InferencePrecision.float32.isSupported)
    #expect(try NativeBackend(precision: .float32).name == "native")
  }
}
