import BayesTensor
import Foundation

/// What a file is, judged by its content and never by its name.
enum FileKind: Equatable {
  case hdf5
  case zip
  case gzip
  case numpy
  case idx
  case pickle
  case safetensors
  /// A text that starts as JSON does.
  case json
  case png
  case jpeg
  case empty
  /// Anything else; how the file starts, in words.
  case unknown(start: String)

  /// Looks at a file's first bytes.
  init(of reader: FileReader) throws(FileError) {
    let start = try reader.prefix(64)
    if start.isEmpty {
      self = .empty
    } else if start.starts(with: PNGHeader.signature) {
      self = .png
    } else if start.starts(with: [0xFF, 0xD8, 0xFF]) {
      self = .jpeg
    } else if try Self.hasHDF5Signature(reader) {
      self = .hdf5
    } else if start.starts(with: [0x50, 0x4B, 0x03, 0x04]) || start.starts(with: [0x50, 0x4B, 0x05, 0x06]) {
      self = .zip
    } else if SafetensorsFile.headerLength(start, fileSize: reader.size) != nil {
      // Before those whose few bytes a header's length may have.
      self = .safetensors
    } else if start.starts(with: [0x1F, 0x8B]) {
      self = .gzip
    } else if start.starts(with: NumpyHeader.signature) {
      self = .numpy
    } else if IDXHeader.hasSignature(start) {
      self = .idx
    } else if start.count > 1, start[0] == 0x80, (2...5).contains(start[1]) {
      self = .pickle
    } else if let first = start.first(where: { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }), first == 0x7B {
      self = .json
    } else {
      self = .unknown(start: Self.describe(start))
    }
  }

  // The signature may follow a user block of 512 bytes or any doubling of it (MATLAB writes one).
  private static func hasHDF5Signature(_ reader: FileReader) throws(FileError) -> Bool {
    let signature: [UInt8] = [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A]
    var offset = 0
    while offset + signature.count <= reader.size {
      if try reader.bytes(at: offset, count: signature.count).elementsEqual(signature) { return true }
      offset = offset == 0 ? 512 : offset * 2
    }
    return false
  }

  private static func describe(_ start: ContiguousArray<UInt8>) -> String {
    let line = start.prefix { $0 != 0x0A && $0 != 0x0D }
    if line.count >= 4, line.allSatisfy({ (0x20...0x7E).contains($0) }) {
      return "the text '\(String(decoding: line.prefix(40), as: UTF8.self))'"
    }
    let bytes = start.prefix(8).map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0" + digits : digits
    }
    return "the bytes \(bytes.joined(separator: " "))"
  }

  /// Why a file of this kind is not the HDF5 file that was asked for, and what to do.
  func refusalAsHDF5(of file: String) throws(FileError) -> String {
    let zip = self == .zip ? try ZipContent(memberNames: ZipArchive(file).memberNames) : nil
    return "This is not an HDF5 file; it starts with \(advice(zip))."
  }

  /// Why a file of this kind holds no network or weights that are read, and what to do.
  func refusalAsCheckpoint(zip: ZipContent? = nil) -> String {
    "This is not an HDF5 file, no .keras archive, and no whole safetensors file; it starts with \(advice(zip))."
  }

  /// What the file starts with, and what to do.
  ///
  /// - Parameter zip: what a zip file holds, where this is one.
  private func advice(_ zip: ZipContent?) -> String {
      switch self {
      case .hdf5: "an HDF5 signature"
      case .empty: "nothing: it has 0 bytes; copy or download it again"
      case .zip:
        switch zip {
        case .keras:
          "a zip archive, as .keras files do; name it where a checkpoint is due"
        case .pytorch:
          "a zip archive of pickles, as PyTorch files do, which are never run; load the module in PyTorch and write "
            + "it with bayesify_torch.py, which comes with this program"
        case .numpy:
          "a zip archive of NumPy arrays (.npz); write its arrays as HDF5, for instance with h5py"
        case .other, nil: "a zip archive; unpack it and name the HDF5 file in it"
        }
      case .gzip: "a gzip stream; unpack it with gunzip first"
      case .numpy: "a NumPy array (.npy); write it as HDF5, for instance with h5py"
      case .idx: "an IDX header; that is a data file, not one of weights"
      case .png, .jpeg: "an image; that is data, not a file of weights"
      case .pickle:
        "a Python pickle, as PyTorch files do, which is never run; load the module in PyTorch and write it with "
          + "bayesify_torch.py, which comes with this program"
      case .safetensors: "a header of safetensors; that is a file of weights, not of data"
      case .json: "JSON; name the file that holds the arrays"
      case .unknown(let start) where start.contains("version https://git-lfs"):
        "a Git LFS pointer; fetch the file it stands for with git lfs pull"
      case .unknown(let start) where start.contains("'<"):
        "\(start), as a web page does; download the file itself"
      case .unknown(let start): "\(start); name an HDF5 file"
      }
  }
}

/// What kind of archive a zip file is, judged by the names in it.
enum ZipContent {
  case keras
  case pytorch
  case numpy
  case other

  init(memberNames names: [String]) {
    if names.contains("config.json"), names.contains("metadata.json") {
      self = .keras
    } else if names.contains(where: { $0 == "data.pkl" || $0.hasSuffix("/data.pkl") }) {
      self = .pytorch
    } else if names.contains(where: { $0.hasSuffix(".npy") }) {
      self = .numpy
    } else {
      self = .other
    }
  }
}
