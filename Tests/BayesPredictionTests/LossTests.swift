import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Losses and their derivatives against PyTorch's, and where they are refused.
@Suite struct LossTests {
  private static func golden(_ name: String) throws -> GoldenValue {
    try GoldenValue(contentsOf: "Gradients/losses.json")[name]
  }

  private func labels(_ golden: GoldenValue) -> [Int] { golden["labels"].numbers.map { Int($0) } }

  private func expect(
    _ loss: LossValue<Double>, _ golden: GoldenValue, sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) {
    // Sums of six rows in two orders, and PyTorch's p − 1, which loses the digits below 1e-16.
    expectClose(loss.value, golden["value"].number, tolerance: 1e-15, sourceLocation: sourceLocation)
    expectClose(loss.cotangent, golden["cotangent"].tensor(), tolerance: 1e-15, sourceLocation: sourceLocation)
  }

  @Test(arguments: ["small", "large"]) func softmaxIsThatOfPyTorch(size: String) throws {
    let golden = try Self.golden("softmax-\(size)")
    expect(try SoftmaxCrossEntropy()(golden["outputs"].tensor(), labels: labels(golden)), golden)
  }

  @Test(arguments: ["small", "large"]) func sigmoidIsThatOfPyTorch(size: String) throws {
    let binary = try Self.golden("binary-\(size)")
    expect(try SigmoidCrossEntropy()(binary["outputs"].tensor(), labels: labels(binary)), binary)
    let multilabel = try Self.golden("multilabel-\(size)")
    expect(
      try SigmoidCrossEntropy()(multilabel["outputs"].tensor(), targets: multilabel["targets"].tensor()),
      multilabel)
  }

  @Test func gaussianIsThatOfPyTorch() throws {
    let golden = try Self.golden("gaussian")
    let loss = GaussianNegativeLogLikelihood(variance: golden["variance"].number)
    expect(try loss(golden["outputs"].tensor(), targets: golden["targets"].tensor()), golden)
  }

  @Test func extremeLogitsKeepTheirDigits() throws {
    let certain = try SoftmaxCrossEntropy()(Tensor<Float>(shape: [1, 2], [1e30, -1e30]), labels: [0])
    #expect(certain == LossValue(value: 0, cotangent: Tensor(zeros: [1, 2])))
    let wrong = try SoftmaxCrossEntropy()(Tensor<Double>(shape: [1, 2], [1e30, -1e30]), labels: [1])
    #expect(wrong == LossValue(value: 2e30, cotangent: Tensor(shape: [1, 2], [1, -1])))
    // log(1 + e⁻⁵⁰) is e⁻⁵⁰ to 22 digits; a difference of logarithms or of p and one would be zero.
    let tail = Double.exp(-50)
    let nearly = try SoftmaxCrossEntropy()(Tensor<Double>(shape: [1, 2], [20, -30]), labels: [0])
    #expect(nearly == LossValue(value: tail, cotangent: Tensor(shape: [1, 2], [-tail, tail])))
    let binary = try SigmoidCrossEntropy()(Tensor<Double>(shape: [2, 1], [50, -50]), labels: [1, 0])
    #expect(binary == LossValue(value: 2 * tail, cotangent: Tensor(shape: [2, 1], [-tail, tail])))
    let far = try SigmoidCrossEntropy()(Tensor<Float>(shape: [1, 1], [-1e30]), labels: [1])
    #expect(far == LossValue(value: Double(Float(1e30)), cotangent: Tensor(shape: [1, 1], [-1])))
  }

  @Test func oneLogitIsASoftmaxOfTwo() throws {
    let one = try SigmoidCrossEntropy()(Tensor<Double>(shape: [2, 1], [0.7, -1.3]), labels: [1, 1])
    let two = try SoftmaxCrossEntropy()(Tensor<Double>(shape: [2, 2], [0, 0.7, 0, -1.3]), labels: [1, 1])
    expectClose(one.value, two.value, tolerance: 1e-15)
    expectClose(
      one.cotangent, Tensor(shape: [2, 1], [two.cotangent[0, 1], two.cotangent[1, 1]]), tolerance: 1e-15)
  }

