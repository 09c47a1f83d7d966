import BayesTensor
import COneDNN

/// A oneDNN routine refused or failed.
struct OneDNNFailure: Error, CustomStringConvertible {
  let routine: String
  let status: UInt32

  var description: String { "\(routine) returned status \(status)" }
}

/// Throws where a oneDNN call did not succeed.
func require(_ status: dnnl_status_t, _ routine: String) throws(NumericalError) {
  guard status == dnnl_success else {
    throw NumericalError(
      .nativeFailure, "oneDNN could not carry out an operation of this network.",
      cause: OneDNNFailure(routine: routine, status: status.rawValue))
  }
}
