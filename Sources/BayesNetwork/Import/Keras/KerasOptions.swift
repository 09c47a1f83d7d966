import BayesTensor

/// The family of versions that wrote a description; the formulas of some functions differ.
enum KerasGeneration: Sendable {
  case firstOrSecond
  case third
}

/// Why a layer cannot be imported: the end of a sentence that starts with its name and kind.
struct KerasRefusal: Error {
  let reason: String

  init(_ reason: String) { self.reason = reason }
}

/// The settings of one layer, read by name with their types and ranges checked.
///
/// Where several keys are given they are the spellings of different versions; the first that is there
/// counts, and a null counts as absent.
struct KerasOptions: Sendable {
  let values: [String: JSONValue]
  let generation: KerasGeneration
  /// Whether windows and borders are those of a sequence, which stands for an image of height one.
  var isAlongOneAxis = false

  /// The value under the first of the keys that is there.
  func value(_ keys: [String]) -> (key: String, value: JSONValue)? {
    for key in keys {
      if let value = values[key], value != .null { return (key, Self.unwrapped(value)) }
    }
    return nil
  }

  /// Keras before 2.3 wrote some numbers as `{"type": "ndarray", "value": 0.3}`.
  private static func unwrapped(_ value: JSONValue) -> JSONValue {
    value["type"] == .text("ndarray") ? value["value"] ?? value : value
  }

  private static func missing(_ keys: [String]) -> KerasRefusal {
    KerasRefusal("its '\(keys[0])' is missing")
  }

  /// A whole number.
  func integer(
    _ keys: String..., default standard: Int? = nil, in range: ClosedRange<Int> = 1...largestSetting
  ) throws(KerasRefusal) -> Int {
    guard let (key, value) = value(keys) else {
      guard let standard else { throw Self.missing(keys) }
      return standard
    }
    return try Self.integer(value, key, in: range)
  }

  private static func integer(
    _ value: JSONValue, _ key: String, in range: ClosedRange<Int>
  ) throws(KerasRefusal) -> Int {
    guard let integer = value.integer, range.contains(integer) else {
      throw KerasRefusal(
        "its '\(key)' is \(value) where a whole number from \(range.lowerBound) to \(range.upperBound) is "
          + "needed")
    }
    return integer
  }

  /// Whole numbers, given as a list or as a single one.
  func integers(
    _ keys: String..., default standard: [Int]? = nil,
    in range: ClosedRange<Int> = -largestSetting...largestSetting
  ) throws(KerasRefusal) -> [Int] {
    guard let (key, value) = value(keys) else {
      guard let standard else { throw Self.missing(keys) }
      return standard
    }
    var integers: [Int] = []
    for element in value.list ?? [value] { integers.append(try Self.integer(element, key, in: range)) }
    return integers
  }

  /// The axes of a row, from zero, at which a shape, batch axis first, is one; `nil` where there is no shape.
  func axesOfOne(_ key: String) throws(KerasRefusal) -> [Int]? {
    guard let value = value([key])?.value else { return nil }
    guard let extents = value.list, !extents.isEmpty, extents.allSatisfy({ $0 == .null || $0.integer != nil }) else {
      throw KerasRefusal("its '\(key)' is \(value) where a shape is needed")
    }
    return extents.indices.dropFirst().filter { extents[$0].integer == 1 }.map { $0 - 1 }
  }

  /// A height and a width, given as a pair or as one number for both; for sequences, a width alone.
  func extent(
    _ keys: String..., default standard: Extent2D? = nil, in range: ClosedRange<Int> = 1...largestSetting
  ) throws(KerasRefusal) -> Extent2D {
    guard let (key, value) = value(keys) else {
      guard let standard else { throw Self.missing(keys) }
      return standard
    }
    if isAlongOneAxis {
      let lengths = value.list ?? [value]
      guard lengths.count == 1 else { throw KerasRefusal("its '\(key)' is \(value) where one number is needed") }
      return Extent2D(height: 1, width: try Self.integer(lengths[0], key, in: range))
    }
    let sides = value.list ?? [value, value]
    guard sides.count == 2 else {
      throw KerasRefusal("its '\(key)' is \(value) where a height and a width are needed")
    }
    return Extent2D(
      height: try Self.integer(sides[0], key, in: range), width: try Self.integer(sides[1], key, in: range))
  }

