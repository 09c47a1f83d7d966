import Bayesify
import Testing

/// What the command says of itself.
struct HelpTests {
  @Test(arguments: [
    ["inspect"], ["extract"], ["heads"], ["fit"], ["fit", "laplace"], ["fit", "first-layer"], ["fit", "latent"], ["fit", "dropout"],
    ["fit", "ensemble"], ["predict"],
    ["evaluate"], ["study"], ["study", "robustness"], ["study", "privacy"], ["study", "first-layer-optima"], ["export"],
    ["report"],
  ])
  func helpOfEveryVerbHasAnExample(_ verb: [String]) async throws {
    let run = try await TestFolder().run(verb + ["--help"])
    #expect(run.exitCode == 0 && run.errors.isEmpty)
    // The line breaks of help text may fall anywhere.
    let text = run.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    #expect(text.contains("Example: bayesify " + verb.joined(separator: " ") + " "))
  }

  @Test func helpOfTheProgramNamesEveryVerbAndExitCode() async throws {
    let run = try await TestFolder().run(["--help"])
    #expect(run.exitCode == 0)
    for needle in [
      "inspect", "extract", "heads", "fit", "predict", "evaluate", "study", "report", "64", "65", "70", "74", "130",
    ] {
      #expect(run.output.contains(needle))
    }
  }

  @Test(arguments: [
    [], ["inspect"], ["extract"], ["heads"], ["fit", "laplace"], ["fit", "first-layer"], ["fit", "latent"], ["fit", "dropout"],
    ["fit", "ensemble"], ["predict"],
    ["evaluate"], ["study"], ["study", "robustness"], ["study", "privacy"], ["study", "first-layer-optima"], ["export"],
    ["report"],
  ])
  func everyVerbTellsTheVersion(_ verb: [String]) async throws {
    let run = try await TestFolder().run(verb + ["--version"])
    #expect(run.exitCode == 0)
    #expect(run.output == bayesifyVersion + "\n")
  }
}
