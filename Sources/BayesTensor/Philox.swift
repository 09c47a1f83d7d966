/// The counter-based generator Philox4x64-10.
///
/// A block is a pure function of a 128-bit key and a 256-bit counter, so any block can be computed
/// without computing those before it.
///
/// - Source: Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3*, 2011.
struct Philox {
  var key: (UInt64, UInt64)

  typealias Block = (UInt64, UInt64, UInt64, UInt64)

  func block(_ counter: Block) -> Block {
    var state = counter
    var (key0, key1) = key
    for round in 0..<10 {
      if round > 0 {
        key0 &+= 0x9E37_79B9_7F4A_7C15
        key1 &+= 0xBB67_AE85_84CA_A73B
      }
      let first = state.0.multipliedFullWidth(by: 0xD2E7_470E_E14C_6C93)
      let second = state.2.multipliedFullWidth(by: 0xCA5A_8263_9512_1157)
      state = (second.high ^ state.1 ^ key0, second.low, first.high ^ state.3 ^ key1, first.low)
    }
    return state
  }
}
