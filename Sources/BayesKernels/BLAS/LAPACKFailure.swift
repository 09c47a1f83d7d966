/// A LAPACK routine failed.
struct LAPACKFailure: Error, CustomStringConvertible {
  let routine: String
  let info: Int32

  var description: String { "\(routine) returned info \(info)" }
}
