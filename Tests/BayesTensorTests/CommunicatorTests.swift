import BayesTensor
import Testing
import _BayesTestSupport

@Suite struct CommunicatorTests {
  @Test func oneProcessKeepsTheContract() { checkCommunicator(SerialCommunicator()) }

  @Test func theContractFindsFaults() {
    #expect(communicatorFaults(FaultyCommunicator(rank: 1)) == ["There is no rank 1 among 1."])
    let sums = communicatorFaults(FaultyCommunicator(allReduceStart: 0))
    #expect(sums.contains { $0.contains("The sum of shape [2, 3] holds 0.0 at 0") }, "\(sums)")
    let gathered = communicatorFaults(FaultyCommunicator(gatherCount: 2))
    #expect(gathered.contains("2 tensors were gathered on rank 0 of 1."), "\(gathered)")
    let broadcast = communicatorFaults(FaultyCommunicator(broadcastShape: [6]))
    #expect(broadcast.contains { $0.contains("rank 0 of shape [2, 3] has shape [6]") }, "\(broadcast)")
  }
}

/// One process that does one thing wrong.
private struct FaultyCommunicator: Communicator {
  var rank = 0
  /// What sums start from: the zero that loses the sign of `-0.0`.
  var allReduceStart: Double?
  var gatherCount = 1
  var broadcastShape: Shape?

  var size: Int { 1 }
  func allReduce(_ values: inout Tensor<Double>) {
    if let allReduceStart { values = values.map { allReduceStart + $0 } }
  }
  func gather(_ value: Tensor<Double>) -> [Tensor<Double>] { Array(repeating: value, count: gatherCount) }
  func broadcast(_ values: inout Tensor<Double>, from root: Int) {
    if let broadcastShape, broadcastShape.elementCount == values.count {
      values = values.reshaped(to: broadcastShape)
    }
  }
}
