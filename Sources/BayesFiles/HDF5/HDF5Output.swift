import BayesTensor
import CHDF5

/// An HDF5 file being written, used by one task at a time.
final class HDF5Output {
  /// What an array is written from.
  enum Elements {
    case floats(Tensor<Float>)
    case doubles(Tensor<Double>)
    /// Row-major, with their shape.
    case integers([Int], Shape)

    init<Scalar: TensorScalar>(_ tensor: Tensor<Scalar>) {
      // Only these two conform.
      if let floats = tensor as? Tensor<Float> {
        self = .floats(floats)
      } else {
        self = .doubles(tensor.converted(to: Double.self))
      }
    }

    var shape: Shape {
      switch self {
      case .floats(let tensor): tensor.shape
      case .doubles(let tensor): tensor.shape
      case .integers(_, let shape): shape
      }
    }

    var type: ElementType {
      switch self {
      case .floats: .float
      case .doubles: .double
      case .integers: .integer
      }
    }

    /// Writes to a selection of a dataset.
    func write(to dataset: hid_t, memory: hid_t, selection: hid_t) throws(HDF5Failure) {
      func write(_ bytes: UnsafeRawBufferPointer, _ type: hid_t) -> herr_t {
        unsafe H5Dwrite(dataset, type, memory, selection, bayesify_h5_default(), bytes.baseAddress)
      }
      switch self {
      case .floats(let tensor):
        try requireHDF5(unsafe tensor.elements.withUnsafeBytes { unsafe write($0, Float.nativeType) })
      case .doubles(let tensor):
        try requireHDF5(unsafe tensor.elements.withUnsafeBytes { unsafe write($0, Double.nativeType) })
      case .integers(let integers, _):
        try requireHDF5(unsafe integers.withUnsafeBytes { unsafe write($0, Int.nativeType) })
      }
    }
  }

  /// The types that are written, little-endian on every machine.
  enum ElementType: String {
    case float = "float32"
    case double = "float64"
    case integer = "int64"

    var size: Int { self == .float ? 4 : 8 }

    var identifier: hid_t {
      switch self {
      case .float: bayesify_h5_little_endian_float32()
      case .double: bayesify_h5_little_endian_float64()
      case .integer: bayesify_h5_little_endian_int64()
      }
    }
  }

  /// An array that grows; open until the end, as its chunk cache lives with it.
  private final class Appended {
    let dataset: HDF5Handle<HDF5DatasetResource>
    let rowShape: Shape
    let type: ElementType
    var rowCount = 0

    init(_ dataset: consuming HDF5Handle<HDF5DatasetResource>, rowShape: Shape, type: ElementType) {
      self.dataset = dataset
      self.rowShape = rowShape
      self.type = type
    }
  }

  private static let chunkSize = 1 << 16

  private let file: String
  // Declared in the order of their ends: arrays, the file, its name.
  private var appended: [String: Appended] = [:]
  private var handle: HDF5Handle<HDF5FileResource>?
  private var pending: PendingFile?
  private var groups: Set<String> = ["/"]
  private var arrays: Set<String> = []
  // Once the library failed, its state is not to be trusted, so the first refusal stands.
  private var failure: FileError?

  init(_ file: String, replacing: Bool) throws(FileError) {
    let pending = try PendingFile(for: file, replacing: replacing)
    let path = pending.temporaryPath
    do {
      handle = try HDF5Library.locked { () throws(HDF5Failure) in
        let creation = try Self.properties(bayesify_h5_file_create())
        let access = try HDF5Handle<HDF5PropertiesResource>(H5Pcreate(bayesify_h5_file_access()))
        return try HDF5Handle(
          unsafe H5Fcreate(path, bayesify_h5_exclusive(), creation.identifier, access.identifier))
      }
    } catch {
      throw Self.refusal(error, file: file, object: nil)
    }
    self.file = file
    self.pending = consume pending
  }

  // MARK: - Arrays

