import BayesTensor
import COneDNN

/// A copy from one order of elements to another, compiled once and run as often as the source changes.
@safe final class Reorder: Sendable {
  nonisolated(unsafe) private let primitive: dnnl_primitive_t
  private let stream: Stream
  private let source: Memory
  private let target: Memory

  init(from source: Memory, _ plain: MemoryDescriptor, to target: Memory, _ wanted: MemoryDescriptor, _ engine: Engine)
    throws(NumericalError)
  {
    var (from, to) = (plain.native, wanted.native)
    var descriptor: dnnl_primitive_desc_t?
    try unsafe require(
      dnnl_reorder_primitive_desc_create(&descriptor, &from, engine.handle, &to, engine.handle, nil),
      "dnnl_reorder_primitive_desc_create")
    defer { unsafe dnnl_primitive_desc_destroy(descriptor) }
    var primitive: dnnl_primitive_t?
    try unsafe require(dnnl_primitive_create(&primitive, descriptor), "dnnl_primitive_create")
    guard let primitive = unsafe primitive else {
      throw NumericalError(.nativeFailure, "oneDNN gave no reorder.")
    }
    unsafe self.primitive = primitive
    stream = try Stream(engine)
    self.source = source
    self.target = target
  }

  deinit { unsafe dnnl_primitive_destroy(primitive) }

  /// Copies what the source holds now.
  func run() throws(NumericalError) {
    let arguments = unsafe [
      dnnl_exec_arg_t(arg: Argument.source, memory: source.handle),
      dnnl_exec_arg_t(arg: Argument.destination, memory: target.handle),
    ]
    try unsafe require(
      dnnl_primitive_execute(primitive, stream.handle, 2, arguments), "dnnl_primitive_execute")
  }
}
