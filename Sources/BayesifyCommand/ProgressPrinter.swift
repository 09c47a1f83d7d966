import Bayesify
import Foundation
import Synchronization

/// Shows progress on standard error: one line that is rewritten on a terminal, plain lines elsewhere.
final class ProgressPrinter: Sendable {
  private struct State {
    var stage: String?
    var started = ContinuousClock.now
    var printed = ContinuousClock.now
    var lineIsOpen = false
  }

  private let isQuiet: Bool
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private let state = Mutex(State())

  init(isQuiet: Bool) { self.isQuiet = isQuiet }

  /// The closure that computations call.
  var report: @Sendable (StageProgress) -> Void { { self.show($0) } }

  /// Says something in a line of its own; not when quiet.
  func note(_ message: String) {
    guard !isQuiet else { return }
    finishLine()
    write(message.withoutControls + "\n")
  }

  /// Says something that the user must know, quiet or not.
  func warn(_ message: String) {
    finishLine()
    write("warning: " + message.withoutControls + "\n")
  }

  /// Ends a line that was being rewritten.
  func finishLine() {
    state.withLock { state in
      if state.lineIsOpen { write("\n") }
      state.lineIsOpen = false
    }
  }

  private func show(_ progress: StageProgress) {
    guard !isQuiet else { return }
    state.withLock { state in
      let now = ContinuousClock.now
      let isNew = state.stage != progress.stage || progress.completed == 0
      if isNew {
        if state.lineIsOpen { write("\n") }
        state.stage = progress.stage
        state.started = now
        state.lineIsOpen = false
      }
      let isDone = progress.total == progress.completed
      let interval: Duration = isTerminal ? .milliseconds(100) : .seconds(5)
      // A stage that is over at once leaves no line behind.
      let isWorthALine = isDone && (state.lineIsOpen || now - state.started > .seconds(1))
      guard isWorthALine || (now - state.printed > interval && !isNew) else { return }
      state.printed = now
      let line = text(progress, elapsed: now - state.started)
      if isTerminal {
        write("\r\u{1B}[K" + line + (isDone ? "\n" : ""))
        state.lineIsOpen = !isDone
      } else {
        write(line + "\n")
      }
    }
  }

  private func text(_ progress: StageProgress, elapsed: Duration) -> String {
    let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    var parts = [progress.stage + ":"]
    if let total = progress.total {
      parts.append("\(progress.completed) of \(total) \(progress.unit)")
    } else {
      parts.append("\(progress.completed) \(progress.unit)")
    }
    if seconds > 0.05, progress.completed > 0 {
      let rate = Double(progress.completed) / seconds
      parts.append("· \(rate.formatted(.number.precision(.significantDigits(3)))) \(progress.unit)/s")
      if let total = progress.total, total > progress.completed {
        let left = Double(total - progress.completed) / rate
        parts.append("· \(Int(left.rounded(.up))) s left")
      }
    }
    return parts.joined(separator: " ")
  }

  private func write(_ text: String) { printMessage(text) }
}
