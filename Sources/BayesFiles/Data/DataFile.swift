import BayesTensor
import Foundation

/// A file of arrays, whatever its format, or a folder of images.
enum DataFile {
  /// One array without a name: `.npy` and IDX.
  case single(any StoredArray)
  /// Arrays by name: HDF5 and `.npz`.
  case named(any ArrayCatalog)
  /// Columns of numbers: `.csv`.
  case table(CSVTable)
  case folder(ImageFolder)

  /// Opens a file by what it contains, whatever its name; only text needs a name that ends in `.csv`.
  ///
  /// - Throws: `FileError` when it cannot be opened, is of no known format, or is damaged.
  init(_ file: String) throws(FileError) {
    if FolderListing.isFolder(file) {
      self = .folder(try ImageFolder(file))
      return
    }
    let reader = try FileReader(file)
    switch try FileKind(of: reader) {
    case .hdf5: self = .named(try HDF5File(file))
    case .zip: self = .named(try NumpyArchive(file))
    case .numpy:
      self = .single(try BinaryArray(reader, NumpyHeader(of: reader, object: nil).layout, object: nil))
    case .idx: self = .single(try BinaryArray(reader, IDXHeader(of: reader).layout, object: nil))
    case .gzip: self = .single(try Self.gzippedIDX(file, compressedSize: reader.size))
    case .empty:
      throw FileError(.malformed, file: file, "The file is empty; copy or download it again.")
    case .pickle:
      throw FileError(
        .unsupported, file: file, "This is a Python pickle; load it in Python and save its arrays as .npz.")
    case .png, .jpeg:
      throw FileError(
        .unsupported, file: file, "This is a single image; name the folder that holds the images.")
    case .unknown where file.lowercased().hasSuffix(".csv"): self = .table(try CSVTable(reader))
    case .json: throw Self.refusal(file, start: "a brace, as JSON does")
    case .safetensors: throw Self.refusal(file, start: "a header of safetensors, which holds weights")
    case .unknown(let start): throw Self.refusal(file, start: start)
    }
  }

  private static func refusal(_ file: String, start: String) -> FileError {
    FileError(
      .unsupported, file: file,
      "This is none of the data formats that are read (HDF5, .npz, .npy, IDX, .csv, a folder of images); it starts "
        + "with \(start).")
  }

  private static func gzippedIDX(_ file: String, compressedSize: Int) throws(FileError) -> BinaryArray {
    let stream = try GzipStream(file)
    let start = try stream.next(4)
    guard IDXHeader.hasSignature(start) else {
      throw FileError(
        .unsupported, file: file, "Only IDX files are read from gzip; unpack this one with gunzip first.")
    }
    let header = start + (try stream.next(IDXHeader.length(start) - 4))
    let layout = try IDXHeader(header, file: file).layout
    // Deflate shrinks at most 1032-fold.
    guard Double(layout.end) <= Double(compressedSize) * 1100 else {
      throw FileError(
        .malformed, file: file,
        "An array of shape \(layout.shape) needs \(layout.end) bytes, more than a gzip stream of "
          + "\(compressedSize) bytes holds; copy or download it again.")
    }
    var isFirst = true
    let spooled = try SpooledFile.reader(of: file, size: layout.end) { (count) throws(FileError) in
      defer { isFirst = false }
      return isFirst ? header + (try stream.next(count - header.count)) : try stream.next(count)
    }
    try stream.finish()
    return try BinaryArray(spooled, layout, object: nil)
  }
}

/// Arrays that have names in their file.
protocol ArrayCatalog: Sendable {
  /// The file, as the user named it; for messages.
  var file: String { get }
  /// All arrays, numeric or not.
  var entries: [ArchiveEntry] { get }

  /// The array of a name, with or without a leading slash.
  func stored(_ name: String) throws(FileError) -> any StoredArray
}

extension ArrayCatalog {
  func has(_ name: String) -> Bool {
    let path = HDF5File.normalized(name)
    return entries.contains { $0.path == path }
  }

  /// The arrays in words, for messages: `x uint8 [10, 2], y int64 [10]`.
  var arrayList: String {
    if entries.isEmpty { return "no arrays" }
    let shown = entries.prefix(12).map { "\($0.path.dropFirst()) \($0.scalarType) \($0.shape)" }
    let rest = entries.count - shown.count
    return shown.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
  }
}

extension HDF5File: ArrayCatalog {
  func stored(_ name: String) throws(FileError) -> any StoredArray { try array(name) }
}

/// The arrays of a `.npz` file.
private struct NumpyArchive: ArrayCatalog {
  let entries: [ArchiveEntry]
  private let archive: ZipArchive
  private let members: [String: ZipArchive.Member]

  init(_ file: String) throws(FileError) {
    let archive = try ZipArchive(file)
    self.archive = archive
    var members: [String: ZipArchive.Member] = [:]
    var entries: [ArchiveEntry] = []
    for member in archive.members where member.name.hasSuffix(".npy") {
      let path = HDF5File.normalized(String(member.name.dropLast(4)))
      guard members.updateValue(member, forKey: path) == nil else { continue }
      let layout = try NumpyHeader(of: archive.start(of: member), object: member.name).layout
      entries.append(ArchiveEntry(path: path, shape: layout.shape, scalarType: layout.scalarType.name))
    }
    guard !entries.isEmpty else {
      throw FileError(
        .malformed, file: file,
        "The zip archive has no NumPy arrays (members named .npy); save the data with numpy.savez.")
    }
    self.members = members
    self.entries = entries.sorted { $0.path < $1.path }
  }

  var file: String { archive.file }

  func stored(_ name: String) throws(FileError) -> any StoredArray {
    guard let member = members[HDF5File.normalized(name)] else {
      throw FileError(.missing, file: file, object: name, "The file has no such array; it has \(arrayList).")
    }
    let source = try archive.source(member)
    return try BinaryArray(source, NumpyHeader(of: source, object: member.name).layout, object: member.name)
  }
}
