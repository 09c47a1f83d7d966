/// The version of the package, as reports and posteriors record it.
public let bayesifyVersion = "0.1.0"
