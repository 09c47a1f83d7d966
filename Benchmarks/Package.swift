// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that nobody who depends on Bayesify ever resolves or builds it.
let package = Package(
  name: "bayesify-benchmarks",
  products: [.executable(name: "engine-benchmark", targets: ["EngineBenchmark"])],
  dependencies: [.package(name: "bayesify", path: "..")],
  targets: [
    .executableTarget(
      name: "EngineBenchmark",
      dependencies: [.product(name: "Bayesify", package: "bayesify")],
      swiftSettings: [
        .strictMemorySafety(),
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
