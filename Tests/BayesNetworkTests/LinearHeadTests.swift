import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Which layers before an exit's logits are linear heads.
struct LinearHeadTests {
  static let one = Extent2D(height: 1, width: 1)

  /// The head of a network of some layers behind images of 4 by 6 pixels with 3 channels.
  func head(_ layers: any Layer...) throws -> Int? {
    var builder = NetworkBuilder(input: [4, 6, 3])
    for layer in layers { builder.add(layer) }
    let network = try builder.frozen().network
    return network.head(of: network.exits[0])
  }

  @Test func denseLayersAndPointwiseConvolutionsAreHeads() throws {
    #expect(try head(Activation(.tanh), Convolution(filters: 5, window: Self.one, usesBias: false)) == 2)
    #expect(try head(Activation(.tanh), Dense(units: 5)) == 2)
    #expect(try head(Reshape.flatten, Dense(units: 5)) == 2)
    #expect(
      try head(
        Convolution(filters: 5, window: Self.one, dilation: Extent2D(height: 2, width: 3), padding: .same), Identity(),
        Reshape(target: [24, 5]), Activation(.linear)) == 1)
  }

  @Test func whatMixesPixelsIsNone() throws {
    let two = Extent2D(height: 2, width: 2)
    #expect(try head(Convolution(filters: 5, window: two, padding: .same)) == nil)
    #expect(try head(Convolution(filters: 5, window: Self.one, strides: two)) == nil)
    #expect(try head(Convolution(filters: 6, window: Self.one, groups: 3)) == nil)
    #expect(
      try head(
        Convolution(filters: 5, window: Self.one, padding: .explicit(SpatialPadding(top: 1, bottom: 0, left: 0, right: 0))))
        == nil)
    #expect(try head(Convolution(filters: 5, window: Self.one), Activation(.tanh)) == nil)
    // Classes of one pixel and positions change places.
    #expect(try head(Convolution(filters: 4, window: Self.one), Reshape(target: [4, 6, 2, 2])) == nil)
  }

  @Test func featuresThatAreNotTheHeadsAreRefused() throws {
    var builder = NetworkBuilder(input: [4, 6, 3])
    builder.add(Convolution(filters: 7, window: Self.one))
    builder.add(Convolution(filters: 5, window: Self.one))
    func network(features: Int, logits: Int) throws -> Network {
      try Network(
        nodes: builder.nodes,
        exits: [BayesNetwork.Exit(name: "exit", logits: logits, features: features, likelihood: nil)])
    }
    #expect(try network(features: 1, logits: 2).exits[0].features == 1)
    #expect(throws: NetworkError.self) { try network(features: 0, logits: 2) }
    builder.add(Activation(.tanh))
    #expect(throws: NetworkError.self) { try network(features: 2, logits: 3) }
  }
}
