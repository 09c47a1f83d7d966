public import BayesTensor

/// A search of placements, or the fit of one, under way: what was found so far, from which it goes on.
///
/// - `/` has `format`, `settings`, `layerCount` and the texts; `/layers/0` and so on the distributions of layers, see
///   `PlacementPosterior`; `/scores` a row a placement; `/joint` Gaussians that are trained together.
public struct PlacementTraining: ResumableTraining, Equatable {
  /// Distributions of layers in the order in which they were found.
  public var distributions: [LayerDistribution] = []
  /// Small texts, by name.
  public var texts: [String: String] = [:]
  /// Numbers of placements and of their scores, `[placements, numbers]`.
  public var scores: Tensor<Double>?
  /// Gaussians of several layers under way.
  var joint: JointVariationalTraining?

  public init() {}

  /// What is done in one go: a layer, an epoch of several, or a placement.
  public var epochCount: Int { distributions.count + (joint?.epochCount ?? 0) + (scores?.rowCount ?? 0) }

  private static let formatName = "bayesify-placement-search"

  public func write(to archive: any ArrayArchiveWriter, settings: [String: String]) throws(FileError) {
    try archive.writeTrainingHeader(Self.formatName, settings: settings)
    try archive.setAttribute("layerCount", .integer(distributions.count), of: "/")
    try archive.setAttribute(
      "texts", .texts(texts.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }), of: "/")
    for (index, distribution) in distributions.enumerated() { try archive.write(distribution, at: "/layers/\(index)") }
    if let scores { try archive.write(scores, at: "/scores") }
    if let joint { try archive.write(joint, at: "/joint") }
  }

  public init(from archive: any ArrayArchive, settings: [String: String]) throws(FileError) {
    let reader = PosteriorReader(archive: archive)
    try reader.requireTraining(Self.formatName, settings: settings)
    let count = try reader.integer("layerCount", of: "/")
    guard (0...1_000_000).contains(count) else {
      throw reader.failure(.value, "/", "There are \(count) layers; the file is damaged, begin anew with --force.")
    }
    for index in 0..<count { distributions.append(try reader.layerDistribution(at: "/layers/\(index)")) }
    for text in try reader.texts("texts", of: "/") {
      let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      if parts.count == 2 { texts[parts[0]] = parts[1] }
    }
    if archive.entry("/joint/0/means") != nil { joint = try reader.jointTraining(at: "/joint") }
    if archive.entry("/scores") != nil { scores = try reader.array("/scores", rank: 2) as Tensor<Double> }
  }
}
