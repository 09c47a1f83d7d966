public import BayesTensor

/// An HDF5 file of named arrays, open for reading.
///
/// Integers and floats of any width are converted to what is asked for.  Soft links, links to other
/// files, and arrays whose values lie in other files are refused by name, as are filters that the
/// HDF5 library lacks and elements that are not numbers.
///
/// The HDF5 library crashes on some damaged files, so opening first walks through the file in a child
/// process, by `fork`; a file that kills the child is refused.
///
/// - Cost: opening lists every array, and the child reads those of up to 2¹⁸ elements.  A read takes
///   memory for its rows, and a cache of up to two rows of chunks (at most 1 GiB) for an array that is
///   stored in chunks.
public struct HDF5Archive: ArrayArchive {
  let contents: HDF5File

  /// Opens a file.
  ///
  /// - Throws: `FileError` when it cannot be opened, is no HDF5 file, or is damaged.
  public init(_ file: String) throws(FileError) {
    contents = try HDF5File(file)
  }

  public var file: String { contents.file }

  public var entries: [ArchiveEntry] { contents.entries }

  public func attributes(of path: String) throws(FileError) -> [String: ArchiveAttribute] {
    try contents.attributes(of: path)
  }

  public func read<Scalar: TensorScalar>(_ path: String, rows: Range<Int>?, as type: Scalar.Type)
    throws(FileError) -> Tensor<Scalar>
  {
    let array = try contents.array(path)
    let elements = try array.values(rows, as: type)
    return Tensor(shape: rows.map { array.shape.row.batched($0.count) } ?? array.shape, elements: elements)
  }

  public func readIntegers(_ path: String, rows: Range<Int>?) throws(FileError) -> [Int] {
    Array(try contents.array(path).wholeNumbers(rows))
  }
}
