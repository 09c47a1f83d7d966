import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Sound files with something wrong in what they describe.
@Suite struct KerasImportErrorTests {
  private func imported(_ name: String) throws -> FrozenNetwork {
    let url = TestFiles.golden.appending(path: "BrokenCheckpoints/" + name)
    return try FrozenNetwork(importing: try HDF5Checkpoint(url.path(percentEncoded: false)))
  }

  @Test func theFileThatTheOthersAreMadeFromIsSound() throws {
    #expect(try imported("valid.h5").network.exits.map(\.name) == ["head"])
  }

  @Test(arguments: [
    ("missing-weight.h5", FileError.Code.missing, ["head/weight of shape [48, 4]"]),
    ("wrong-shape.h5", .shape, ["head/kernel has shape [4, 48]", "[48, 4]"]),
    ("unknown-layer.h5", .unsupported, ["mystery (MysteryLayer)", "lambda_scale (Lambda): it carries code"]),
    ("nan-weight.h5", .value, ["must be finite"]),
    ("no-config.h5", .missing, ["no description of the network"]),
  ])
  func eachFaultIsNamed(name: String, code: FileError.Code, parts: [String]) {
    let error = #expect(throws: FileError.self) { _ = try imported(name) }
    #expect(error?.code == code)
    #expect(error?.description.contains(name) == true)
    for part in parts { #expect(error?.message.contains(part) == true, "\(error?.message ?? "")") }
  }
}