  func write(_ elements: Elements, at path: String) throws(FileError) {
    let path = HDF5File.normalized(path)
    try requireFree(path)
    note(path)
    try perform(at: path) { (file) throws(HDF5Failure) in
      let space = try HDF5Array.dataspace(elements.shape)
      let creation = try Self.properties(bayesify_h5_dataset_create())
      let dataset = try Self.createDataset(
        path, elements.type, space: space.identifier, creation: creation.identifier, in: file)
      guard elements.shape.elementCount > 0 else { return }
      try elements.write(to: dataset.identifier, memory: space.identifier, selection: space.identifier)
    }
  }

  func append(_ elements: Elements, to path: String) throws(FileError) {
    let path = HDF5File.normalized(path)
    guard elements.shape.rank > 0 else {
      throw FileError(.shape, file: file, object: path, "A single number cannot be appended; give rows.")
    }
    let array: Appended
    if let open = appended[path] {
      array = open
    } else {
      try requireFree(path)
      array = try create(path, rowShape: elements.shape.row, type: elements.type)
      appended[path] = array
      note(path)
    }
    guard array.rowShape == elements.shape.row, array.type == elements.type else {
      throw FileError(
        .shape, file: file, object: path,
        "Rows of \(elements.type.rawValue) \(elements.shape.row) cannot be appended to rows of "
          + "\(array.type.rawValue) \(array.rowShape).")
    }
    guard elements.shape.elementCount > 0 else { return }
    let end = array.rowCount + elements.shape[0]
    try perform(at: path) { (_) throws(HDF5Failure) in
      let dataset = array.dataset.identifier
      try requireHDF5(
        unsafe H5Dset_extent(dataset, array.rowShape.batched(end).dimensions.map { hsize_t($0) }))
      let selection = try HDF5Handle<HDF5DataspaceResource>(H5Dget_space(dataset))
      let start = [hsize_t(array.rowCount)] + Array(repeating: 0, count: array.rowShape.rank)
      try requireHDF5(
        unsafe H5Sselect_hyperslab(
          selection.identifier, H5S_SELECT_SET, start, nil, elements.shape.dimensions.map { hsize_t($0) }, nil
        ))
      let memory = try HDF5Array.dataspace(elements.shape)
      try elements.write(to: dataset, memory: memory.identifier, selection: selection.identifier)
    }
    array.rowCount = end
  }

  private func create(_ path: String, rowShape: Shape, type: ElementType) throws(FileError) -> Appended {
    // HDF5 wants chunks of less than 4 GiB and no empty ones.
    let rowSize = max(rowShape.elementCount, 1).multipliedReportingOverflow(by: type.size)
    guard !rowSize.overflow, rowSize.partialValue < 1 << 32 else {
      throw FileError(.shape, file: file, object: path, "Rows of shape \(rowShape) are too large to append.")
    }
    let chunk = rowShape.batched(max(1, Self.chunkSize / rowSize.partialValue)).dimensions
    var dataset: HDF5Handle<HDF5DatasetResource>?
    try perform(at: path) { (file) throws(HDF5Failure) in
      let extents = rowShape.batched(0).dimensions.map { hsize_t($0) }
      var most = extents
      most[0] = bayesify_h5_unlimited()
      let space = try HDF5Handle<HDF5DataspaceResource>(
        unsafe H5Screate_simple(Int32(extents.count), extents, most))
      let creation = try Self.properties(bayesify_h5_dataset_create())
      try requireHDF5(
        unsafe H5Pset_chunk(creation.identifier, Int32(chunk.count), chunk.map { hsize_t(max($0, 1)) }))
      dataset = try Self.createDataset(
        path, type, space: space.identifier, creation: creation.identifier, in: file)
    }
    return Appended(dataset.take()!, rowShape: rowShape, type: type)
  }

  private static func createDataset(
    _ path: String, _ type: ElementType, space: hid_t, creation: hid_t, in file: hid_t
  ) throws(HDF5Failure) -> HDF5Handle<HDF5DatasetResource> {
    let link = try linkProperties()
    return try HDF5Handle(
      unsafe H5Dcreate2(
        file, path, type.identifier, space, link.identifier, creation, bayesify_h5_default()))
  }

