import BayesTensor
import CHDF5

/// How the bytes of an array lie in its file.
struct HDF5Layout {
  private let kind: H5D_layout_t
  private let chunk: [Int]
  private let elementSize: Int
  let storageSize: Int
  private let hasExternalFiles: Bool
  private let missingFilters: [String]

  /// The cache never takes more, so a file with chunks larger than this reads them more than once.
  private static let cacheLimit = 1 << 30
  /// Deflate shrinks at most 1032-fold; what claims more is damaged.
  private static let greatestCompression = 2048
  /// A chunk is unpacked whole, however little of it is in the array.
  private static let greatestChunk = Double(1 << 30)
  /// Arrays that were never written take no room, so small ones are believed.
  private static let believedWithoutStorage = 1 << 26

  init(of dataset: hid_t, rank: Int) throws(HDF5Failure) {
    let properties = try HDF5Handle<HDF5PropertiesResource>(H5Dget_create_plist(dataset))
    let type = try HDF5Handle<HDF5DatatypeResource>(H5Dget_type(dataset))
    kind = H5Pget_layout(properties.identifier)
    elementSize = H5Tget_size(type.identifier)
    storageSize = Int(clamping: H5Dget_storage_size(dataset))
    hasExternalFiles = H5Pget_external_count(properties.identifier) > 0
    var extents = [hsize_t](repeating: 0, count: rank)
    if kind == H5D_CHUNKED {
      try requireHDF5(unsafe H5Pget_chunk(properties.identifier, Int32(rank), &extents))
    }
    chunk = kind == H5D_CHUNKED ? extents.map { Int(clamping: $0) } : []
    var missing: [String] = []
    let filterCount = H5Pget_nfilters(properties.identifier)
    for index in 0..<UInt32(clamping: filterCount) {
      var flags: UInt32 = 0
      var valueCount = 0
      var name = [CChar](repeating: 0, count: 64)
      let filter = unsafe H5Pget_filter2(
        properties.identifier, index, &flags, &valueCount, nil, name.count, &name, nil)
      if filter < 0 || H5Zfilter_avail(filter) <= 0 {
        let text = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        missing.append("\(text.isEmpty ? "" : "'\(text)' ")(number \(filter))")
      }
    }
    missingFilters = missing
  }

  /// Refuses what is not read.
  ///
  /// - Throws: `FileError.Code.unsupported` or `FileError.Code.malformed`.
  func check(_ entry: ArchiveEntry, _ scalarType: ScalarType, file: String, fileSize: Int) throws(FileError) {
    func refuse(_ code: FileError.Code, _ message: String) -> FileError {
      FileError(code, file: file, object: entry.path, message)
    }
    guard scalarType.isNumeric else {
      throw refuse(
        .unsupported,
        "The array's elements are of the type '\(scalarType.name)', not numbers; write it as float32 or an "
          + "integer type.")
    }
    guard !hasExternalFiles, kind != H5D_VIRTUAL else {
      throw refuse(
        .unsupported,
        "The array's values lie in other files, which are not followed; copy them into this one with h5repack."
      )
    }
    guard missingFilters.isEmpty else {
      throw refuse(
        .unsupported,
        "The array is stored with the filter \(missingFilters.joined(separator: ", ")), which the HDF5 "
          + "library here does not have; rewrite it with gzip, or without a filter.")
    }
    guard chunk.reduce(Double(elementSize), { $0 * Double($1) }) <= Self.greatestChunk else {
      throw refuse(
        .unsupported,
        "The array is stored in chunks of \(Shape(chunk)) elements, which are too large to unpack; rewrite it with "
          + "smaller ones, for instance with h5repack.")
    }
    let claimed = Double(entry.shape.elementCount) * Double(elementSize)
    let isPlain = kind == H5D_CONTIGUOUS && storageSize > 0
    let most =
      isPlain
      ? Double(min(storageSize, fileSize))
      : Double(fileSize) * Double(Self.greatestCompression) + Double(Self.believedWithoutStorage)
    guard claimed <= most else {
      throw refuse(
        .malformed,
        "The array claims \(entry.shape) elements of \(elementSize) bytes, which a file of \(fileSize) bytes "
          + "cannot hold; copy or download it again.")
    }
  }

  /// Gives the cache room for two rows of chunks, so that reading row ranges in order unpacks each
  /// chunk once.
  func sizeChunkCache(of access: hid_t, shape: Shape) throws(HDF5Failure) {
    guard !chunk.isEmpty else { return }
    var count = 2.0
    for (extent, step) in zip(shape.dimensions, chunk).dropFirst() {
      count *= (Double(extent) / Double(max(step, 1))).rounded(.up)
    }
    let size = chunk.reduce(count * Double(elementSize)) { $0 * Double($1) }
    // Slots beyond ten a chunk make collisions rare; a collision evicts a chunk.
    let slots = Int(min(max(count * 10, 521), 1_000_003)) | 1
    // Chunks that were read whole go first (weight 1): in order, they are not needed again.
    try requireHDF5(
      H5Pset_chunk_cache(access, slots, max(1 << 20, Int(min(size, Double(Self.cacheLimit)))), 1))
  }
}
