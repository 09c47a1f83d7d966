import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Descriptions that make no sense, whether by accident or by malice.
@Suite struct KerasDescriptionTests {
  private func error(_ json: String?) -> FileError? {
    #expect(throws: FileError.self) { try KerasArchitecture.network(of: MemoryCheckpoint(json)) }
  }

  private static let image = KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 4]"#)

  @Test func aFileWithoutADescriptionSaysWhatToDo() {
    let error = error(nil)
    #expect(error?.code == .missing)
    #expect(error?.message.contains("--architecture FILE") == true)
  }

  @Test(arguments: [
    ("", "no JSON"), ("{", "no JSON"), ("\u{0}\u{0}", "no JSON"), (#"{"class_name": "Sequential""#, "no JSON"),
    ("null", "has no 'class_name'"), ("[1, 2]", "has no 'class_name'"),
    (#"{"class_name": 3, "config": {}}"#, "has no 'class_name'"),
    (#"{"class_name": "Sequential", "config": 7}"#, "without a list of layers"),
    (#"{"class_name": "Sequential", "config": []}"#, "holds no layers"),
    (#"{"class_name": "Sequential", "config": {"layers": [3]}}"#, "without 'class_name' and 'config'"),
    (
      #"{"class_name": "Sequential", "config": {"layers": [{"class_name": "ReLU", "config": {}}]}}"#,
      "without a name"
    ),
    (KerasJSON.functional(image, outputs: #"["nobody", 0, 0]"#), "'nobody' is not there"),
    (KerasJSON.functional(image, outputs: #"["image", 1, 0]"#), "'image' is not there"),
    (KerasJSON.functional(image, outputs: #"["image", -1, 0]"#), "'image' is not there"),
    (KerasJSON.functional(image, outputs: #"["image", 1e99, 0]"#), "name no layer"),
    (KerasJSON.functional(image, outputs: ""), "name no layer"),
    (KerasJSON.functional(image, outputs: #"["image", 0, 5]"#), "is not computed"),
    (
      KerasJSON.functional(image, inputs: #"["nobody", 0, 0]"#, outputs: #"["image", 0, 0]"#),
      "no input layer"
    ),
    (KerasJSON.functional(image, image, outputs: #"["image", 0, 0]"#), "Two layers are named 'image'"),
    (
      KerasJSON.functional(image, KerasJSON.node("ReLU", "x", on: "nobody"), outputs: #"["x", 0, 0]"#),
      "'x' takes the output of 'nobody'"
    ),
    (
      KerasJSON.functional(
        image, KerasJSON.node("ReLU", "x").replacing("[]", with: "[3]"), outputs: #"["x", 0, 0]"#),
      "names no layer"
    ),
    (
      KerasJSON.functional(
        image,
        KerasJSON.node("ReLU", "x")
          .replacing("[]", with: #"[{"args": [{"class_name": "__keras_tensor__"}]}]"#),
        outputs: #"["x", 0, 0]"#),
      "names no layer"
    ),
  ])
  func nonsenseIsMalformed(json: String, reason: String) {
    let error = error(json)
    #expect(error?.code == .malformed)
    #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
  }

  @Test func cyclesAreFound() {
    let json = KerasJSON.functional(
      Self.image, KerasJSON.node("Add", "a", on: "image", "c"), KerasJSON.node("ReLU", "b", on: "a"),
      KerasJSON.node("ReLU", "c", on: "b"), KerasJSON.node("ReLU", "behind", on: "c"),
      KerasJSON.node("ReLU", "itself", on: "itself"), outputs: #"["behind", 0, 0]"#)
    let error = error(json)
    #expect(error?.code == .malformed)
    #expect(error?.message.contains("cycle through") == true)
    #expect(error?.message.contains("'behind'") == false)
  }

  /// Names are texts with every escape; numbers and words are those that Python writes.
  @Test(arguments: [
    (#"caf\u00e9"#, "café"), (#"\ud83d\ude00 \u0041"#, "😀 A"), (#"a\/b\\c\"d\t"#, "a/b\\c\"d\t"), ("é😀", "é😀"),
  ])
  func escapedNamesAreRead(_ written: String, _ name: String) throws {
    let json = KerasJSON.sequential(
      KerasJSON.input("4"),
      KerasJSON.layer("Dense", written, #""units": 2, "a": NaN, "b": -Infinity, "c": [ ], "d": { } , "e": -1.5e-3"#))
    #expect(try KerasArchitecture.network(of: MemoryCheckpoint(json)).network.nodes.last?.name == name)
  }

  @Test(arguments: [
    #"{"a": "\ud83d"}"#, #"{"a": "\x"}"#, #"{"a": "\u12"}"#, "{\"a\": \"\u{1}\"}", #"{"a": 1e}"#, #"{"a": 1 2}"#, #"{"a" 1}"#,
    #"{"a": tru}"#, #"{"a": 1} x"#, #"{"a": "b}"#, #"{"a": [1, ]}"#, #"{1: 2}"#, #"{"a": --1}"#,
  ])
  func textsThatAreNoJSONAreRefused(_ json: String) {
    #expect(error(json)?.message.contains("no JSON") == true)
  }

  /// Megabytes of brackets are over in seconds, and would take hours where every one is looked for from the start; the
  /// processor's time does not count what other tests take.
  @Test func longTextsAreReadQuickly() {
    func processorSeconds() -> Double {
      var time = timespec()
      unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
      return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
    let start = processorSeconds()
    let json = #"{"class_name": "Sequential", "config": {"layers": ["#
      + Array(repeating: #"{"a":{}}"#, count: 650_000).joined(separator: ",") + "]}}"
    #expect(error(json)?.message.contains("without 'class_name' and 'config'") == true)
    #expect(error(json + String(repeating: " ", count: 1 << 20))?.code == .unsupported)
    #expect(processorSeconds() - start < 60)
  }

  @Test(arguments: [1_000, 1_000_000])
  func deepNestingIsRefused(depth: Int) {
    for (opening, closing) in [("[", "]"), (#"{"config":"#, "}")] {
      let json =
        String(repeating: opening, count: depth) + "1" + String(repeating: closing, count: depth)
      // The longest are not looked into.
      #expect(error(json)?.code == (json.utf8.count > 6 << 20 ? .unsupported : .malformed))
    }
  }

  @Test func modelsNestedDeeplyAreLaidOpen() throws {
    var json = KerasJSON.layer("ReLU", "relu")
    for level in 0..<60 {
      json = #"{"class_name": "Sequential", "config": {"name": "m\#(level)", "layers": [\#(json)]}}"#
    }
    let network = try KerasArchitecture.network(
      of: MemoryCheckpoint(KerasJSON.sequential(KerasJSON.input("4"), json))
    ).network
    #expect(network.nodes.count == 2)
  }

  @Test(arguments: [
    (#"[null, null, null, 3]"#, "no fixed extents"), (#"[null, 0]"#, "must be positive"),
    (#"[null, -4]"#, "must be positive"), (#"[null]"#, "no fixed extents"), (#""x""#, "no fixed extents"),
    (#"[null, 4294967296, 4294967296, 4294967296]"#, "their product at most"),
    (#"[null, 2.5]"#, "no fixed extents"), (#"[null, 1e30]"#, "no fixed extents"),
  ])
  func inputsNeedFixedSensibleExtents(shape: String, reason: String) {
    let error = error(
      KerasJSON.functional(
        KerasJSON.node("InputLayer", "image", #""batch_shape": \#(shape)"#), outputs: #"["image", 0, 0]"#))
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
  }

  /// A model with something of everything.
  private static let variety = KerasJSON.functional(
    KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 8, 8, 3]"#),
    KerasJSON.node("Rescaling", "scale", #""scale": 0.5, "offset": [1, 2, 3]"#, on: "image"),
    KerasJSON.node(
      "Conv2D", "conv", #""filters": 4, "kernel_size": [3, 3], "strides": 1, "padding": "same", "groups": 1"#,
      on: "scale"),
    KerasJSON.node("BatchNormalization", "norm", #""axis": [3], "epsilon": 0.001, "scale": true"#, on: "conv"),
    KerasJSON.node("PReLU", "prelu", #""shared_axes": [1, 2]"#, on: "norm"),
    KerasJSON.node("DepthwiseConv2D", "depth", #""kernel_size": 3, "depth_multiplier": 2"#, on: "prelu"),
    KerasJSON.node(
      "SeparableConv2D", "sep", #""filters": 8, "kernel_size": [3, 3], "dilation_rate": [1, 1]"#, on: "prelu"),
    KerasJSON.node("Concatenate", "join", #""axis": -1"#, on: "depth", "sep"),
    KerasJSON.node("ZeroPadding2D", "pad", #""padding": [[1, 2], [3, 4]]"#, on: "join"),
    KerasJSON.node("Cropping2D", "crop", #""cropping": [1, 1]"#, on: "pad"),
    KerasJSON.node("UpSampling2D", "up", #""size": [2, 2], "interpolation": "bilinear""#, on: "crop"),
    KerasJSON.node("MaxPooling2D", "pool", #""pool_size": [2, 2], "strides": null"#, on: "up"),
    KerasJSON.node("LeakyReLU", "leaky", #""alpha": 0.1"#, on: "pool"),
    KerasJSON.node("Permute", "permute", #""dims": [3, 1, 2]"#, on: "leaky"),
    KerasJSON.node("Reshape", "reshape", #""target_shape": [-1, 4]"#, on: "permute"),
    KerasJSON.node("Dropout", "drop", #""rate": 0.5"#, on: "reshape"),
    KerasJSON.node("Flatten", "flat", on: "drop"),
    KerasJSON.node("Dense", "head", #""units": 3, "activation": "softmax""#, on: "flat"),
    outputs: #"["head", 0, 0]"#)

  /// Puts each of these in the place of each value of a sound description, one at a time.
  @Test(arguments: [
    "null", "true", "-1", "0", "7", "1e300", "-9223372036854775808", "9223372036854775807", "16777216", "NaN",
    "\"image\"", "[]", "[[[]]]", "{}", "[16777216, 16777216]", "[-16777216, 1]",
  ])
  func noValueMakesTheImporterTrap(hostile: String) throws {
    #expect(try KerasArchitecture.network(of: MemoryCheckpoint(Self.variety)).network.exits.count == 1)
    var refusals = 0
    for value in Self.variety.matches(of: /"[^"]*"(?!:)|-?[0-9][0-9.]*|null|true/) {
      var json = Self.variety
      json.replaceSubrange(value.range, with: hostile)
      do {
        _ = try KerasArchitecture.network(of: MemoryCheckpoint(json))
      } catch {
        #expect(error.message.hasSuffix("."))
        refusals += 1
      }
    }
    #expect(refusals > 0)
  }

  @Test func modelsOfUnknownClassesAreRefused() {
    let error = error(#"{"class_name": "MyModel", "config": {"width": 3}}"#)
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains("'MyModel'") == true)
  }
}
