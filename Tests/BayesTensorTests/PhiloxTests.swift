@testable import BayesTensor
import Testing
import _BayesTestSupport

@Suite struct PhiloxTests {
  /// NumPy's generator of the same name, word by word.
  @Test func wordsAreThoseOfNumPy() throws {
    let cases = try GoldenValue(contentsOf: "Philox/philox4x64.json")["cases"].list
    #expect(cases.count >= 10)
    for golden in cases {
      func words(_ name: String) throws -> [UInt64] {
        try golden[name].list.map { try #require(UInt64($0.text)) }
      }
      let key = try words("key")
      var counter = try words("counter")
      let generator = Philox(key: (key[0], key[1]))
      var output: [UInt64] = []
      for _ in 0..<3 {
        // NumPy counts before it draws, with carry.
        for index in counter.indices {
          counter[index] &+= 1
          if counter[index] != 0 { break }
        }
        let block = generator.block((counter[0], counter[1], counter[2], counter[3]))
        output += [block.0, block.1, block.2, block.3]
      }
      #expect(try output == words("output"))
    }
  }
}
