public import BayesTensor

extension HDF5Archive {
  /// Whether a file is in HDF5 format, judged by its content; a folder is not.
  ///
  /// - Throws: `FileError.Code.cannotOpen` when it cannot be read.
  public static func recognizes(_ file: String) throws(FileError) -> Bool {
    if FolderListing.isFolder(file) { return false }
    return try FileKind(of: FileReader(file)) == .hdf5
  }
}
