import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Operations and parameters of multi-scale dense networks, counted from descriptions that Keras wrote, without weights.
struct OperationCountTests {
  /// What `inspect --json` says of a network.
  private struct Inspection: Decodable {
    struct Node: Decodable {
      var kind: String
      var multiplyAdds: Int
      var parameters: Int
    }
    struct Exit: Decodable {
      var name: String
      var features: Int
      var classes: Int
      var multiplyAdds: Int
      var parameters: Int
    }
    var counting: String
    var parameters: Int
    var nodes: [Node]
    var exits: [Exit]
  }

  /// One network's published figures.
  struct Published: CustomTestStringConvertible, Sendable {
    var variant: String
    /// Of each exit, in millions; of some networks only the last exit's.
    var operations: [Double]
    /// In millions, with three decimals; where the source leaves exits out, so does this.
    var parameters: [Int: Double]
    var features: [Int]
    var classes: Int
    var testDescription: String { variant }
  }

  /// Counts of an independent program that prints, for the ImageNet network of seven layers a block, the
  /// figures that users of the public PyTorch implementation report.
  private static let published = [
    Published(
      variant: "cifar100-small", operations: [6.86, 14.35, 26.13, 38.04],
      parameters: [0: 0.300, 1: 0.650, 2: 1.021, 3: 1.420], features: [128, 128, 128, 128], classes: 100),
    Published(
      variant: "cifar100-batch", operations: [6.86, 14.35, 27.54, 41.71, 58.48], parameters: [0: 0.300, 4: 2.079],
      features: [128, 128, 128, 128, 128], classes: 100),
    Published(
      variant: "cifar100-medium", operations: [6.86, 14.35, 27.29, 46.56, 67.43, 89.09],
      parameters: [0: 0.300, 5: 2.852], features: [128, 128, 128, 128, 128, 128], classes: 100),
    Published(
      variant: "cifar100-large", operations: [6.86, 14.35, 27.29, 48.45, 81.57, 112.64, 152.92, 192.69],
      parameters: [0: 0.300, 7: 5.311], features: [128, 128, 128, 128, 128, 128, 128, 128], classes: 100),
    Published(
      variant: "cifar100-anytime", operations: [15.14, 25.51, 37.10, 46.33, 57.34, 66.96, 75.94],
      parameters: [0: 0.434, 6: 3.068], features: [128, 128, 128, 128, 128, 128, 128], classes: 100),
    Published(
      variant: "imagenet-small", operations: [339.90, 685.46, 1008.16, 1254.47, 1360.53],
      parameters: [0: 4.239, 4: 23.958], features: [384, 384, 352, 304, 560], classes: 1000),
    Published(
      variant: "imagenet-medium", operations: [514.66, 1171.18, 1844.52, 2501.40, 2742.06],
      parameters: [0: 7.077, 4: 56.529], features: [512, 544, 496, 880, 792], classes: 1000),
    Published(
      variant: "imagenet-large", operations: [615.69, 1436.39, 2283.21, 2967.42, 3253.79],
      parameters: [0: 8.759, 1: 20.15, 2: 31.73, 3: 41.86, 4: 62.314], features: [576, 640, 608, 528, 976],
      classes: 1000),
    Published(
      variant: "caltech256-small", operations: [1359.05], parameters: [4: 22.481],
      features: [384, 384, 352, 304, 560], classes: 257),
    Published(
      variant: "caltech256-medium", operations: [2739.66], parameters: [4: 54.130],
      features: [512, 544, 496, 880, 792], classes: 257),
    Published(
      variant: "caltech256-large", operations: [3251.32], parameters: [4: 59.838],
      features: [576, 640, 608, 528, 976], classes: 257),
  ]

