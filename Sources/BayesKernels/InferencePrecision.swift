public import BayesTensor
import COneDNN

/// The arithmetic in which prepared networks convolve and multiply.
///
/// Everything stored, and everything else computed, is `Float` in either.
public enum InferencePrecision: String, CaseIterable, Sendable {
  /// Factors with 24 significant bits.
  case float32
  /// Factors rounded to 8 significant bits where the native library finds that faster, their products summed
  /// in `Float`: for processors with AMX.
  ///
  /// Not measured: no such processor was at hand.
  case bfloat16

  /// Whether this processor, as far as the native library may use it, computes so.
  public var isSupported: Bool {
    switch self {
    case .float32: true
    case .bfloat16: Self.instructions & dnnl_cpu_isa_avx512_core_amx.rawValue == dnnl_cpu_isa_avx512_core_amx.rawValue
    }
  }

  /// Refuses what this processor does not compute.
  ///
  /// - Throws: `NumericalError.Code.unsupported`.
  public func requireSupport() throws(NumericalError) {
    guard isSupported else {
      throw NumericalError(
        .unsupported,
        "The precision \(rawValue) needs a processor with AMX, and this one offers \(Self.instructionSet); use "
          + "\(Self.float32.rawValue), or a processor that has it.")
    }
  }

  /// One bit an instruction set that the native library uses here, after any limit by the environment.
  private static var instructions: UInt32 { dnnl_get_effective_cpu_isa().rawValue }

  /// The widest of them.
  private static var instructionSet: String {
    let names = [
      (dnnl_cpu_isa_avx512_core_bf16, "AVX-512 without it"), (dnnl_cpu_isa_avx512_core, "AVX-512"),
      (dnnl_cpu_isa_avx2, "AVX2"), (dnnl_cpu_isa_avx, "AVX"),
    ]
    return names.first { instructions & $0.0.rawValue == $0.0.rawValue }?.1 ?? "SSE 4.1 at most"
  }
}
