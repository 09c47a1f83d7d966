import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Cuts files and flips their bits: the command may refuse or accept them, but never crashes.
@Suite struct DamageTests {
  /// More by the environment, for a longer search.
  private let trialCount =
    ProcessInfo.processInfo.environment["BAYESIFY_DAMAGED_FILES"].flatMap { Int($0) } ?? 68

  private enum Victim: String, CaseIterable, CustomTestStringConvertible {
    case checkpoint, records, posterior
    var testDescription: String { rawValue }
  }

  @Test(arguments: Victim.allCases)
  private func damageEndsInADocumentedWay(_ victim: Victim) async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", Digits.test, "--rows", "0:60", "-o", "records.h5")
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--prior-precision", "30", "--temperature", "1.5", "-o", "posterior.h5")
    let original = victim == .checkpoint ? Digits.checkpoint : folder.path(victim.rawValue + ".h5")
    let whole = try [UInt8](Data(contentsOf: URL(filePath: original)))
    let key = RandomKey(seed: 11)
    var refusalCount = 0
    for trial in 0..<trialCount {
      var bytes = whole
      damage(&bytes, trial, key.child(trial).uniforms(20))
      try Data(bytes).write(to: URL(filePath: folder.path("damaged.h5")))
      let arguments =
        switch (victim, trial % 3) {
        case (_, 0): ["inspect", "damaged.h5", "--json"]
        case (.checkpoint, _): ["evaluate", "damaged.h5", "--data", Digits.test, "--rows", "0:60"]
        case (.records, 1):
          ["fit", "laplace", "damaged.h5", "--prior-precision", "3", "--temperature", "1", "-o", "fit.h5"]
        case (.records, _): ["evaluate", Digits.checkpoint, "posterior.h5", "--data", "damaged.h5"]
        case (.posterior, _): ["evaluate", "damaged.h5", "--data", "records.h5", "--rows", "0:60"]
        }
      let run = try await folder.run(arguments + ["--quiet", "--force"])
      #expect(
        [0, 64, 65, 70, 74].contains(run.exitCode) && !run.wasEndedBySignal, "trial \(trial): \(run.testDescription)")
      if run.exitCode != 0 {
        refusalCount += 1
        // Where two files do not fit each other, either may be named; a huge weight shows in a row of data.
        #expect(
          run.errorLines.count == 1 && ["damaged.h5", "records.h5", Digits.test].contains(where: run.errors.contains),
          "trial \(trial): \(run.testDescription)")
      }
    }
    // Half of the trials hit what is always looked at.
    #expect(refusalCount > trialCount / 4)
    print("\(victim.rawValue): \(refusalCount) of \(trialCount) damaged files refused")
  }

  /// Cuts every fourth file; flips bits of the others, half of the time where the structure lies.
  private func damage(_ bytes: inout [UInt8], _ trial: Int, _ numbers: [Double]) {
    if trial % 4 == 0 {
      bytes.removeLast(Int(numbers[0] * Double(bytes.count)))
      return
    }
    let reach = trial % 2 == 0 ? bytes.count : min(bytes.count, 8192)
    for flip in 0..<1 << Int(numbers[1] * 5) {
      let bit = Int(numbers[2 + flip] * Double(reach * 8))
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
    }
  }
}
