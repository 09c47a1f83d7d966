import BayesTensor
import Bayesify
import Foundation
import Testing

/// What a routed file holds.
struct RoutedRows {
  let exits: [Int]
  let arrays: [String: Tensor<Double>]
  let labels: [Int]

  init(_ file: String) throws {
    let archive = try HDF5Archive(file)
    exits = try archive.readIntegers("/exit", rows: nil)
    labels = try archive.readIntegers("/labels", rows: nil)
    arrays = try Dictionary(
      uniqueKeysWithValues: ["probabilities", "total", "aleatoric", "epistemic", "cost"].map {
        ($0, try archive.read("/" + $0, as: Double.self))
      })
  }

  /// The largest difference of any number from that of the exit that each row took, of predictions of all exits.
  func difference(from predictions: String) throws -> Double {
    let archive = try HDF5Archive(predictions)
    var largest = 0.0
    for name in ["probabilities", "total", "aleatoric", "epistemic"] {
      let own = try #require(arrays[name])
      let width = own.count / exits.count
      for exit in Set(exits) {
        let all = try archive.read("/exits/\(exit)/\(name)", as: Double.self)
        for (row, taken) in exits.enumerated() where taken == exit {
          for k in 0..<width { largest = max(largest, abs(own[row * width + k] - all[row * width + k])) }
        }
      }
    }
    return largest
  }
}
