import BayesEvaluation
import Testing

@testable import BayesReport

@Suite struct ChangeReadingTests {
  private func sentence(
    _ before: Double, _ after: Double, noise: Bool = false,
    temperature: (value: Double, isWithinNoise: Bool)? = nil, mentionsTemperature: Bool = true
  ) -> String {
    ChangeReading(
      measure: "ECE", model: "Laplace", before: before, after: after, isWithinNoise: noise,
      temperature: temperature, mentionsTemperature: mentionsTemperature
    ) { Figures.percents($0, $1) }.sentence.replacing(Figures.space, with: " ")
  }

  @Test func mostOfAGainIsTheTemperature() {
    #expect(
      sentence(0.053, 0.011, temperature: (0.02, false))
        == "The ECE of Laplace fell from 5.3 % to 1.1 %; most of that is the temperature, which alone "
        + "reaches 2.0 %.")
  }

  @Test(arguments: [(0.0505, "almost none"), (0.04, "some"), (0.02, "most"), (0.012, "nearly all")])
  func theShareOfTheTemperatureIsNamed(alone: Double, words: String) {
    #expect(sentence(0.053, 0.011, temperature: (alone, false)).contains("; \(words) of that is"))
  }

  @Test func aTemperatureThatDoesBetterIsSaidToDoBetter() {
    #expect(
      sentence(0.053, 0.011, temperature: (0.007, false))
        == "The ECE of Laplace fell from 5.3 % to 1.1 %; a temperature alone does better (0.7 %).")
  }

  @Test func aTemperatureThatDoesAsWellWithinNoiseTakesTheGain() {
    #expect(
      sentence(0.053, 0.011, temperature: (0.013, true))
        == "The ECE of Laplace fell from 5.3 % to 1.1 %; a temperature alone does as well, within noise "
        + "(1.3 %).")
  }

  @Test func aTemperatureThatHurtsTakesNothing() {
    #expect(
      sentence(0.053, 0.011, temperature: (0.06, false))
        == "The ECE of Laplace fell from 5.3 % to 1.1 %; none of that is the temperature, which alone "
        + "raises it to 6.0 %.")
  }

  @Test func aTemperatureThatDoesNothingTakesNothing() {
    #expect(
      sentence(0.053, 0.011, temperature: (0.053, false))
        == "The ECE of Laplace fell from 5.3 % to 1.1 %; none of that is the temperature, which alone "
        + "leaves it at 5.3 %.")
  }

  @Test func aLossIsALoss() {
    #expect(
      sentence(0.02, 0.03, temperature: (0.01, false))
        == "The ECE of Laplace rose from 2.0 % to 3.0 %; a temperature alone lowers it to 1.0 %.")
    #expect(
      sentence(0.02, 0.03, temperature: (0.04, false))
        == "The ECE of Laplace rose from 2.0 % to 3.0 %; a temperature alone raises it too, to 4.0 %.")
    #expect(
      sentence(0.02, 0.03, temperature: (0.02, false))
        == "The ECE of Laplace rose from 2.0 % to 3.0 %; a temperature alone leaves it at 2.0 %.")
    #expect(sentence(0.02, 0.03) == "The ECE of Laplace rose from 2.0 % to 3.0 %.")
  }

  @Test func noChangeIsNoChange() {
    #expect(sentence(0.053, 0.053) == "The ECE of Laplace did not change (5.3 %).")
    #expect(
      sentence(0.053, 0.053, temperature: (0.02, false))
        == "The ECE of Laplace did not change (5.3 %); a temperature alone gives 2.0 %.")
    #expect(
      sentence(0.053, 0.053, temperature: (0.053, false))
        == "The ECE of Laplace did not change (5.3 %); a temperature alone does not change it either.")
  }

  @Test func aChangeWithinNoiseIsSaidToBe() {
    #expect(
      sentence(0.053, 0.051, noise: true, temperature: (0.02, false))
        == "The ECE of Laplace fell from 5.3 % to 5.1 %, which is within noise; a temperature alone gives "
        + "2.0 %.")
    #expect(
      sentence(0.053, 0.051, noise: true)
        == "The ECE of Laplace fell from 5.3 % to 5.1 %, which is within noise.")
  }

  @Test func withoutATemperatureItsShareIsUnknown() {
    #expect(
      sentence(0.053, 0.011)
        == "The ECE of Laplace fell from 5.3 % to 1.1 %; how much of that a temperature alone would do is "
        + "unknown, as no such row was evaluated.")
    #expect(
      sentence(0.053, 0.011, mentionsTemperature: false)
        == "The ECE of Laplace fell from 5.3 % to 1.1 %.")
  }

  @Test func smallDifferencesAreSpeltSoThatTheyDiffer() {
    #expect(
      sentence(0.0531, 0.0529, mentionsTemperature: false)
        == "The ECE of Laplace fell from 5.31 % to 5.29 %.")
  }

  @Test func infinitiesAreSpelt() {
    let reading = ChangeReading(
      measure: "NLL", model: "Laplace", before: .infinity, after: 0.5, isWithinNoise: false,
      temperature: (.infinity, false), mentionsTemperature: true
    ) { Figures.numbers($0, $1) }
    #expect(reading.sentence == "The NLL of Laplace fell from ∞ to 0.500; a temperature alone gives ∞.")
  }
}

