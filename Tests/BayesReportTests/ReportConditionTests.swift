import BayesEvaluation
import BayesReport
import Testing

/// What a pipeline may stop at.
struct ReportConditionTests {
  @Test(
    arguments: [
      "", "ece", "ece>", ">0.1", "ece>x", "ece>inf", "ece>nan", "luck>0.1", "auroc>0.9", "ece:letters>0.1", "ece=0.1", "/>1",
    ])
  func whatIsNoConditionIsNone(text: String) { #expect(ReportCondition(text) == nil) }

  @Test func conditionsAreOfTheDeepestExitOfAModel() throws {
    let report = try ReportFixture.report()
    let model = report.models[2]
    let exit = try #require(model.exits.last)
    let auroc = try #require(exit.ood.first { $0.name == "SVHN" }?.scores["maximumProbability"]?.auroc)
    for (metric, value) in [
      ("accuracy", exit.accuracy), ("nll", exit.nll), ("ece", exit.ece.value), ("auroc:SVHN", auroc),
      ("augrc", exit.details?.selection.augrc ?? .nan),
    ] {
      for (comparison, offset, holds) in [
        (">", -1e-9, true), (">", 1e-9, false), ("<", 1e-9, true), ("<", -1e-9, false), (">=", 0, true), ("<=", 0, true),
        (">", 0, false), ("<", 0, false),
      ] {
        let condition = try #require(ReportCondition("\(metric)\(comparison) \(value + offset)"))
        #expect(try (condition.violation(in: report, of: model.name) != nil) == holds, "\(condition.text)")
      }
    }
    for (limit, holds) in [("0.1%", true), ("99 %", nil), ("99%", false)] as [(String, Bool?)] {
      #expect(try ReportCondition("ece>\(limit)").map { try $0.violation(in: report, of: model.name) != nil } == holds)
    }
    let other = try #require(ReportCondition("ResNet-20/ece>0"))
    #expect(try other.violation(in: report, of: model.name)?.hasPrefix("The ece of ResNet-20 is 0.") == true)
  }

  /// A number that is undefined must not pass for a good one.
  @Test func undefinedNumbersFail() throws {
    var report = try ReportFixture.report()
    report.models[0].exits[1].nll = .nan
    let condition = try #require(ReportCondition("nll>100"))
    #expect(try condition.violation(in: report, of: "ResNet-20") != nil)
  }

  @Test func whatTheReportDoesNotHaveIsRefused() throws {
    let report = try ReportFixture.report()
    for text in ["nobody/ece>0.1", "auroc:mars<0.5", "risk>0.1"] {
      let condition = try #require(ReportCondition(text))
      #expect(throws: EvaluationError.self) { try condition.violation(in: report, of: "ResNet-20") }
    }
  }

  @Test func markdownHasOneTableAndNoMarkupOfNames() throws {
    var report = try ReportFixture.report()
    report.models[1].name = "a|b_c <i>"
    let text = MarkdownRenderer().render(report)
    #expect(text.contains(#"a\|b\_c \<i\>"#) && !text.contains("<i>"))
    let lines = text.split(separator: "\n").filter { $0.hasPrefix("|") }
    #expect(lines.count == 2 + 2 * 3)
    // As many cells in each line.
    let cells = lines.map { $0.replacing(#"\|"#, with: "").count { $0 == "|" } }
    #expect(Set(cells) == [9])
    #expect(text.contains(report.verdict.prefix(20)))
  }

  /// What a reader pastes into a shell is what was run.
  @Test func commandsAreQuoted() throws {
    var report = try ReportFixture.report(exits: 1, models: 1)
    report.provenance.command = ["bayesify", "evaluate", "my model.h5", "--fail-if", "ece>0.03", "--title", "it's `x`", ""]
    #expect(
      report.provenance.commandLine
        == #"bayesify evaluate 'my model.h5' --fail-if 'ece>0.03' --title 'it'\''s `x`' ''"#)
    #expect(HTMLRenderer().render(report).contains("--fail-if 'ece&gt;0.03'") || HTMLRenderer().render(report).contains("&#39;ece&gt;0.03&#39;"))
    #expect(MarkdownRenderer().render(report).contains("``" + " " + report.provenance.commandLine + " " + "``"))
  }

  @Test func conditionsKnowTheirReports() throws {
    for (text, isOfClasses, isOfRealTargets) in [
      ("ece>0.1", true, false), ("auroc:letters<0.5", true, false), ("crps>0.1", false, true), ("nll>1", true, true),
    ] {
      let condition = try #require(ReportCondition(text))
      #expect(condition.isOfClasses == isOfClasses && condition.isOfRealTargets == isOfRealTargets, "\(text)")
    }
  }
}
