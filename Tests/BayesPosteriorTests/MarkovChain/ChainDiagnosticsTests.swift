import BayesTensor
import Testing
import _BayesTestSupport

@testable import BayesPosterior

struct ChainDiagnosticsTests {
  @Test func numbersAreThoseOfArviz() throws {
    let golden = try GoldenValue(contentsOf: "MarkovChain/diagnostics.json")
    let sets = golden["sets"].table
    #expect(sets.count == 10)
    var counted = 0
    for (name, set) in sets {
      let chains = set["chains"].tensor(as: Double.self)
      let rows = (0..<chains.shape[0]).map { chain in (0..<chains.shape[1]).map { chains[chain, $0] } }
      let found = try #require(ChainDiagnostics(rows))
      expectClose(found.potentialScaleReduction, set["scaleReduction"].number, tolerance: 1e-12, "\(name)")
      // Of fewer draws the number is n log n, whatever the chains do.
      guard rows[0].count >= 10 else {
        #expect(found.effectiveSampleCount == nil, "\(name)")
        continue
      }
      counted += 1
      expectClose(try #require(found.effectiveSampleCount), set["sampleCount"].number, tolerance: 1e-12, "\(name)")
    }
    #expect(counted >= 6)
  }

  @Test func chainsThatHardlyMove() throws {
    #expect(ChainDiagnostics([[1, 2, 3]]) == nil)
    #expect(ChainDiagnostics([[1, 2, 3, 4]])?.effectiveSampleCount == nil)
    let still = try #require(ChainDiagnostics([[Double]](repeating: Array(repeating: 2, count: 10), count: 2)))
    #expect(still.potentialScaleReduction == 1 && still.effectiveSampleCount == 20)
    let apart = try #require(ChainDiagnostics([1, 2].map { Array(repeating: $0, count: 8) }))
    #expect(apart.potentialScaleReduction == .infinity)
  }

  /// Two chains that agree in one row of three.
  @Test func agreementIsOverRows() throws {
    let near: [Double] = [0.1, -0.2, 0.3, -0.1, 0.2, -0.3, 0.15, -0.15]
    let chains = [0.0, 4.0].map { shift in near.map { [$0, $0 + shift, -$0 + 2 * shift] } }
    let agreement = try #require(ChainAgreement(chains))
    #expect(agreement.rowCount == 3 && agreement.disagreeingShare == 2.0 / 3)
    #expect(agreement.medianScaleReduction > 5 && agreement.medianSampleCount == nil)
    let longer = try #require(ChainAgreement(chains.map { $0 + $0 }))
    #expect(try #require(longer.medianSampleCount) < 12)
    #expect(ChainAgreement([[[1.0], [2.0]]]) == nil)
  }
}
