import Bayesify

extension Evaluation {
  /// Gives rows to look at their places in the file and, where they are images, their pictures.
  ///
  /// - Parameter firstRow: the place in the file of the first row measured.
  mutating func illustrateExamples(from test: RowInput, firstRow: Int) throws {
    var pictures: [Int: String] = [:]
    func illustrated(_ examples: [ExampleRow]) throws -> [ExampleRow] {
      try examples.map { example in
        var example = example
        if case .dataset(let dataset) = test {
          if pictures[example.row] == nil {
            let row = try dataset.inputs(example.row..<example.row + 1)
            pictures[example.row] = try Thumbnail(row, row: 0)?.dataURI()
          }
          example.image = pictures[example.row]
        }
        example.row += firstRow
        return example
      }
    }
    for model in models.indices {
      for exit in models[model].exits.indices {
        guard let examples = models[model].exits[exit].examples else { continue }
        models[model].exits[exit].examples = Examples(
          mostUncertain: try illustrated(examples.mostUncertain),
          mostConfidentlyWrong: try illustrated(examples.mostConfidentlyWrong))
      }
    }
  }
}
