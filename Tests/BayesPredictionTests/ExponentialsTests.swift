import BayesPrediction
import RealModule
import Testing

/// The exponentials of many numbers against the C library's of each.
@Suite struct ExponentialsTests {
  private func exponentials(_ values: [Double]) -> [Double] {
    var values = values
    var span = values.mutableSpan
    span.formExponentials(in: span.indices)
    return values
  }

  /// Arguments of some 1.5 million steps of three sizes: all of the range, near zero, and where results are no normal
  /// numbers.
  @Test(arguments: [(-746.0, 710.0, 0.00123), (-1.5, 1.5, 1.7e-5), (-745.5, -708.0, 3.1e-4)])
  func agreesWithTheLibrary(from: Double, to: Double, step: Double) {
    let arguments = Array(stride(from: from, to: to, by: step))
    var worst = 0.0
    for (argument, result) in zip(arguments, exponentials(arguments)) {
      let expected = Double.exp(argument)
      guard result != expected else { continue }
      worst = max(worst, abs(result - expected) / expected.ulp)
    }
    // The library's are correctly rounded nearly always, and ours within one unit.
    #expect(worst <= 1)
  }

  #if arch(x86_64) && !os(Windows)
  /// In ten more bits, errors of less than one unit show.
  @Test func errorsAreBelowOneUnit() {
    let arguments = Array(stride(from: -708.0, to: 709.5, by: 0.000_977))
    var worst: Float80 = 0
    for (argument, result) in zip(arguments, exponentials(arguments)) {
      let expected = Float80.exp(Float80(argument))
      worst = max(worst, abs(Float80(result) - expected) / Float80(Double(expected).ulp))
    }
    #expect(worst < 0.9)
    #expect(worst > 0.5)
  }
  #endif

  @Test func endsAreKept() {
    let arguments: [Double] = [
      0, -0.0, -.infinity, .infinity, -.greatestFiniteMagnitude, .greatestFiniteMagnitude, -.leastNonzeroMagnitude,
      -745.133_219_101_941_1, -745.133_219_101_941_2, -746, -708.396_418_532_264_1, 709.782_712_893_384,
      709.782_712_893_384_1,
    ]
    #expect(exponentials(arguments) == arguments.map { Double.exp($0) })
    #expect(exponentials([0, .nan, 1])[1].isNaN && exponentials([.nan])[0].isNaN)
    #expect(exponentials([]) == [])
  }

  @Test func neighboursMakeNoDifference() {
    let arguments = (0..<257).map { -0.37 * Double($0) }
    let all = exponentials(arguments)
    for first in [1, 2, 5] {
      #expect(exponentials(Array(arguments[first...])) == Array(all[first...]))
    }
    for (argument, result) in zip(arguments, all) {
      #expect(exponentials([argument]) == [result])
      #expect(exponentials([.nan, argument]).last == result)
      #expect(exponentials([argument, -800]).first == result)
    }
  }
}