  @Test(arguments: published)
  func countsOfMultiScaleNetworksAreThosePublished(_ network: Published) async throws {
    let told = try await inspect(network.variant, "--count", "msdnet")
    #expect(told.counting == "msdnet")
    #expect(told.exits.map(\.features) == network.features)
    #expect(told.exits.allSatisfy { $0.classes == network.classes })
    let operations = told.exits.suffix(network.operations.count).map(\.multiplyAdds)
    for (count, millions) in zip(operations, network.operations) {
      #expect(abs(Double(count) / 1e6 - millions) <= 0.005, "\(count) for \(millions) million")
    }
    for (exit, millions) in network.parameters {
      let isCoarse = network.variant == "imagenet-large" && (1...3).contains(exit)
      let count = told.exits[exit].parameters
      #expect(
        abs(Double(count) / 1e6 - millions) <= (isCoarse ? 0.005 : 0.0005), "\(count) for \(millions) million")
    }
    #expect(told.nodes.map(\.multiplyAdds).reduce(0, +) == told.exits.last?.multiplyAdds)
    #expect(told.nodes.map(\.parameters).reduce(0, +) == told.parameters)
    #expect(told.exits.last?.parameters == told.parameters)
  }

  @Test func theUsualCountLeavesOutWhatAnExitDoesNotNeed() async throws {
    let usual = try await inspect("toy")
    let published = try await inspect("toy", "--count", "msdnet")
    #expect(usual.counting == "multiply-adds")
    let named = try await inspect("toy", "--count", "multiply-adds")
    #expect(named.exits.map(\.multiplyAdds) == usual.exits.map(\.multiplyAdds))
    // By hand. Stem 28x28: 1 to 8; second scale 14x14: 8 to 16. First layer, of which the exit needs the second scale:
    // 8 to 4 to 4 with stride two, 16 to 8 to 4. Head: 20 to 32 at 7x7, 32 to 32 at 4x4, 32 to 10.
    let stem = 784 * 9 * 8 + 196 * 9 * 8 * 16
    let second = 784 * 8 * 4 + 196 * 9 * 4 * 4 + 196 * 16 * 8 + 196 * 9 * 8 * 4
    let head = 49 * 9 * 24 * 32 + 16 * 9 * 32 * 32 + 32 * 10
    #expect(usual.exits[0].multiplyAdds == stem + second + head)
    // The finest scale of the first layer, 8 to 4 to 4; ReLUs; the mean over 4x4; biases.
    let first = 784 * 8 * 4 + 784 * 9 * 4 * 4
    let rectified = 784 * 8 + 196 * 16 + 784 * 4 + 784 * 4 + 784 * 4 + 196 * 4 + 196 * 8 + 196 * 4 + 49 * 32 + 16 * 32
    #expect(published.exits[0].multiplyAdds == stem + second + head + first + rectified + 16 * 32 + 10)
    // Keras counts 69,158 parameters; batch normalisations hold a mean and a variance beside what they learn.
    #expect(usual.parameters == 69_158 && usual.exits[2].parameters == 69_158)
    #expect(published.exits[2].parameters == published.parameters)
    let normalized = usual.nodes.indices.filter { usual.nodes[$0].kind == "BatchNormalization" }
    #expect(normalized.allSatisfy { usual.nodes[$0].parameters == 2 * published.nodes[$0].parameters })
    #expect(
      usual.parameters - published.parameters == normalized.reduce(0) { $0 + published.nodes[$1].parameters })
  }

  /// Activations inside of layers count, and whatever every exit needs is counted once.
  @Test func countsOfTheDigitsNetworkAreThoseByHand() async throws {
    let text = try await TestFolder().succeed("inspect", Digits.checkpoint, "--count", "msdnet", "--json").output
    let told = try JSONDecoder().decode(Inspection.self, from: Data(text.utf8))
    // Convolution, ReLU and pooling; mean, dense layer with ReLU, dense layer.
    let first = 64 * 24 * 9 + 64 * 24 + 16 * 24 * 4 + 16 * 24 + (24 * 32 + 32) + 32 + (32 * 10 + 10)
    let second = 16 * 32 * 9 * 24 + 16 * 32 + 4 * 32 * 4 + 4 * 32 + (32 * 32 + 32) + 32 + (32 * 10 + 10)
    let third = 4 * 48 * 9 * 32 + 4 * 48 + (192 * 32 + 32) + 32 + (32 * 10 + 10)
    #expect(told.exits.map(\.multiplyAdds) == [first, first + second, first + second + third])
    // Three batch normalisations keep a mean and a variance for each channel.
    #expect(told.parameters == 30_390 - 2 * (24 + 32 + 48))
  }

  @Test func tablesNameTheConvention() async throws {
    let folder = try TestFolder()
    let file = try await unpacked("toy", in: folder)
    let usual = try await folder.succeed("inspect", file).output
    #expect(usual.contains(/exit .* parameters +multiply-adds\n/))
    let beginning = "toy.json: Keras description, JSON\na description without weights\ninput [28, 28, 1], 69158"
    #expect(usual.hasPrefix(beginning))
    let published = try await folder.succeed("inspect", file, "--count", "msdnet").output
    #expect(published.contains(/exit .* parameters +operations \(msdnet\)\n/))
  }

  @Test func unknownConventionsAreRefusedWithThoseKnown() async throws {
    try await TestFolder().refuse(
      "inspect", Digits.checkpoint, "--count", "flops", code: 64, naming: "flops", "multiply-adds", "msdnet")
  }

  @Test func countsOfWhatIsNoNetworkAreRefused() async throws {
    let folder = try TestFolder()
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.validation, "-o", "records.h5")
    try await folder.refuse(
      "inspect", "records.h5", "--count", "msdnet", code: 65, naming: "records.h5", "leave --count out")
    let weights = golden("BrokenCheckpoints/no-config.h5")
    try await folder.refuse("inspect", weights, "--count", "msdnet", code: 65, naming: weights, "leave --count out")
    let run = try await folder.run(["inspect", Digits.checkpoint, "--verify", "rows.npz", "--count", "msdnet"])
    #expect(run.exitCode == 64 && run.errors.contains("leave --count out"), "\(run.testDescription)")
  }

  @Test(
    .enabled(if: TestFiles.shared != nil),
    arguments: ["msdnet-small-cifar10.h5", "msdnet-small-cifar10-overfit.keras"])
  func trainedNetworksCountAsTheirDescription(_ name: String) async throws {
    let file = (TestFiles.shared ?? TestFiles.package).appending(path: "checkpoints/\(name)")
      .path(percentEncoded: false)
    for convention in OperationCount.allCases {
      let text = try await TestFolder().succeed("inspect", file, "--count", convention.rawValue, "--json").output
      let trained = try JSONDecoder().decode(Inspection.self, from: Data(text.utf8))
      let described = try await inspect("cifar10-small", "--count", convention.rawValue)
      #expect(trained.exits.map(\.multiplyAdds) == described.exits.map(\.multiplyAdds))
      #expect(trained.exits.map(\.parameters) == described.exits.map(\.parameters))
      #expect(trained.exits.map(\.name) == ["exit1", "exit2", "exit3", "exit4"])
    }
  }

  private func inspect(_ variant: String, _ options: String...) async throws -> Inspection {
    let folder = try TestFolder()
    let run = try await folder.run(["inspect", try await unpacked(variant, in: folder), "--json"] + options)
    try #require(run.exitCode == 0, "\(run.testDescription)")
    return try JSONDecoder().decode(Inspection.self, from: Data(run.output.utf8))
  }

  /// The description of a network, unpacked into a folder.
  private func unpacked(_ variant: String, in folder: TestFolder) async throws -> String {
    let name = variant + ".json"
    try Data().write(to: URL(filePath: folder.path(name)))
    let process = Process()
    process.executableURL = URL(filePath: "/bin/gzip")
    process.arguments = ["-dc", golden("MSDNet/\(name).gz")]
    process.standardOutput = try FileHandle(forWritingTo: URL(filePath: folder.path(name)))
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return name
  }
}