  /// Pixels at the top, bottom, left and right, in any of the forms that Keras has written; for sequences, steps
  /// at the left and right.
  func sides(_ key: String) throws(KerasRefusal) -> SpatialPadding {
    let range = 0...largestSetting
    guard let value = value([key])?.value else { throw Self.missing([key]) }
    let axes = value.list ?? [value, value]
    if isAlongOneAxis {
      guard axes.count == 2 else { throw KerasRefusal("its '\(key)' is \(value) where two ends are needed") }
      return SpatialPadding(
        left: try Self.integer(axes[0], key, in: range), right: try Self.integer(axes[1], key, in: range))
    }
    // Four numbers, or for each axis a pair or one number for both ends.
    let ends = axes.count == 4 ? axes.map { [$0] } : axes.map { $0.list ?? [$0, $0] }
    guard axes.count == 4 || ends.map(\.count) == [2, 2] else {
      throw KerasRefusal("its '\(key)' is \(value) where four sides of an image are needed")
    }
    var sides: [Int] = []
    for side in ends.joined() { sides.append(try Self.integer(side, key, in: range)) }
    return SpatialPadding(top: sides[0], bottom: sides[1], left: sides[2], right: sides[3])
  }

  /// A finite number.
  func number(_ keys: String..., default standard: Double? = nil) throws(KerasRefusal) -> Double {
    guard let (key, value) = value(keys) else {
      guard let standard else { throw Self.missing(keys) }
      return standard
    }
    return try Self.number(value, key)
  }

  private static func number(_ value: JSONValue, _ key: String) throws(KerasRefusal) -> Double {
    guard let number = value.number, number.isFinite else {
      throw KerasRefusal("its '\(key)' is \(value) where a finite number is needed")
    }
    return number
  }

  /// Finite numbers, given as one or as lists of any depth; `nil` where the key is absent.
  func numbers(_ key: String) throws(KerasRefusal) -> [Double]? {
    guard let value = value([key])?.value else { return nil }
    func flattened(_ value: JSONValue) throws(KerasRefusal) -> [Double] {
      guard let list = value.list else { return [try Self.number(value, key)] }
      var numbers: [Double] = []
      for element in list { numbers += try flattened(element) }
      return numbers
    }
    return try flattened(value)
  }

  /// Yes or no.
  func flag(_ keys: String..., default standard: Bool) throws(KerasRefusal) -> Bool {
    guard let (key, value) = value(keys) else { return standard }
    guard let flag = value.boolean else {
      throw KerasRefusal("its '\(key)' is \(value) where true or false is needed")
    }
    return flag
  }

  /// A word.
  func text(_ keys: String..., default standard: String? = nil) throws(KerasRefusal) -> String {
    guard let (key, value) = value(keys) else {
      guard let standard else { throw Self.missing(keys) }
      return standard
    }
    guard let text = value.text else {
      throw KerasRefusal("its '\(key)' is \(value) where a word is needed")
    }
    return text
  }

  /// How a window treats the border.
  func padding() throws(KerasRefusal) -> PaddingRule {
    let word = try text("padding", "border_mode", default: "valid")
    switch word {
    case "valid": return .valid
    case "same": return .same
    default: throw KerasRefusal("its padding is '\(word)'; only 'valid' and 'same' are supported")
    }
  }

  /// The settings and the kind of a layer that this one wraps.
  func wrapped(_ key: String) throws(KerasRefusal) -> (kind: String, options: KerasOptions) {
    guard let value = value([key])?.value, let kind = value["class_name"]?.text,
      let settings = value["config"]?.table
    else { throw KerasRefusal("its '\(key)' describes no layer") }
    return (kind, KerasOptions(values: settings, generation: generation))
  }

  /// Refuses a switch that is on.
  func refuse(_ key: String, because reason: String) throws(KerasRefusal) {
    guard try !flag(key, default: false) else { throw KerasRefusal("its '\(key)' is true: " + reason) }
  }

  /// Axes of a row, from zero and ascending, that Keras counts from the batch or from the end.
  func rowAxes(_ axes: [Int], of input: Shape) throws(KerasRefusal) -> [Int] {
    let rowAxes = axes.map { $0 < 0 ? input.rank + $0 : $0 - 1 }
    guard zip(rowAxes, rowAxes.dropFirst()).allSatisfy(<), rowAxes.allSatisfy(input.dimensions.indices.contains)
    else {
      let list = axes.map(String.init).joined(separator: ", ")
      throw KerasRefusal("its axis is \(list); rows of \(input) need ascending axes that they have")
    }
    return rowAxes
  }

  /// Refuses a layer that works on images with the channels first.
  func requireChannelsLast() throws(KerasRefusal) {
    let order = try text("data_format", "dim_ordering", default: "channels_last")
    guard order != "channels_first", order != "th" else {
      throw KerasRefusal("it works on channels first; rebuild the model with channels_last and save it again")
    }
  }

  /// Refuses an axis that is not the last of a row.
  ///
  /// Keras counts the batch as axis zero, so the last axis of a row is −1 or the row's rank.
  func requireLastAxis(_ axes: [Int], of input: Shape) throws(KerasRefusal) {
    guard axes == [-1] || axes == [input.rank] else {
      let list = axes.map(String.init).joined(separator: ", ")
      throw KerasRefusal("its axis is \(list); only the last is supported")
    }
  }
}
