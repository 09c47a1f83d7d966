import BayesTensor
import Testing

@Suite struct SignificantDigitsTests {
  @Test(arguments: [
    (0.260136932, "0.2601"), (56_234_132.5, "56230000"), (2.39132, "2.391"), (-0.000123456, "-0.0001235"),
    (1, "1"), (0, "0.0"), (1e-300, "1e-300"), (.infinity, "inf"), (99_999.9, "100000"), (1.2344e20, "1.234e+20"),
  ] as [(Double, String)])
  func numbersAreShortened(value: Double, text: String) { #expect(value.significantDigits() == text) }
}