  // MARK: - Attributes

  func setAttribute(_ name: String, _ value: ArchiveAttribute, of path: String) throws(FileError) {
    let path = HDF5File.normalized(path)
    if case .texts(let texts) = value, let text = texts.first(where: { $0.utf8.contains(0) }) {
      throw FileError(
        .value, file: file, object: path, "The attribute '\(name)' has a text with a NUL character: \(text).")
    }
    if case .text(let text) = value, text.utf8.contains(0) {
      throw FileError(
        .value, file: file, object: path, "The attribute '\(name)' is a text with a NUL character.")
    }
    guard value.headerSize < Self.attributeLimit else {
      throw FileError(
        .value, file: file, object: path,
        "The attribute '\(name)' is a list of more than 64 KiB; write it as an array instead.")
    }
    let isNew = !arrays.contains(path) && !groups.contains(path)
    if isNew {
      try requireFree(path)
      groups.formUnion(Self.groups(above: path) + [path])
    }
    try perform(at: path) { (file) throws(HDF5Failure) in
      if isNew {
        let link = try Self.linkProperties()
        let creation = try Self.properties(bayesify_h5_group_create())
        _ = try HDF5Handle<HDF5ObjectResource>(
          unsafe H5Gcreate2(file, path, link.identifier, creation.identifier, bayesify_h5_default()))
      }
      let object = try HDF5Handle<HDF5ObjectResource>(unsafe H5Oopen(file, path, bayesify_h5_default()))
      let exists = unsafe H5Aexists(object.identifier, name)
      try requireHDF5(exists)
      if exists > 0 { try requireHDF5(unsafe H5Adelete(object.identifier, name)) }
      try value.write(name, to: object.identifier)
    }
  }

  // An object's header holds 64 KiB; the name and the rest of the message need some of it.
  private static let attributeLimit = 64_000

  // MARK: - The end

  /// Publishes the file; nothing can be written afterwards.
  func finish() throws(FileError) {
    // Flushing reports what closing would hide.
    try perform(at: nil) { (file) throws(HDF5Failure) in try requireHDF5(H5Fflush(file, H5F_SCOPE_LOCAL)) }
    appended.removeAll()
    do {
      try handle.take()?.close()
    } catch {
      throw Self.refusal(error, file: file, object: nil)
    }
    try pending.take()?.publish()
  }

  // MARK: - Parts

  private func perform(at path: String?, _ body: (hid_t) throws(HDF5Failure) -> Void) throws(FileError) {
    if let failure { throw failure }
    guard let identifier = handle?.identifier else { return }
    do {
      try HDF5Library.locked { () throws(HDF5Failure) in try body(identifier) }
    } catch {
      let refusal = Self.refusal(error, file: file, object: path)
      failure = refusal
      throw refusal
    }
  }

  private func requireFree(_ path: String) throws(FileError) {
    guard !arrays.contains(path), !groups.contains(path) else {
      throw FileError(.cannotWrite, file: file, object: path, "Something of this name was written before.")
    }
    if let array = Self.groups(above: path).first(where: { arrays.contains($0) }) {
      throw FileError(
        .cannotWrite, file: file, object: path, "\(array) is an array; nothing can lie in it.")
    }
  }

  /// Remembers an array and the groups that it lies in.
  private func note(_ path: String) {
    arrays.insert(path)
    groups.formUnion(Self.groups(above: path))
  }

  /// `/a` and `/a/b` for `/a/b/c`.
  private static func groups(above path: String) -> [String] {
    path.indices.dropFirst().filter { path[$0] == "/" }.map { String(path[..<$0]) }
  }

  private static func refusal(_ failure: HDF5Failure, file: String, object: String?) -> FileError {
    FileError(
      .cannotWrite, file: file, object: object,
      "The file cannot be written (\(failure.reason)); make room or choose another place.")
  }

