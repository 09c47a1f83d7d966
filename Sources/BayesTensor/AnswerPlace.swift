/// Where one of a network's answers stands, for messages: "Row 3", or "Row 3 at pixel (2, 5)".
///
/// - Parameters:
///   - index: which answer it is, over all rows and positions, the positions of a row running faster, row-major.
///   - positions: the extents at whose positions a row has an answer each; none where a row has one.
///   - firstRow: what the first row is called.
package func answerPlace(_ index: Int, positions: [Int], firstRow: Int = 0) -> String {
  guard !positions.isEmpty else { return "Row \(firstRow + index)" }
  var rest = index
  var place: [Int] = []
  for extent in positions.reversed() {
    place.insert(rest % extent, at: 0)
    rest /= extent
  }
  let coordinates = place.map(String.init).joined(separator: ", ")
  return "Row \(firstRow + rest) at " + (place.count == 2 ? "pixel (\(coordinates))" : "position (\(coordinates))")
}
