import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing

/// Pictures of rows, read back by the importer of images.
struct ThumbnailTests {
  /// Writes a picture and reads its pixels back, `[height, width, channels]`.
  private func pixels(_ batch: RowBatch, row: Int) throws -> RowBatch {
    let uri = try #require(Thumbnail(batch, row: row)).dataURI()
    let prefix = "data:image/png;base64,"
    #expect(uri.hasPrefix(prefix))
    let folder = try TemporaryFolder()
    let images = try folder.makeFolder("images")
    try folder.makeFolder("images/class")
    try folder.write(#require(Data(base64Encoded: String(uri.dropFirst(prefix.count)))), to: "images/class/a.png")
    return try openDataset(images).inputs(0..<1)
  }

  private func image(_ shape: Shape, _ value: (Int) -> Float) -> RowBatch {
    RowBatch(Tensor<Float>(shape: shape, elements: ContiguousArray((0..<shape.elementCount).map(value))))
  }

  @Test func bytesAreShownAsTheyAre() throws {
    let numbers: [UInt8] = (0..<120).map { UInt8(($0 * 37) % 256) }
    let values = ContiguousArray(numbers)
    let read = try pixels(RowBatch(shape: [2, 5, 4, 3], values: .bytes(values)), row: 1)
    #expect(read == RowBatch(shape: [1, 5, 4, 3], values: .bytes(ContiguousArray(values[60...]))))
  }

  /// Shares of one are 255-fold, numbers up to 255 are kept, all others are stretched.
  @Test(arguments: [(Float(1) / 15, Float(0), Float(17)), (15, 0, 15), (2, -3, 17)])
  func numbersAreBroughtIntoRange(step: Float, first: Float, expected: Float) throws {
    let read = try pixels(image([1, 4, 4]) { first + step * Float($0) }, row: 0)
    #expect(read.tensor.elements == ContiguousArray((0..<16).map { Float($0) * expected }))
  }

  @Test func channelsMayComeFirst() throws {
    let first = try pixels(image([1, 3, 5, 4]) { Float($0) }, row: 0)
    let last = try pixels(image([1, 5, 4, 3]) { Float($0 % 3 * 20 + $0 / 3) }, row: 0)
    #expect(first == last)
  }

  @Test func largeImagesAreAveraged() throws {
    // Squares of 3 x 3, whose mean is that of lines and columns.
    let read = try pixels(image([1, 200, 250]) { Float($0 / 250 % 3 + $0 % 3) * 10 }, row: 0)
    #expect(read.shape == [1, 66, 83, 1])
  }

  @Test(arguments: [[1, 7], [1, 4, 3, 3], [1, 8, 8, 2], [1, 2, 2, 2, 2]] as [Shape])
  func whatIsNoImageHasNone(shape: Shape) { #expect(Thumbnail(image(shape) { Float($0) }, row: 0) == nil) }
}