@Suite struct AccuracyReadingTests {
  @Test(arguments: [
    (0.9, 0.9, false, "is unchanged at 90.0 %."), (0.9, 0.92, false, "rose from 90.0 % to 92.0 %."),
    (0.9, 0.88, true, "fell from 90.0 % to 88.0 %, which is within noise."),
  ])
  func everyDirection(before: Double, after: Double, noise: Bool, words: String) {
    let reading = AccuracyReading(model: "Laplace", before: before, after: after, isWithinNoise: noise)
    #expect(
      reading.sentence.replacing(Figures.space, with: " ") == "The accuracy of Laplace \(words)")
  }
}

@Suite struct SeparationReadingTests {
  private func score(_ auroc: Double, halfWidth: Double = 0.01, isConstant: Bool = false) -> ScoreResult {
    ScoreResult(
      auroc: auroc, auprOut: 0.5, auprIn: 0.5, fpr95: 0.5,
      aurocInterval: Interval(low: auroc - halfWidth, high: auroc + halfWidth), isConstant: isConstant,
      roc: [])
  }

  private func sentence(_ scores: [String: ScoreResult], _ baseline: [String: ScoreResult]?) -> String {
    SeparationReading(set: "SVHN", model: "Laplace", scores: scores, baseline: baseline).sentence
  }

  @Test func theBestScoresAreCompared() {
    #expect(
      sentence(
        ["mutualInformation": score(0.95), "entropy": score(0.9)],
        ["entropy": score(0.88), "mutualInformation": score(0.5, isConstant: true)])
        == "On SVHN, the best of 2 scores of Laplace is mutual information, with an AUROC of 0.950, more than the "
        + "baseline's best (entropy, 0.880).")
    #expect(sentence(["entropy": score(0.8)], ["entropy": score(0.9)]).contains("less than the baseline's"))
    // Of the same rows a difference may be certain that would be noise between others.
    let paired = SeparationReading(
      set: "SVHN", model: "Laplace", scores: ["entropy": score(0.905)], baseline: ["entropy": score(0.9)],
      differences: ["entropy": Difference(value: 0.005, interval: Interval(low: 0.004, high: 0.006))])
    #expect(!paired.sentence.contains("within noise"))
    #expect(
      sentence(["entropy": score(0.905)], ["energy": score(0.9)]).hasSuffix("a difference within noise."))
    #expect(
      sentence(["entropy": score(0.9)], ["energy": score(0.9)]).hasSuffix(
        "as much as the baseline's best (energy)."))
    #expect(
      sentence(["entropy": score(0.9)], nil)
        == "On SVHN, the best score of Laplace is entropy, with an AUROC of 0.900.")
  }

  @Test func belowChanceIsAWarning() {
    #expect(
      sentence(["entropy": score(0.3), "energy": score(0.4)], ["entropy": score(0.9)])
        == "On SVHN, every score of Laplace is below chance (the best, energy, has an AUROC of 0.400): the "
        + "model is surer of these rows than of the test set, so do not rely on it here.")
    #expect(
      sentence(["entropy": score(0.3), "energy": score(0.8)], nil).contains("Below chance there: entropy;"))
    // The interval reaches one half, so this may be chance itself.
    #expect(!sentence(["entropy": score(0.495), "energy": score(0.8)], nil).contains("Below chance"))
  }

  @Test func constantScoresRankNothing() {
    #expect(
      sentence(["mutualInformation": score(0.5, isConstant: true)], nil)
        == "No score of Laplace ranks the rows of SVHN.")
  }
}

@Suite struct VerdictTests {
  @Test func theBaselineHasNoReadings() throws {
    let report = try ReportFixture.report()
    #expect(report.readings(of: report.models[0]).isEmpty)
    #expect(report.readings(of: report.models[2]).count == 6)
  }

  @Test func oneModelAloneIsDescribed() throws {
    let report = try ReportFixture.report(models: 1)
    #expect(report.verdict.hasPrefix("On 120 test rows ResNet-20 is right in "))
    #expect(report.verdict.contains("On SVHN, the best of "))
  }

  @Test func theBestLikelihoodIsTheHeadline() throws {
    var report = try ReportFixture.report()
    report.models[2].exits[1].nll = 0.01
    #expect(
      report.verdict.contains("Of the 2 models set against it, last-layer Laplace has the best likelihood; that these rows"))
    report.models[2].exits[1].nll = 5
    #expect(report.verdict.contains("A temperature alone, ResNet-20 + temperature, has the best likelihood"))
    // The posterior is spoken of, though it is not the best.
    #expect(report.verdict.contains("last-layer Laplace has a negative log-likelihood of 5.000"))
    report.models[1].exits[1].settings[ExitResult.leftAsItIs] = 1
    #expect(!report.verdict.contains("ResNet-20 + temperature"))
    report.models[0].exits[1].nll = 0.001
    #expect(report.verdict.contains("No other model here has a better likelihood"))
  }

  @Test func reportsWithoutATemperatureSaySo() throws {
    var report = try ReportFixture.report(rows: 400)
    report.models.remove(at: 1)
    report.comparisons.removeAll { $0.model.contains("temperature") || $0.reference.contains("temperature") }
    #expect(report.readings(of: report.models[1])[0].contains("no such row was evaluated"))
  }
}
