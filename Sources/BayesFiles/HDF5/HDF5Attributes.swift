import BayesTensor
import CHDF5

/// Reads the attributes of an object; the caller holds the library.
enum HDF5Attributes {
  /// All attributes of texts and numbers; those of other types are left out.
  static func all(of object: hid_t, fileSize: Int) throws(HDF5Failure) -> [String: ArchiveAttribute] {
    var attributes: [String: ArchiveAttribute] = [:]
    for name in try names(of: object) {
      let attribute = try HDF5Handle<HDF5AttributeResource>(
        unsafe H5Aopen(object, name, bayesify_h5_default()))
      attributes[name] = try value(of: attribute.identifier, fileSize: fileSize)
    }
    return attributes
  }

  /// One attribute of text; `nil` where the object has none of that name.
  static func text(_ name: String, of object: hid_t) throws(HDF5Failure) -> String? {
    guard try names(of: object).contains(name) else { return nil }
    let attribute = try HDF5Handle<HDF5AttributeResource>(unsafe H5Aopen(object, name, bayesify_h5_default()))
    // A single text is short, whatever the file's size.
    return try value(of: attribute.identifier, fileSize: 1 << 16)?.firstText
  }

  private static func names(of object: hid_t) throws(HDF5Failure) -> [String] {
    var names: [String] = []
    try requireHDF5(
      unsafe withUnsafeMutablePointer(to: &names) { pointer in
        unsafe H5Aiterate2(
          object, H5_INDEX_NAME, H5_ITER_INC, nil,
          { _, name, _, context in
            guard let name = unsafe name, let context = unsafe context else { return -1 }
            unsafe context.assumingMemoryBound(to: [String].self).pointee.append(String(cString: name))
            return 0
          }, pointer)
      })
    return names
  }

  private static func value(of attribute: hid_t, fileSize: Int) throws(HDF5Failure) -> ArchiveAttribute? {
    let type = try HDF5Handle<HDF5DatatypeResource>(H5Aget_type(attribute))
    let space = try HDF5Handle<HDF5DataspaceResource>(H5Aget_space(attribute))
    let extents = try HDF5Array.extents(ofSpace: space.identifier)
    // An attribute lies in its object's header, so it is never larger than the file.
    guard let shape = HDF5Array.shape(extents),
      Double(shape.elementCount) * Double(H5Tget_size(type.identifier)) <= Double(fileSize)
    else { return nil }
    let isScalar = shape.rank == 0

    switch HDF5Array.scalarType(ofType: type.identifier) {
    case .other("string"):
      let texts = try texts(of: attribute, type: type.identifier, count: shape.elementCount)
      return isScalar ? .text(texts[0]) : .texts(texts)
    case .boolean, .signedInteger, .unsignedInteger:
      let numbers = try numbers(of: attribute, count: shape.elementCount, as: Int.self)
      return isScalar ? .integer(numbers[0]) : .integers(numbers)
    case .float:
      let numbers = try numbers(of: attribute, count: shape.elementCount, as: Double.self)
      return isScalar ? .number(numbers[0]) : .numbers(numbers)
    case .other: return nil
    }
  }

  private static func numbers<Element: HDF5Element>(of attribute: hid_t, count: Int, as type: Element.Type)
    throws(HDF5Failure) -> [Element]
  {
    var numbers = [Element](repeating: 0, count: count)
    guard count > 0 else { return numbers }
    try requireHDF5(
      unsafe numbers.withUnsafeMutableBytes { buffer in
        unsafe H5Aread(attribute, Element.nativeType, buffer.baseAddress)
      })
    return numbers
  }

  // Writers differ: h5py 2 and chunked lists give fixed lengths, others variable lengths, both in
  // ASCII or UTF-8.  The memory type must name the file's character set, as none is converted.
  private static func texts(of attribute: hid_t, type: hid_t, count: Int) throws(HDF5Failure) -> [String] {
    guard count > 0 else { return [] }
    let memory = try HDF5Handle<HDF5DatatypeResource>(H5Tcopy(bayesify_h5_c_string()))
    try requireHDF5(H5Tset_cset(memory.identifier, H5Tget_cset(type)))
    let isVariable = H5Tis_variable_str(type)
    try requireHDF5(isVariable)
    if isVariable > 0 {
      try requireHDF5(H5Tset_size(memory.identifier, bayesify_h5_variable_length()))
      return try variableTexts(of: attribute, memoryType: memory.identifier, count: count)
    }
    let width = H5Tget_size(type)
    let padding = H5Tget_strpad(type)
    try requireHDF5(H5Tset_size(memory.identifier, width))
    try requireHDF5(H5Tset_strpad(memory.identifier, padding))
    var bytes = [UInt8](repeating: 0, count: count * width)
    try requireHDF5(unsafe H5Aread(attribute, memory.identifier, &bytes))
    return (0..<count).map { index in
      var text = bytes[index * width..<(index + 1) * width].prefix { $0 != 0 }
      if padding == H5T_STR_SPACEPAD { while text.last == 0x20 { text.removeLast() } }
      return String(decoding: text, as: UTF8.self)
    }
  }

  private static func variableTexts(of attribute: hid_t, memoryType: hid_t, count: Int) throws(HDF5Failure)
    -> [String]
  {
    let space = try HDF5Handle<HDF5DataspaceResource>(H5Aget_space(attribute))
    var pointers = unsafe [UnsafeMutablePointer<CChar>?](repeating: nil, count: count)
    try requireHDF5(unsafe H5Aread(attribute, memoryType, &pointers))
    let texts = unsafe pointers.map { unsafe $0.map { unsafe String(cString: $0) } ?? "" }
    // The library allocated the texts.
    try requireHDF5(
      unsafe H5Dvlen_reclaim(memoryType, space.identifier, bayesify_h5_default(), &pointers))
    return texts
  }
}
