import BayesTensor
import Foundation

/// An image whose values go from 0, black, to 1; row-major, channels last.
struct UnitImage: Equatable {
  let size: ImageSize
  /// As many as `size.valueCount`.
  var values: [Double]

  /// Every value plus a normal number of its own, clipped.
  func addingNoise(standardDeviation: Double, key: RandomKey) -> UnitImage {
    let normals: Tensor<Double> = key.normals([values.count])
    var result = self
    for position in values.indices {
      result.values[position] = Self.clipped(values[position] + standardDeviation * normals[position])
    }
    return result
  }

  /// Each channel filtered by a Gaussian, which is cut off at 4 standard deviations; beyond the edges the nearest pixel
  /// goes on.
  ///
  /// - Source: the filter, radius and edges are those of `scipy.ndimage.gaussian_filter(mode="nearest")`.
  func blurred(standardDeviation: Double) -> UnitImage {
    guard standardDeviation > 0 else { return self }
    let radius = Int(4 * standardDeviation + 0.5)
    var weights = (-radius...radius).map { exp(-0.5 * Double($0 * $0) / (standardDeviation * standardDeviation)) }
    let sum = weights.reduce(0, +)
    for position in weights.indices { weights[position] /= sum }
    let channels = size.channelCount
    let across = Self.filtered(
      values, weights, lines: size.height, lineStride: size.width * channels, length: size.width, step: channels,
      channels: channels)
    return UnitImage(
      size: size,
      values: Self.filtered(
        across, weights, lines: size.width, lineStride: channels, length: size.height, step: size.width * channels,
        channels: channels))
  }

  /// Filters along lines of one direction.
  ///
  /// - Parameters:
  ///   - lineStride: from one line to the next.
  ///   - step: from one place of a line to the next.
  private static func filtered(
    _ values: [Double], _ weights: [Double], lines: Int, lineStride: Int, length: Int, step: Int, channels: Int
  ) -> [Double] {
    var result = values
    let radius = weights.count / 2
    for line in 0..<lines {
      for channel in 0..<channels {
        let start = line * lineStride + channel
        for place in 0..<length {
          var sum = 0.0
          for offset in -radius...radius {
            let source = min(length - 1, max(0, place + offset))
            sum += weights[radius + offset] * values[start + source * step]
          }
          result[start + place * step] = sum
        }
      }
    }
    return result
  }

  /// Each channel drawn to its mean, `(x − mean) factor + mean`, clipped.
  func scalingContrast(by factor: Double) -> UnitImage {
    let channels = size.channelCount
    var means = [Double](repeating: 0, count: channels)
    for position in values.indices { means[position % channels] += values[position] }
    for channel in 0..<channels { means[channel] /= Double(size.height * size.width) }
    var result = self
    for position in values.indices {
      let mean = means[position % channels]
      result.values[position] = Self.clipped((values[position] - mean) * factor + mean)
    }
    return result
  }

  /// Each pixel with more value in HSV, clipped, and the hue and saturation that it has; black becomes grey.
  ///
  /// Value is the largest channel V, and the others are shares of it that hue and saturation fix: all are multiplied by
  /// min(1, V + light) / V.
  func brightened(by light: Double) -> UnitImage {
    let channels = size.channelCount
    var result = self
    for start in stride(from: 0, to: values.count, by: channels) {
      let value = values[start..<start + channels].max() ?? 0
      let raised = Self.clipped(value + light)
      for position in start..<start + channels {
        result.values[position] = value > 0 ? Self.clipped(values[position] * (raised / value)) : raised
      }
    }
    return result
  }

  /// The image after JPEG, through 256 levels.
  ///
  /// - Precondition: the codec is for images of this size.
  func compressed(quality: Int, by codec: JPEGCodec) throws(FileError) -> UnitImage {
    let bytes = ContiguousArray(values.map { UInt8((Self.clipped($0) * 255).rounded()) })
    let unpacked = try codec.unpacked(compressing: bytes, quality: quality)
    return UnitImage(size: size, values: unpacked.map { Double($0) / 255 })
  }

  /// Turned anticlockwise about the centre, by linear interpolation between the four nearest pixels, black outside.
  ///
  /// The pixel at `(row, column)` from the centre comes from `(cos · row + sin · column, cos · column − sin · row)`.
  func rotated(degrees: Double) -> UnitImage {
    let (height, width, channels) = (size.height, size.width, size.channelCount)
    let (sine, cosine) = (sin(degrees * .pi / 180), cos(degrees * .pi / 180))
    let (middleRow, middleColumn) = (Double(height - 1) / 2, Double(width - 1) / 2)
    var result = UnitImage(size: size, values: [Double](repeating: 0, count: values.count))
    for row in 0..<height {
      for column in 0..<width {
        let (down, right) = (Double(row) - middleRow, Double(column) - middleColumn)
        let sourceRow = cosine * down + sine * right + middleRow
        let sourceColumn = cosine * right - sine * down + middleColumn
        let (top, left) = (sourceRow.rounded(.down), sourceColumn.rounded(.down))
        for (y, shareY) in [(Int(top), 1 - (sourceRow - top)), (Int(top) + 1, sourceRow - top)] where 0..<height ~= y {
          for (x, shareX) in [(Int(left), 1 - (sourceColumn - left)), (Int(left) + 1, sourceColumn - left)]
          where 0..<width ~= x {
            for channel in 0..<channels {
              result.values[(row * width + column) * channels + channel] +=
                shareY * shareX * values[(y * width + x) * channels + channel]
            }
          }
        }
      }
    }
    for position in result.values.indices { result.values[position] = Self.clipped(result.values[position]) }
    return result
  }

  private static func clipped(_ value: Double) -> Double { min(1, max(0, value)) }
}
