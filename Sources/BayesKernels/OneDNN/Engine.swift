import BayesTensor
import COneDNN

/// oneDNN's view of the processor; safe to use from any thread.
@safe final class Engine: Sendable {
  // The pointer never changes and oneDNN documents engines as thread-safe.
  nonisolated(unsafe) let handle: dnnl_engine_t
  /// What operations that are compiled for this engine may compute in.
  let precision: InferencePrecision

  init(precision: InferencePrecision = .float32) throws(NumericalError) {
    self.precision = precision
    var engine: dnnl_engine_t?
    try unsafe require(dnnl_engine_create(&engine, dnnl_cpu, 0), "dnnl_engine_create")
    guard let engine = unsafe engine else {
      throw NumericalError(.nativeFailure, "oneDNN gave no engine.")
    }
    unsafe handle = engine
  }

  deinit { unsafe dnnl_engine_destroy(handle) }
}

/// A queue on which one thread at a time runs primitives.
@safe final class Stream: Sendable {
  nonisolated(unsafe) let handle: dnnl_stream_t

  init(_ engine: Engine) throws(NumericalError) {
    var stream: dnnl_stream_t?
    try unsafe require(
      dnnl_stream_create(&stream, engine.handle, dnnl_stream_default_flags.rawValue), "dnnl_stream_create")
    guard let stream = unsafe stream else {
      throw NumericalError(.nativeFailure, "oneDNN gave no stream.")
    }
    unsafe handle = stream
  }

  deinit { unsafe dnnl_stream_destroy(handle) }
}

/// Memory aligned to cache lines and freed with its owner.
@safe final class AlignedBuffer: Sendable {
  nonisolated(unsafe) let pointer: UnsafeMutableRawPointer
  let byteCount: Int

  init(byteCount: Int) {
    self.byteCount = byteCount
    unsafe pointer = UnsafeMutableRawPointer.allocate(byteCount: max(64, byteCount), alignment: 64)
    unsafe pointer.initializeMemory(as: UInt8.self, repeating: 0, count: max(64, byteCount))
  }

  deinit { unsafe pointer.deallocate() }
}

/// A typed view of a buffer for oneDNN; it keeps the buffer alive.
@safe final class Memory: Sendable {
  nonisolated(unsafe) let handle: dnnl_memory_t
  let buffer: AlignedBuffer

  init(
    _ descriptor: MemoryDescriptor, in buffer: AlignedBuffer, at offset: Int = 0, _ engine: Engine
  ) throws(NumericalError) {
    precondition(offset + descriptor.byteCount <= buffer.byteCount, "A view reaches beyond its buffer.")
    var memory: dnnl_memory_t?
    var native = descriptor.native
    try unsafe require(
      dnnl_memory_create(&memory, &native, engine.handle, buffer.pointer + offset), "dnnl_memory_create")
    guard let memory = unsafe memory else {
      throw NumericalError(.nativeFailure, "oneDNN gave no memory object.")
    }
    unsafe handle = memory
    self.buffer = buffer
  }

  /// Looks at the beginning of another buffer for as long as `body` runs.
  func withData(in other: AlignedBuffer, _ body: () throws(NumericalError) -> Void) throws(NumericalError) {
    var data: UnsafeMutableRawPointer?
    try unsafe require(dnnl_memory_get_data_handle(handle, &data), "dnnl_memory_get_data_handle")
    try unsafe require(dnnl_memory_set_data_handle(handle, other.pointer), "dnnl_memory_set_data_handle")
    // It has been set once, so that setting it cannot fail.
    defer { unsafe dnnl_memory_set_data_handle(handle, data) }
    try body()
  }

  deinit { unsafe dnnl_memory_destroy(handle) }
}
