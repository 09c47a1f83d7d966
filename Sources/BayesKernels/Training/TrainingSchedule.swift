/// Which stages of a slice wait for which, by the values that they read and write.
struct TrainingSchedule {
  private var items: [TrainingSlicePlan.Item] = []
  /// The items that make each value.
  private var makers: [Int: [Int]] = [:]

  /// - Parameter inputs: the values that are loaded.
  init(inputs: [Int]) { add(.load, reading: [], writing: inputs) }

  /// Adds a stage behind those that make what it reads; no value is made twice but in parts.
  mutating func add(_ stage: TrainingSlicePlan.Stage, reading reads: [Int], writing writes: [Int]) {
    let prerequisites = Set(reads.flatMap { makers[$0] ?? [] })
    for prerequisite in prerequisites { items[prerequisite].successors.append(items.count) }
    for value in writes { makers[value, default: []].append(items.count) }
    items.append(
      TrainingSlicePlan.Item(
        stage: stage, prerequisiteCount: prerequisites.count, successors: [], rank: items.count))
  }

  /// All items, with one behind them that waits for all.
  ///
  /// Items for which nothing else waits, such as gradients of weights, come after those on the way to others.
  func closed() -> [TrainingSlicePlan.Item] {
    var items = items
    let last = items.count
    for index in items.indices where items[index].successors.isEmpty { items[index].rank += last }
    let ends = items.indices.filter { items[$0].successors.isEmpty }
    for index in ends { items[index].successors = [last] }
    items.append(
      TrainingSlicePlan.Item(stage: .store, prerequisiteCount: ends.count, successors: [], rank: 2 * last))
    return items
  }
}
