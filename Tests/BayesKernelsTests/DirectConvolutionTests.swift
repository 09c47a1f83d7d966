@testable import BayesKernels
import BayesNetwork
import BayesTensor
import Testing

/// The way back of convolutions that oneDNN has a reference for alone, in blocks of any width, whatever this processor prefers.
@Suite struct DirectConvolutionTests {
  private static let rowCount = 2
  private static let size = MemoryLayout<Float>.stride

  @Test(arguments: [ChannelBlock.eight, .sixteen], [1, 2])
  func gradientsAreThoseOfTheLayer(block: ChannelBlock, stride: Int) throws {
    try check(input: [7, 6, 2], ImageOrders(input: .planar, output: .channelBlocks(block)), stride: stride)
  }

  @Test(arguments: [ChannelBlock.eight, .sixteen], [1, 2])
  func imagesMayBeSmallerThanTheWindow(block: ChannelBlock, stride: Int) throws {
    try check(
      input: [2, 2, 32], ImageOrders(input: .channelBlocks(block), output: .channelBlocks(block)), stride: stride)
  }

  private func check(input: Shape, _ orders: ImageOrders, stride: Int) throws {
    let layer = Convolution(
      filters: 32, window: Extent2D(height: 3, width: 3), strides: Extent2D(height: stride, width: stride), padding: .same,
      usesBias: false)
    let rows = Self.rowCount
    let geometry = layer.geometry(for: input)
    let images = RandomKey(seed: 1).normals(input.batched(rows), as: Float.self)
    let weight = RandomKey(seed: 2).normals([3, 3, input[2], 32], as: Float.self)
    let result = layer.forward([images], parameters: [weight], on: ReferenceBackend())
    let cotangent = RandomKey(seed: 3).normals(result.shape, as: Float.self)
    let expected = layer.pullback(
      of: cotangent, inputs: [images], parameters: [weight], output: result,
      request: GradientRequest(inputs: [true], parameters: true), on: ReferenceBackend())

    let output = result.shape.row
    let own = try #require(
      DirectConvolution(input: input, output: output, groups: 1, orders: orders, geometry, rowCount: rows))
    // The images, the cotangent and the gradient in the convolution's orders, each with a copy in the usual one.
    let (imageBytes, resultBytes) = (images.count * Self.size, cotangent.count * Self.size)
    let arena = AlignedBuffer(byteCount: 4 * imageBytes + 2 * resultBytes)
    let offsets = (images: 0, gradient: 2 * imageBytes, cotangent: 4 * imageBytes)
    write(images, to: arena, at: offsets.images)
    write(cotangent, to: arena, at: offsets.cotangent)
    ImageOrder.channelsLast.rewriter(
      to: orders.input, input, from: offsets.images, to: offsets.images + imageBytes, rowCount: rows)(arena)
    ImageOrder.channelsLast.rewriter(
      to: orders.output, output, from: offsets.cotangent, to: offsets.cotangent + resultBytes, rowCount: rows)(arena)
    let (packed, sum) = (
      AlignedBuffer(byteCount: weight.count * Self.size), AlignedBuffer(byteCount: weight.count * Self.size)
    )
    write(weight, to: packed, at: 0)
    own.inputGradient(packed, in: arena, cotangent: offsets.cotangent + resultBytes, target: offsets.gradient)
    orders.input.rewriter(
      to: .channelsLast, input, from: offsets.gradient, to: offsets.gradient + imageBytes, rowCount: rows)(arena)
    own.addWeightGradient(
      to: sum, in: arena, source: offsets.images + imageBytes, cotangent: offsets.cotangent + resultBytes)

    let inputGradient = try #require(expected.inputs[0])
    let weightGradient = try #require(expected.parameters[0])
    #expect(largestDifference(arena, offsets.gradient + imageBytes, inputGradient) < 1e-4)
    #expect(largestDifference(sum, 0, weightGradient) < 1e-4)
  }

  @Test func otherOrdersAreNone() {
    let geometry = WindowGeometry(window: Extent2D(height: 3, width: 3))
    for orders in [ImageOrders(), ImageOrders(input: .channelBlocks(.eight))] {
      #expect(
        DirectConvolution(input: [5, 5, 2], output: [3, 3, 32], groups: 1, orders: orders, geometry, rowCount: 1) == nil)
    }
  }

  private func write(_ tensor: Tensor<Float>, to buffer: AlignedBuffer, at offset: Int) {
    let numbers = unsafe buffer.floats(at: offset)
    for index in 0..<tensor.count { unsafe numbers[index] = tensor[index] }
  }

  private func largestDifference(_ buffer: AlignedBuffer, _ offset: Int, _ expected: Tensor<Float>) -> Float {
    let numbers = unsafe buffer.floats(at: offset)
    return (0..<expected.count).reduce(0) { unsafe max($0, abs(numbers[$1] - expected[$1])) }
  }
}
