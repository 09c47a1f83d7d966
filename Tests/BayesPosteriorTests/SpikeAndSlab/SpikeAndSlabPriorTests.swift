import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

@testable import BayesPosterior

struct SpikeAndSlabPriorTests {
  private let prior = SpikeAndSlabPrior(spike: 1e-2, slab: 2e-4, rowCount: 10_240)

  /// From the two densities and their odds.
  @Test func responsibilitiesAreThoseOfTheDensities() {
    func density(_ weights: [Double], penalty: Double) -> Double {
      let variance = 1 / (10_240 * penalty)
      return weights.reduce(1) { $0 * exp(-$1 * $1 / (2 * variance)) / (2 * Double.pi * variance).squareRoot() }
    }
    for weights in [[0.01, -0.02, 0.3], [0.1, 0.1, 0.1], [0.4, 0, -0.2]] {
      let (slab, spike) = (0.2 * density(weights, penalty: 2e-4), 0.8 * density(weights, penalty: 1e-2))
      let squares = weights.reduce(0) { $0 + $1 * $1 }
      expectClose(
        prior.responsibility(squares: squares, weightCount: 3, inclusion: 0.2), slab / (slab + spike), tolerance: 1e-12)
    }
  }

  /// Those of the methods' page, and where responsibilities cross one half.
  @Test func thresholds() {
    #expect(abs(prior.threshold(weightCount: 5, inclusion: 0.5) - 0.039) < 5e-4)
    let network = SpikeAndSlabPrior(spike: 1e-3, slab: 5e-4, rowCount: 50_000)
    #expect(abs(network.threshold(weightCount: 9, inclusion: 0.5) - 0.028) < 5e-4)
    for (count, inclusion) in [(1, 0.5), (9, 0.1), (50, 0.9)] {
      let threshold = prior.threshold(weightCount: count, inclusion: inclusion)
      expectClose(
        prior.responsibility(squares: threshold * Double(count), weightCount: count, inclusion: inclusion), 0.5,
        tolerance: 1e-9)
    }
  }

  /// The expectation of a Beta's mode given memberships; never at the ends, from which nothing returns.
  @Test func inclusionFollowsResponsibilities() {
    expectClose(prior.inclusion(responsibilities: [1, 0, 0.5, 0.1]), 0.4, tolerance: 1e-12)
    expectClose(prior.inclusion(responsibilities: [1, 0, 0.5, 0.1], a: 2, b: 4), 2.6 / 8, tolerance: 1e-12)
    expectClose(prior.inclusion(responsibilities: [0, 0]), 0.25, tolerance: 1e-12)
    expectClose(prior.inclusion(responsibilities: [1, 1]), 0.75, tolerance: 1e-12)
  }

  // MARK: - Groups

  @Test func groupsOfConvolutionsAndDenseLayers() {
    // height 1, width 2, 2 channels in, 3 out
    let shape: Shape = [1, 2, 2, 3]
    func groups(_ grouping: WeightGrouping) -> [Int] {
      let groups = WeightGroups(grouping, of: shape)
      #expect(groups.count * groups.weightCount == 12)
      return (0..<12).map { groups.group(at: $0) }
    }
    #expect(groups(.kernels) == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    #expect(groups(.filters) == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
    #expect(groups(.inputs) == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1])
    #expect(groups(.weights) == Array(0..<12))
    let dense = WeightGroups(.inputs, of: [2, 3])
    #expect((0..<6).map { dense.group(at: $0) } == [0, 0, 0, 1, 1, 1])
    let weights: [Float] = [1, 2, 3, 4, 5, 6]
    let squares = dense.squares(of: weights.span)
    #expect(squares == [14, 77])
  }

  @Test func removalIsForGoodAndNeverOfAll() {
    let thresholds = SelectionRule.thresholds(soft: 0.5, hard: 0.1)
    var selection = GroupSelection(WeightGroups(.inputs, of: [3, 2]), isRemovable: true)
    let first: ContiguousArray<Float> = [1, 1, 0.5, 0.1, 0.01, 0.01]
    selection.update(from: [first], by: thresholds, prior, inclusion: 0.5)
    #expect(selection.responsibilities == [1, 0, 0])
    var wouldAllGo = selection.remove(by: thresholds, chains: [first])
    #expect(!wouldAllGo && selection.mask == [1, 1, 1, 1, 0, 0])
    // What was removed does not come back; of what is left one group stays.
    let grown: ContiguousArray<Float> = [1, 1, 0.01, 0.01, 5, 5]
    selection.remove(by: thresholds, chains: [grown])
    #expect(selection.mask == [1, 1, 0, 0, 0, 0])
    let small: ContiguousArray<Float> = [0.01, 0.02, 0, 0, 0.03, 0.03]
    wouldAllGo = selection.remove(by: thresholds, chains: [small])
    #expect(wouldAllGo && selection.mask == [1, 1, 0, 0, 0, 0])
    var kept = GroupSelection(WeightGroups(.inputs, of: [3, 2]), isRemovable: false)
    kept.remove(by: thresholds, chains: [small])
    #expect(kept.removedCount == 0)
  }

  /// As released: a filter, or all that reads a channel, by its range, a constant one too.
  @Test func convolutionsAreRemovedByRange() {
    let rule = SelectionRule.thresholds(soft: 1, hard: 0.1)
    var selection = GroupSelection(WeightGroups(.kernels, of: [1, 2, 2, 2]), isRemovable: true)
    // [width][in][out]: filter 1 is 0.7 throughout; channel 1 has values about zero in filter 0.
    let weights: ContiguousArray<Float> = [0.5, 0.7, 0.01, 0.7, -0.5, 0.7, 0.02, 0.7]
    selection.remove(by: rule, chains: [weights])
    #expect(selection.mask == [1, 0, 1, 0, 1, 0, 1, 0])
  }

  /// Several chains have one mask: their responsibilities are averaged, and thresholds remove what is small in all of them.
  @Test func chainsShareASelection() {
    let (one, other): (ContiguousArray<Float>, ContiguousArray<Float>) = ([9, 0, 0], [9, 9, 0])
    var selection = GroupSelection(WeightGroups(.inputs, of: [3, 1]), isRemovable: true)
    selection.update(from: [one, other], by: .responsibilities(), prior, inclusion: 0.5)
    let spike = prior.responsibility(squares: 0, weightCount: 1, inclusion: 0.5)
    expectClose(selection.responsibilities[1], (1 + spike) / 2, tolerance: 1e-6)
    #expect(selection.meanSquares == [81, 40.5, 0])
    selection.remove(by: .thresholds(soft: 1, hard: 1), chains: [one, other])
    #expect(selection.mask == [1, 1, 0])
  }

  @Test func responsibilitiesAreRunningMeans() {
    let rule = SelectionRule.responsibilities(average: 0.75)
    var selection = GroupSelection(WeightGroups(.weights, of: [1, 2]), isRemovable: true)
    let (far, near): (ContiguousArray<Float>, ContiguousArray<Float>) = ([9, 9], [9, 0])
    selection.update(from: [far], by: rule, prior, inclusion: 0.5)
    #expect(selection.responsibilities.allSatisfy { $0 > 0.999 })
    let one = prior.responsibility(squares: 0, weightCount: 1, inclusion: 0.5)
    for count in 1...6 {
      selection.update(from: [near], by: rule, prior, inclusion: 0.5)
      expectClose(
        selection.responsibilities[1], pow(0.75, Double(count)) + (1 - pow(0.75, Double(count))) * one, tolerance: 1e-3)
    }
    selection.remove(by: rule, chains: [near])
    #expect(selection.mask == [1, 0])
  }
}
