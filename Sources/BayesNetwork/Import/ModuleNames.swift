/// Names of modules, compared by their letters and digits: `layer1.0` may be `layer1_0` or `model.layer1_._0` elsewhere.
enum ModuleNames {
  /// The letters and digits of a name, in lower case.
  static func letters(_ name: some StringProtocol) -> String { name.lowercased().filter { $0.isLetter || $0.isNumber } }

  /// The ends of a path, from its last part to all of it: `conv` and `blockconv` of `block.conv`.
  ///
  /// - Parameter limit: no longer ends are of interest; a stranger's path may have any number of parts.
  static func ends(of path: String, upTo limit: Int) -> [String] {
    var ends: [String] = []
    var end = ""
    for part in path.split(separator: ".").reversed() {
      end = letters(part) + end
      guard end.count <= limit else { break }
      ends.append(end)
    }
    return ends
  }
}
