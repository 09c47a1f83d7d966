import BayesEvaluation
import Testing

/// Spearman's coefficient beside SciPy's.
struct RankCorrelationTests {
  @Test func coefficientsAreThoseOfSciPy() throws {
    // scipy.stats.spearmanr of SciPy 1.17.1.
    let cases: [([Double], [Double], Double)] = [
      ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.8207826816681233),
      ([1, 2, 2, 3], [10, 8, 9, 1], -0.9486832980505138),
      ([0.1, 0.4, 0.2], [1, 3, 2], 1),
    ]
    for (a, b, expected) in cases {
      #expect(abs(try #require(RankCorrelation.spearman(a, b)) - expected) < 1e-12)
    }
    #expect(RankCorrelation.spearman([1], [1]) == nil)
    #expect(RankCorrelation.spearman([1, 1], [1, 2]) == nil)
  }
}
