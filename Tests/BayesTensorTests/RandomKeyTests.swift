import BayesTensor
import Testing
import _BayesTestSupport

@Suite struct RandomKeyTests {
  @Test func sameKeyGivesSameNumbers() {
    let key = RandomKey(seed: 7)
    #expect(key.uniforms(5) == RandomKey(seed: 7).uniforms(5))
    #expect(key.child(1) == key.child(1))
    #expect(key.child(1) != key.child(2))
    #expect(key.uniforms(3) != key.child(0).uniforms(3))
  }

  @Test func longerStreamsExtendShorterOnes() {
    let key = RandomKey(seed: 3)
    #expect(Array(key.uniforms(11).prefix(5)) == key.uniforms(5))
  }
}
