import BayesNetwork
import BayesTensor
import Foundation

/// A file of the format safetensors: the length of a header, the header in JSON, and the tensors' bytes.
///
/// The bytes of the tensors must follow each other without gaps and end with the file, as the format says.  The header
/// holds names of a state dictionary of PyTorch.
struct SafetensorsFile: Checkpoint {
  let file: String
  let entries: [CheckpointEntry]
  private let reader: FileReader
  private let tensors: [String: Place]

  /// Where a tensor lies.
  private struct Place {
    var type: ScalarType
    var shape: Shape
    var bytes: Range<Int>
  }

  private struct Description: Decodable {
    var dtype: String
    var shape: [Int]
    var data_offsets: [Int]
  }

  /// The header: tensors by name, and texts under `__metadata__`.
  private struct Header: Decodable {
    var tensors: [String: Description] = [:]

    private struct Name: CodingKey {
      var stringValue: String
      var intValue: Int? { nil }
      init(stringValue: String) { self.stringValue = stringValue }
      init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Name.self)
      for name in container.allKeys where name.stringValue != "__metadata__" {
        tensors[name.stringValue] = try container.decode(Description.self, forKey: name)
      }
    }
  }

  private static let prefixLength = 8
  /// Some fifteen thousand tensors; JSON of hostile brackets takes Foundation seconds a megabyte.
  private static let headerLimit = 2 << 20

  /// The length of the header, where a file starts as this format does.
  static func headerLength(_ start: ContiguousArray<UInt8>, fileSize: Int) -> Int? {
    guard start.count > prefixLength, start[prefixLength] == UInt8(ascii: "{") else { return nil }
    let length = start.prefix(prefixLength).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    return length <= UInt64(fileSize - prefixLength) ? Int(length) : nil
  }

  /// - Throws: `FileError.Code.malformed` for a header that makes no sense or does not fit the file.
  init(_ reader: FileReader) throws(FileError) {
    let start = try reader.prefix(Self.prefixLength + 1)
    guard let length = Self.headerLength(start, fileSize: reader.size) else {
      throw FileError(.malformed, file: reader.file, "The header is longer than the file; copy or download it again.")
    }
    guard length <= Self.headerLimit else {
      throw FileError(
        .malformed, file: reader.file,
        "The header has \(length) bytes, and none of a model has more than \(Self.headerLimit); name another file.")
    }
    let header: Header
    do {
      header = try JSONDecoder().decode(
        Header.self, from: Data(try reader.bytes(at: Self.prefixLength, count: length)))
    } catch let error as FileError {
      throw error
    } catch {
      throw FileError(
        .malformed, file: reader.file,
        "The header is not the JSON of the format safetensors; copy or download the file again.")
    }
    let first = Self.prefixLength + length
    var tensors: [String: Place] = [:]
    for (name, description) in header.tensors {
      tensors[name] = try Self.place(description, name, from: first, in: reader)
    }
    var end = first
    for (name, place) in tensors.sorted(by: { ($0.value.bytes.lowerBound, $0.key) < ($1.value.bytes.lowerBound, $1.key) })
    where !place.bytes.isEmpty {
      guard place.bytes.lowerBound == end else {
        throw FileError(
          .malformed, file: reader.file, object: name,
          "The tensor \(place.bytes.lowerBound < end ? "overlaps the one before" : "leaves a gap before it"), which the "
            + "format safetensors forbids; copy or download the file again.")
      }
      end = place.bytes.upperBound
    }
    guard end == reader.size else {
      throw FileError(
        .malformed, file: reader.file,
        "The tensors end after \(end) bytes and the file after \(reader.size); copy or download it again.")
    }
    file = reader.file
    self.reader = reader
    self.tensors = tensors
    entries = tensors.sorted { $0.key < $1.key }.map { name, place in
      CheckpointEntry(name: name, shape: place.shape, scalarType: place.type.name)
    }
  }

  private static func place(
    _ description: Description, _ name: String, from first: Int, in reader: FileReader
  ) throws(FileError) -> Place {
    func damage(_ what: String) -> FileError {
      FileError(.malformed, file: reader.file, object: name, "\(what); copy or download the file again.")
    }
    let offsets = description.data_offsets
    guard offsets.count == 2, offsets[0] >= 0, offsets[0] <= offsets[1], offsets[1] <= reader.size - first else {
      throw damage("The tensor claims the bytes \(offsets) of \(reader.size - first)")
    }
    guard description.shape.allSatisfy({ $0 >= 0 }), let shape = HDF5Array.shape(description.shape.map { UInt64($0) })
    else { throw damage("The tensor claims extents \(description.shape), more than there can be elements") }
    let type = types[description.dtype] ?? .other(description.dtype)
    let bytes = first + offsets[0]..<first + offsets[1]
    if let size = type.byteCount, shape.elementCount * size != bytes.count {
      throw damage("The tensor of \(description.dtype) and shape \(shape) has \(bytes.count) bytes")
    }
    return Place(type: type, shape: shape, bytes: bytes)
  }

  private static let types: [String: ScalarType] = [
    "BOOL": .boolean, "U8": .unsignedInteger(bits: 8), "I8": .signedInteger(bits: 8),
    "U16": .unsignedInteger(bits: 16), "I16": .signedInteger(bits: 16), "U32": .unsignedInteger(bits: 32),
    "I32": .signedInteger(bits: 32), "U64": .unsignedInteger(bits: 64), "I64": .signedInteger(bits: 64),
    "F16": .float(bits: 16), "BF16": .brainFloat, "F32": .float(bits: 32), "F64": .float(bits: 64),
  ]

  var format: String { "safetensors" }
  var architecture: Data? { nil }
  var layers: [CheckpointLayer] { [] }

  func digest() throws(FileError) -> String { try FileDigest.sha256(ofFile: file) }

  func tensor(named name: String) throws(FileError) -> Tensor<Float> {
    guard let place = tensors[name] else {
      throw FileError(.missing, file: file, object: name, "The file has no such tensor.")
    }
    guard place.type.isNumeric else {
      throw FileError(
        .unsupported, file: file, object: name,
        "The tensor's elements are of the type \(place.type.name), which is not read; save it as F32.")
    }
    let layout = try BinaryLayout(
      scalarType: place.type, isBigEndian: false, dimensions: place.shape.dimensions, isColumnMajor: false,
      offset: place.bytes.lowerBound, file: file, object: name)
    return Tensor(shape: place.shape, elements: try BinaryArray(reader, layout, object: name).values(nil, as: Float.self))
  }
}
