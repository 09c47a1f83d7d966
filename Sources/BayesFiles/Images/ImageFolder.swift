import BayesTensor

/// The images below a folder: where each lies, and of which class it is.
///
/// Every sub-folder is a class; classes are in the byte-wise order of their names, as in Keras'
/// `image_dataset_from_directory`, and a sub-folder without images is a class all the same.  Folders within
/// a class are walked: the images of a folder come in the order of their names, folders in that of their
/// paths.  Where there are no sub-folders, the images in the folder itself are rows without classes.
/// Names that start with a dot are passed over.
///
/// - Cost: one path a row stays in memory.
struct ImageFolder {
  /// The folder, as the user named it.
  let file: String
  /// The names of the sub-folders, in the order of their indices.
  let classNames: [String]
  /// The paths of the images, from the folder on.
  let paths: [String]
  /// Where the images of each class end among the paths.
  let classEnds: [Int]

  private static let suffixes = [".jpg", ".jpeg", ".png"]

  /// Lists what a folder holds; no image is opened.
  ///
  /// - Throws: `FileError` naming a file that has no class or whose name is no image's, or the folder when it
  ///   has no images or cannot be read.
  init(_ file: String) throws(FileError) {
    let root = try FolderListing(file)
    var paths: [String] = []
    var classEnds: [Int] = []
    if root.folders.isEmpty {
      paths = root.files
    } else if let stray = root.files.first {
      throw FileError(
        .unsupported, file: FolderListing.join(file, stray),
        "The file lies beside sub-folders, which are classes, so it has none; move it into one of them or away.")
    }
    for folder in root.folders {
      try Self.walk(folder, in: file, &paths)
      classEnds.append(paths.count)
    }
    for path in paths where !Self.suffixes.contains(where: path.lowercased().hasSuffix) {
      throw FileError(
        .unsupported, file: FolderListing.join(file, path),
        "Only .jpg, .jpeg and .png files are read from a folder of images; convert this file or move it away.")
    }
    guard !paths.isEmpty else {
      throw FileError(.missing, file: file, "The folder holds no images (.jpg, .jpeg, .png); check the path.")
    }
    self.file = file
    self.paths = paths
    self.classEnds = classEnds
    classNames = root.folders
  }

  /// The path of an image, as it is opened.
  func path(_ row: Int) -> String { FolderListing.join(file, paths[row]) }

  /// Adds the images below a class's folder.
  private static func walk(_ className: String, in file: String, _ paths: inout [String]) throws(FileError) {
    var pending = [className]
    var listings: [(path: String, files: [String])] = []
    while let path = pending.popLast() {
      let listing = try FolderListing(FolderListing.join(file, path), followsLinks: false)
      listings.append((path, listing.files))
      pending += listing.folders.map { FolderListing.join(path, $0) }
    }
    listings.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    for listing in listings { paths += listing.files.map { FolderListing.join(listing.path, $0) } }
  }
}
