public import BayesNetwork
public import BayesTensor

/// Opens a file of trained weights, or of the description of a network, whatever its layout.
///
/// Read are, judged by content and never by name: HDF5 files of all versions of Keras, of Caffe, MATLAB 7.3 and
/// PyTorch, `.keras` archives, safetensors, the index of weights that Keras or Hugging Face divided among files
/// (`.weights.json`, `.index.json`), and descriptions in JSON.  Nothing in a file is ever run.
///
/// - Throws: `FileError` naming what the file is instead, or what is wrong with it.
/// - Cost: lists what the file holds.  Compressed and archived weights are unpacked into the folder for temporary
///   files.
public func openCheckpoint(_ file: String) throws(FileError) -> any Checkpoint {
  let reader = try FileReader(file)
  let kind = try FileKind(of: reader)
  switch kind {
  case .hdf5: return try HDF5Checkpoint(HDF5File(reader))
  case .safetensors: return try SafetensorsFile(reader)
  case .json: return try KerasJSONFile.open(reader)
  case .zip:
    let archive = try ZipArchive(file)
    let content = ZipContent(memberNames: archive.memberNames)
    guard content == .keras else {
      throw FileError(.malformed, file: file, kind.refusalAsCheckpoint(zip: content))
    }
    return try KerasArchive(archive)
  default: throw FileError(.malformed, file: file, kind.refusalAsCheckpoint())
  }
}