  /// Properties for creating an object without times, so that equal content gives equal bytes.
  private static func properties(_ kind: hid_t) throws(HDF5Failure) -> HDF5Handle<HDF5PropertiesResource> {
    let properties = try HDF5Handle<HDF5PropertiesResource>(H5Pcreate(kind))
    try requireHDF5(H5Pset_obj_track_times(properties.identifier, false))
    return properties
  }

  private static func linkProperties() throws(HDF5Failure) -> HDF5Handle<HDF5PropertiesResource> {
    let properties = try HDF5Handle<HDF5PropertiesResource>(H5Pcreate(bayesify_h5_link_create()))
    try requireHDF5(H5Pset_create_intermediate_group(properties.identifier, 1))
    try requireHDF5(H5Pset_char_encoding(properties.identifier, H5T_CSET_UTF8))
    return properties
  }
}

extension ArchiveAttribute {
  /// What the attribute takes in its object's header; texts lie elsewhere.
  fileprivate var headerSize: Int {
    switch self {
    case .text, .integer, .number: 16
    case .texts(let texts): 16 * texts.count
    case .integers(let integers): 8 * integers.count
    case .numbers(let numbers): 8 * numbers.count
    }
  }

  /// Writes the attribute; the caller holds the library.
  fileprivate func write(_ name: String, to object: hid_t) throws(HDF5Failure) {
    switch self {
    case .text(let text): try Self.write([text], isList: false, name, to: object)
    case .texts(let texts): try Self.write(texts, isList: true, name, to: object)
    case .integer(let integer):
      try Self.write([integer], bayesify_h5_little_endian_int64(), isList: false, name, to: object)
    case .integers(let integers):
      try Self.write(integers, bayesify_h5_little_endian_int64(), isList: true, name, to: object)
    case .number(let number):
      try Self.write([number], bayesify_h5_little_endian_float64(), isList: false, name, to: object)
    case .numbers(let numbers):
      try Self.write(numbers, bayesify_h5_little_endian_float64(), isList: true, name, to: object)
    }
  }

  private static func write<Element: HDF5Element>(
    _ values: [Element], _ type: hid_t, isList: Bool, _ name: String, to object: hid_t
  ) throws(HDF5Failure) {
    let attribute = try create(name, type, count: isList ? values.count : nil, in: object)
    guard !values.isEmpty else { return }
    try requireHDF5(
      unsafe values.withUnsafeBytes { buffer in
        unsafe H5Awrite(attribute.identifier, Element.nativeType, buffer.baseAddress)
      })
  }

  private static func write(_ texts: [String], isList: Bool, _ name: String, to object: hid_t)
    throws(HDF5Failure)
  {
    let type = try HDF5Handle<HDF5DatatypeResource>(H5Tcopy(bayesify_h5_c_string()))
    try requireHDF5(H5Tset_size(type.identifier, bayesify_h5_variable_length()))
    try requireHDF5(H5Tset_cset(type.identifier, H5T_CSET_UTF8))
    let attribute = try create(name, type.identifier, count: isList ? texts.count : nil, in: object)
    guard !texts.isEmpty else { return }
    // One block of all texts with their ends, and where each starts in it.
    let bytes = texts.flatMap { $0.utf8CString }
    var starts = [0]
    for text in texts.dropLast() { starts.append(starts.last! + text.utf8.count + 1) }
    try requireHDF5(
      unsafe bytes.withUnsafeBufferPointer { buffer in
        let pointers = unsafe starts.map { unsafe buffer.baseAddress! + $0 }
        return unsafe H5Awrite(attribute.identifier, type.identifier, pointers)
      })
  }

  private static func create(_ name: String, _ type: hid_t, count: Int?, in object: hid_t) throws(HDF5Failure)
    -> HDF5Handle<HDF5AttributeResource>
  {
    let space = try HDF5Handle<HDF5DataspaceResource>(
      count.map { unsafe H5Screate_simple(1, [hsize_t($0)], nil) } ?? H5Screate(H5S_SCALAR))
    return try HDF5Handle(
      unsafe H5Acreate2(
        object, name, type, space.identifier, bayesify_h5_default(), bayesify_h5_default()))
  }
}
