import Foundation
import Testing

@testable import BayesTensor

/// Normal numbers in single precision, many at once.
struct NormalStreamTests {
  private func numbers(_ count: Int, seed: UInt64 = 5) -> [Float] {
    var numbers = [Float](repeating: .nan, count: count)
    var span = numbers.mutableSpan
    RandomKey(seed: seed).fillNormals(&span)
    return numbers
  }

  /// Those of the same bits by the C library, in double precision.
  @Test func numbersAreThoseOfBoxAndMuller() {
    let key = RandomKey(seed: 5)
    let numbers = numbers(20_000)
    for block in stride(from: 0, to: 20_000, by: 256) {
      let generator = Philox(key: (key.low, key.high))
      for pair in 0..<min(128, (20_000 - block) / 2) {
        let words = generator.block((UInt64((block / 2 + pair) / 4), 0, 0, 0))
        let bits = [words.0, words.1, words.2, words.3][pair % 4]
        let uniform = (Double(bits >> 32) + 0.5) * 0x1p-32
        let radius = (-2 * log(uniform)).squareRoot()
        let angular = UInt32(truncatingIfNeeded: bits)
        let angle = Double.pi / 2 * Double(angular >> 30) + Double.pi / 4 * Double(Int32(bitPattern: angular << 2)) * 0x1p-31
        #expect(abs(Double(numbers[block + pair]) - radius * cos(angle)) < 2e-6)
        if block + 128 + pair < 20_000 { #expect(abs(Double(numbers[block + 128 + pair]) - radius * sin(angle)) < 2e-6) }
      }
    }
  }

  @Test func momentsAreThoseOfTheNormalDistribution() {
    let numbers = numbers(400_000, seed: 11).map(Double.init)
    let count = Double(numbers.count)
    for (power, moment, variance) in [(1.0, 0.0, 1.0), (2, 1, 2), (3, 0, 15), (4, 3, 96)] {
      let mean = numbers.reduce(0) { $0 + pow($1, power) } / count
      #expect(abs(mean - moment) < 4.5 * (variance / count).squareRoot(), "moment \(power): \(mean)")
    }
    // Kolmogorov's distance from the normal distribution, below its 99.9 % point.
    let sorted = numbers.sorted()
    let distance = sorted.enumerated().reduce(0) { largest, one in
      let expected = 0.5 * erfc(-one.element / 2.0.squareRoot())
      return max(largest, abs(expected - Double(one.offset) / count), abs(expected - Double(one.offset + 1) / count))
    }
    #expect(distance < 1.95 / count.squareRoot())
    // Neighbours and pairs are not correlated.
    for lag in [1, 128] {
      let product = (0..<numbers.count - lag).reduce(0) { $0 + numbers[$1] * numbers[$1 + lag] } / count
      #expect(abs(product) < 4.5 / count.squareRoot())
    }
  }

  @Test func numbersDoNotDependOnHowManyFollow() {
    let many = numbers(1000)
    for count in [0, 1, 7, 128, 129, 255, 256, 257, 999] { #expect(numbers(count) == Array(many.prefix(count))) }
    #expect(numbers(64, seed: 6) != numbers(64))
  }
}
