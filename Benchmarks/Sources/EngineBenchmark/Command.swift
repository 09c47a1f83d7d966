import Bayesify

/// What the driver may ask for.
///
/// A further mode adds its cases here and a file that extends `Session` with them.
enum Command: String, CaseIterable {
  /// `load FILE [PRECISION] [SLICE]`: imports a checkpoint and prepares the logits of every exit, in float32 or
  /// bfloat16; SLICE fixes the rows that one thread runs at once.
  case load
  /// `inputs FILE`: reads rows, already preprocessed, from the array `x` of an HDF5 file.
  case inputs
  /// `forward ROWS REPEATS WIDTH`: times passes over the first rows on that many tasks.
  case forward
  /// `outputs ROWS WIDTH FILE`: writes the logits of every exit to an HDF5 file, as `outputs/EXIT`.
  case outputs
  /// `repeat ROWS REPEATS WIDTH`: passes over the first rows that nobody times; gives the sizes of their results.
  case `repeat`
  /// `stages ROWS KEPT WIDTH`: prepares the network in stages, for a run of the first rows of which KEPT go on
  /// after the first exit.
  case stages
  /// `stage NUMBER REPEATS WIDTH`: times one of the stages, from 1, by itself on the rows that reach it.
  case stage
  /// `leave REPEATS WIDTH`: times whole runs with rows leaving.
  case leave
  /// `train all|first|last ROWS WIDTH`: prepares training steps on the first rows; gives the loss and the norm
  /// of the gradients.
  case train
  /// `gradients WIDTH FILE`: writes the gradients of what is prepared for training to an HDF5 file, as
  /// `gradients/NODE/PARAMETER`.
  case gradients
  /// `step REPEATS WIDTH`: times training steps.
  case step
  /// `epochs CHECKPOINT DATA ROWS BATCH WIDTH`: reads labelled rows and prepares training of all weights on them.
  case epochs
  /// `epoch`: times a pass over all of those rows, in an order of its own.
  case epoch
  /// `chain SAMPLER WEIGHTS REPEATS`: times steps of a Markov chain over so many weights, and, by turns, of one whose weights,
  /// momenta and gradients are too small for normal numbers.
  case chain
  /// `fit FILE STRUCTURE WIDTH`: times a Laplace fit to a file of exit records.
  case fit
  /// `ready PREDICTIVE ROWS DRAWS`: gets predictions of the first rows of what was fitted ready.
  case ready
  /// `predict REPEATS`: times predictions of the rows that are ready.
  case predict
  /// `overhead PREDICTIVE DRAWS ROWS WIDTH REPEATS`: times plain and Bayesian predictions of the first rows in turns.
  case overhead
  /// `ensemble POSTERIOR ROWS WIDTH REPEATS`: times predictions of the first rows by drawn networks, and what they share, one
  /// draw from there on, and the network alone in turns.
  case ensemble
  /// `product SIZE REPEATS WIDTH`: times as many products of square matrices at once as there are tasks.
  case product
  /// `preprocessing SCALE MEAN DEVIATION`: what is done to stored rows by the commands below, lists with commas.
  case preprocessing
  /// `policy CHECKPOINT DATA ROWS BATCH PERCENT whole|stages WIDTH [POSTERIOR]`: tunes when rows leave on the first rows
  /// of DATA, for a mean time of so many percent of the whole network's, or of all its stages', as measured here on
  /// BATCH of them.
  case policy
  /// `batches DATA COUNT ROWS`: reads the first batches of so many stored rows.
  case batches
  /// `rounds COUNT`: times, in turns, the whole network to its last exit, its stages, those with scores, and rows leaving.
  case rounds
  /// `single COUNT`: times rows one at a time, so many of those that leave at each exit.
  case single
}

/// A line that is no command, or one with the wrong arguments.
struct CommandError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// The words after a command's name, taken one at a time.
struct Arguments {
  private let command: Command
  private var words: ArraySlice<String>

  init(of command: Command, _ words: ArraySlice<String>) {
    self.command = command
    self.words = words
  }

  var isEmpty: Bool { words.isEmpty }

  /// The next word.
  mutating func text(_ meaning: String) throws(CommandError) -> String {
    guard let word = words.popFirst() else {
      throw CommandError("'\(command.rawValue)' lacks its \(meaning).")
    }
    return word
  }

  /// The next word as a precision, where it is one.
  mutating func precision() -> InferencePrecision? {
    guard let word = words.first, let precision = InferencePrecision(rawValue: word) else { return nil }
    words.removeFirst()
    return precision
  }

  /// The next word as a whole number from one.
  mutating func count(_ meaning: String) throws(CommandError) -> Int {
    let word = try text(meaning)
    guard let count = Int(word), count > 0 else {
      throw CommandError("The \(meaning) of '\(command.rawValue)' is '\(word)'; it must be a whole number from 1.")
    }
    return count
  }
}
