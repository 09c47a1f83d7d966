import BayesTensor

extension Prediction {
  /// The predictions of some rows, in the order given.
  public func rows(_ positions: [Int]) -> Prediction {
    let (width, count) = (logitCount, positions.count)
    let chosen = Tensor<Float>(shape: [sampleCount, count, width]) { span in
      logits.withSpan { logits in
        for sample in 0..<sampleCount {
          for position in positions {
            let start = (sample * rowCount + position) * width
            for index in start..<start + width { span.append(logits[index]) }
          }
        }
      }
    }
    return Prediction(
      logits: chosen, likelihood: likelihood, exit: exit, scale: scale, sampleWeights: sampleWeights,
      closedForm: closedForm.map {
        ClosedForm(
          probabilities: $0.probabilities.rows(positions), total: $0.total.rows(positions),
          aleatoric: $0.aleatoric?.rows(positions))
      },
      regression: regression.map {
        Regression(
          mean: $0.mean.rows(positions), epistemicVariance: $0.epistemicVariance.rows(positions),
          noiseVariance: $0.noiseVariance.rows(positions))
      })
  }

  /// Predictions of one exit for different rows, one after the other.
  ///
  /// - Precondition: there is at least one, and all were made in one way.
  public static func joining(_ parts: [Prediction]) -> Prediction {
    guard let first = parts.first, parts.count > 1 else { return parts[0] }
    let rowCount = parts.reduce(0) { $0 + $1.rowCount }
    let logits = Tensor<Float>(shape: [first.sampleCount, rowCount, first.logitCount]) { span in
      for sample in 0..<first.sampleCount {
        for part in parts {
          let width = part.rowCount * part.logitCount
          part.logits.withSpan { logits in
            for index in sample * width..<(sample + 1) * width { span.append(logits[index]) }
          }
        }
      }
    }
    return Prediction(
      logits: logits, likelihood: first.likelihood, exit: first.exit, scale: first.scale,
      sampleWeights: first.sampleWeights,
      closedForm: first.closedForm.map { form in
        let forms = parts.compactMap(\.closedForm)
        return ClosedForm(
          probabilities: .stacking(forms.map(\.probabilities)), total: .stacking(forms.map(\.total)),
          aleatoric: form.aleatoric.map { _ in .stacking(forms.compactMap(\.aleatoric)) })
      },
      regression: first.regression.map { _ in
        let regressions = parts.compactMap(\.regression)
        return Regression(
          mean: .stacking(regressions.map(\.mean)),
          epistemicVariance: .stacking(regressions.map(\.epistemicVariance)),
          noiseVariance: .stacking(regressions.map(\.noiseVariance)))
      })
  }
}
