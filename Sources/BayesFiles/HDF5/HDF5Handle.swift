import CHDF5

/// A kind of thing that the HDF5 library hands out and wants back.
protocol HDF5Resource {
  static func close(_ identifier: hid_t) -> herr_t
}

enum HDF5FileResource: HDF5Resource {
  static func close(_ identifier: hid_t) -> herr_t { H5Fclose(identifier) }
}

/// A group, a dataset or a named type, whichever it is.
enum HDF5ObjectResource: HDF5Resource {
  static func close(_ identifier: hid_t) -> herr_t { H5Oclose(identifier) }
}

enum HDF5DatasetResource: HDF5Resource {
  static func close(_ identifier: hid_t) -> herr_t { H5Dclose(identifier) }
}

enum HDF5DataspaceResource: HDF5Resource {
  static func close(_ identifier: hid_t) -> herr_t { H5Sclose(identifier) }
}

enum HDF5DatatypeResource: HDF5Resource {
  static func close(_ identifier: hid_t) -> herr_t { H5Tclose(identifier) }
}

enum HDF5AttributeResource: HDF5Resource {
  static func close(_ identifier: hid_t) -> herr_t { H5Aclose(identifier) }
}

enum HDF5PropertiesResource: HDF5Resource {
  static func close(_ identifier: hid_t) -> herr_t { H5Pclose(identifier) }
}

/// An identifier of the HDF5 library, closed once, at the end of its owner's life.
struct HDF5Handle<Resource: HDF5Resource>: ~Copyable, Sendable {
  let identifier: hid_t

  /// Takes over what a call returned.
  ///
  /// - Throws: `HDF5Failure` when the call failed.
  init(_ identifier: hid_t) throws(HDF5Failure) {
    guard identifier >= 0 else { throw HDF5Failure() }
    self.identifier = identifier
  }

  /// Closes now, where a failure matters: what a writer still holds back is written on closing.
  consuming func close() throws(HDF5Failure) {
    let status = HDF5Library.locked { Resource.close(identifier) }
    discard self
    guard status >= 0 else { throw HDF5Failure() }
  }

  deinit {
    _ = HDF5Library.locked { Resource.close(identifier) }
  }
}

/// Throws when a call that returns a status failed.
func requireHDF5(_ status: herr_t) throws(HDF5Failure) {
  guard status >= 0 else { throw HDF5Failure() }
}
