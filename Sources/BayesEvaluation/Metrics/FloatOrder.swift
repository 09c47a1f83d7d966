/// Where numbers stand in ascending order, equal ones in the order in which they came.
///
/// A stable radix sort by three digits of 11 bits: the standard library's sort compares by closures, and the packages of
/// Swift's own have none by digits.
///
/// - Cost: O(n); 8 bytes a number while it sorts, 4 after.
struct FloatOrder: Sendable, Equatable {
  /// The index of the smallest number first.
  let places: [UInt32]

  /// - Precondition: there are fewer than 2³² numbers, and all of them are numbers.
  init(_ numbers: [Float]) {
    precondition(numbers.count <= Int(UInt32.max), "Ranks are kept in 32 bits.")
    var places = [UInt32](repeating: 0, count: numbers.count)
    var others = places
    for index in places.indices { places[index] = UInt32(truncatingIfNeeded: index) }
    var starts = Self.digitStarts(numbers.count) { Self.key(numbers[$0]) }
    for digit in 0..<Self.digitCount where !starts.isOneValue(digit) {
      let numbers = numbers.span
      Self.move(places.span, into: &others, by: digit, &starts) { Self.key(numbers[Int($0)]) }
      swap(&places, &others)
    }
    self.places = places
  }

  /// Keys of the numbers, which compare as the numbers do, in ascending order.
  ///
  /// - Precondition: all of them are numbers.
  /// - Cost: as that of the order.
  static func sortedKeys(of numbers: [Float]) -> [UInt32] {
    var keys = numbers.map { key($0) }
    var others = [UInt32](repeating: 0, count: keys.count)
    var starts = digitStarts(keys.count) { keys[$0] }
    for digit in 0..<digitCount where !starts.isOneValue(digit) {
      move(keys.span, into: &others, by: digit, &starts) { $0 }
      swap(&keys, &others)
    }
    return keys
  }

  /// Writes elements in the order of one digit of their keys, those of one value in the order in which they come.
  @inline(__always)
  private static func move(
    _ source: Span<UInt32>, into others: inout [UInt32], by digit: Int, _ starts: inout DigitStarts,
    _ key: (UInt32) -> UInt32
  ) {
    var target = others.mutableSpan
    for index in source.indices {
      let element = source[index]
      target[starts.next(digit, of: key(element))] = element
    }
  }

  /// The bits of a number, so changed that they compare as numbers do; both zeros have one key.
  @inline(__always)
  static func key(_ number: Float) -> UInt32 {
    let bits = (number + 0).bitPattern
    return bits ^ (bits >> 31 == 0 ? 0x8000_0000 : 0xFFFF_FFFF)
  }

  private static let digitCount = 3

  /// Where the numbers of each value of each digit go.
  private struct DigitStarts {
    /// `[digits, values]`
    var positions: [Int]
    let count: Int

    /// Whether all numbers have the same value of a digit, so that there is nothing to sort by.
    func isOneValue(_ digit: Int) -> Bool {
      let first = digit << 11
      return (1..<1 << 11).allSatisfy { positions[first + $0] == count || positions[first + $0] == 0 }
    }

    /// The position of the next number with a key.
    @inline(__always)
    mutating func next(_ digit: Int, of key: UInt32) -> Int {
      let value = digit << 11 | Int(key >> UInt32(11 * digit) & 0x7FF)
      let position = positions[value]
      positions[value] = position + 1
      return position
    }
  }

  @inline(__always)
  private static func digitStarts(_ count: Int, _ key: (Int) -> UInt32) -> DigitStarts {
    var starts = DigitStarts(positions: [Int](repeating: 0, count: digitCount << 11), count: count)
    for index in 0..<count {
      let key = key(index)
      for digit in 0..<digitCount { starts.positions[digit << 11 | Int(key >> UInt32(11 * digit) & 0x7FF)] += 1 }
    }
    for digit in 0..<digitCount {
      var position = 0
      for value in digit << 11..<(digit + 1) << 11 {
        let count = starts.positions[value]
        starts.positions[value] = position
        position += count
      }
    }
    return starts
  }
}
