import Testing
import _BayesTestSupport

/// Standard streams that are closed or take nothing.
@Suite struct StandardStreamTests {
  @Test(arguments: [">&-", ">/dev/full"])
  func answersThatNobodyTakesAreFailures(_ redirection: String) async throws {
    let run = try await TestFolder().run(["inspect", Digits.checkpoint, "--json"], redirected: redirection)
    #expect(run.exitCode == 74, "\(run.testDescription)")
    #expect(run.errors.contains("standard output"), "\(run.testDescription)")
  }

  @Test(arguments: ["2>&-", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
  func workIsDoneWithNobodyToTell(_ redirection: String) async throws {
    let folder = try TestFolder()
    let run = try await folder.run(
      ["extract", Digits.checkpoint, "--data", Digits.test, "--rows", "0:8", "-o", "out.h5"], redirected: redirection)
    #expect(run.exitCode == 0, "\(run.testDescription)")
    #expect(try folder.names == ["out.h5"])
    try await folder.succeed("inspect", "out.h5")
  }

  @Test(arguments: ["2>&-", ">&- 2>&-"])
  func refusalsKeepTheirCodeWithNobodyToTell(_ redirection: String) async throws {
    let run = try await TestFolder().run(["inspect", "absent.h5"], redirected: redirection)
    #expect(run.exitCode == 74 && !run.wasEndedBySignal, "\(run.testDescription)")
  }
}
