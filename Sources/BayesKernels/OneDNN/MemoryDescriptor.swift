import BayesTensor
import COneDNN

/// The logical extents and the physical order of a native tensor of `Float`.
struct MemoryDescriptor: Sendable {
  var native: dnnl_memory_desc_t

  init(_ native: dnnl_memory_desc_t) { self.native = native }

  init(_ dimensions: [Int], _ tag: dnnl_format_tag_t) throws(NumericalError) {
    var descriptor = dnnl_memory_desc_t()
    let extents = dimensions.map(Int64.init)
    try unsafe require(
      dnnl_memory_desc_init_by_tag(&descriptor, Int32(extents.count), extents, dnnl_f32, tag),
      "dnnl_memory_desc_init_by_tag")
    native = descriptor
  }

  /// Images `[batch, height, width, channels]`, whose logical order in oneDNN is n, c, h, w.
  init(images shape: Shape, _ order: ImageOrder = .channelsLast) throws(NumericalError) {
    let tag =
      switch order {
      case .channelsLast: dnnl_nhwc
      case .channelBlocks(.eight): dnnl_nChw8c
      case .channelBlocks(.sixteen): dnnl_nChw16c
      case .planar: dnnl_nchw
      }
    try self.init([shape[0], shape[3], shape[1], shape[2]], tag)
  }

  /// A matrix in row-major order.
  init(matrix rows: Int, _ columns: Int) throws(NumericalError) {
    try self.init([rows, columns], dnnl_ab)
  }

  /// A vector.
  init(vector count: Int) throws(NumericalError) {
    try self.init([count], dnnl_a)
  }

  /// Convolution weights `[height, width, in / groups, out]`.
  init(weights shape: Shape, groups: Int, tag: dnnl_format_tag_t? = nil) throws(NumericalError) {
    if groups == 1 {
      try self.init([shape[3], shape[2], shape[0], shape[1]], tag ?? dnnl_hwio)
    } else {
      try self.init([groups, shape[3] / groups, shape[2], shape[0], shape[1]], tag ?? dnnl_hwigo)
    }
  }

  /// Some filters of convolution weights `[height, width, in, out]` where those of all lie.
  init(filters: Range<Int>, of shape: Shape) throws(NumericalError) {
    let whole = try MemoryDescriptor(weights: shape, groups: 1)
    var (part, parent) = (dnnl_memory_desc_t(), whole.native)
    let extents = [filters.count, shape[2], shape[0], shape[1]].map(Int64.init)
    try unsafe require(
      dnnl_memory_desc_init_submemory(&part, &parent, extents, [Int64(filters.lowerBound), 0, 0, 0]),
      "dnnl_memory_desc_init_submemory")
    native = part
  }

  var byteCount: Int {
    var copy = native
    return unsafe Int(dnnl_memory_desc_get_size(&copy))
  }

  func isEqual(to other: MemoryDescriptor) -> Bool {
    var (a, b) = (native, other.native)
    return unsafe dnnl_memory_desc_equal(&a, &b) != 0
  }
}