  @Test func exitsAreSummedByWeight() throws {
    let losses = [
      LossValue(value: 2, cotangent: Tensor<Float>(shape: [1, 2], [1, -1])),
      LossValue(value: 3, cotangent: Tensor<Float>(shape: [1, 1], [4])),
    ]
    let sum = WeightedLoss(losses, weights: [0.5, 1])
    #expect(sum.value == 4)
    #expect(sum.cotangents == [Tensor(shape: [1, 2], [0.5, -0.5]), Tensor(shape: [1, 1], [4])])
  }

  @Test func noRowsLoseNothing() throws {
    let loss = try SoftmaxCrossEntropy()(Tensor<Float>(zeros: [0, 3]), labels: [])
    #expect(loss == LossValue(value: 0, cotangent: Tensor(zeros: [0, 3])))
  }

  // MARK: Refusals

  private func refusal(_ body: () throws -> LossValue<Float>) -> LossError? {
    #expect(throws: LossError.self) { _ = try body() }
  }

  @Test func labelsThatNameNoClassAreRefused() {
    let outputs = Tensor<Float>(zeros: [2, 3])
    for label in [-1, 3, .max] {
      let error = refusal { try SoftmaxCrossEntropy()(outputs, labels: [0, label]) }
      #expect(error?.code == .label && error?.row == 1)
      #expect(
        error?.message
          == "Row 1 of the batch has label \(label); there are 3 classes, so labels are 0 to 2.")
    }
    let error = refusal { try SigmoidCrossEntropy()(Tensor(zeros: [1, 1]), labels: [2]) }
    #expect(error?.message == "Row 0 of the batch has label 2; there are 2 classes, so labels are 0 to 1.")
  }

  @Test func targetsOutOfRangeAreRefused() {
    let outputs = Tensor<Float>(zeros: [2, 2])
    let error = refusal { try SigmoidCrossEntropy()(outputs, targets: Tensor(shape: [2, 2], [0, 1, 0.5, 1.5])) }
    #expect(error?.code == .label && error?.row == 1)
    #expect(
      error?.message
        == "Target 1 of row 1 of the batch is 1.5; Sigmoid cross-entropy takes numbers from 0.0 to 1.0.")
    for wrong in [Double.nan, .infinity] {
      let targets = Tensor(shape: [2, 2], [0, wrong, 0, 0])
      #expect(refusal { try SigmoidCrossEntropy()(outputs, targets: targets) }?.row == 0)
      let error = refusal { try GaussianNegativeLogLikelihood()(outputs, targets: targets) }
      #expect(error?.message.hasSuffix("is \(wrong); A Gaussian likelihood takes finite numbers.") == true)
    }
  }

  @Test func outputsThatAreNotFiniteAreRefused() {
    for wrong in [Float.nan, .infinity, -.infinity] {
      let outputs = Tensor<Float>(shape: [2, 2], [0, 0, 0, wrong])
      let errors = [
        refusal { try SoftmaxCrossEntropy()(outputs, labels: [0, 0]) },
        refusal { try SigmoidCrossEntropy()(outputs, targets: Tensor(zeros: [2, 2])) },
        refusal { try GaussianNegativeLogLikelihood()(outputs, targets: Tensor(zeros: [2, 2])) },
      ]
      for error in errors {
        #expect(error?.code == .output && error?.row == 1)
        #expect(error?.message.hasPrefix("Output 1 of row 1 of the batch is \(wrong);") == true)
      }
    }
  }

  @Test func shapesMustFit() {
    let outputs = Tensor<Float>(zeros: [2, 3])
    let errors = [
      refusal { try SoftmaxCrossEntropy()(outputs, labels: [0]) },
      refusal { try SoftmaxCrossEntropy()(Tensor(zeros: [6]), labels: [0]) },
      refusal { try SoftmaxCrossEntropy()(Tensor(zeros: [1, 0]), labels: [0]) },
      refusal { try SigmoidCrossEntropy()(outputs, labels: [0, 1]) },
      refusal { try SigmoidCrossEntropy()(outputs, targets: Tensor(zeros: [2, 2])) },
      refusal { try GaussianNegativeLogLikelihood()(outputs, targets: Tensor(zeros: [3, 3])) },
    ]
    for error in errors { #expect(error?.code == .shape) }
    #expect(errors[0]?.message == "The outputs have 2 rows and their labels 1; there must be as many.")
  }
}
