// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
  name: "bayesify",
  products: [
    .library(name: "Bayesify", targets: ["Bayesify"]),
    .library(name: "BayesMPI", targets: ["BayesMPI"]),
    .executable(name: "bayesify", targets: ["BayesifyCommand"]),
  ],
  traits: [.trait(name: "MPI", description: "Spreads rows and chains over MPI ranks.")],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-numerics", from: "1.1.0"),
  ],
  targets: [
    // C libraries, one module each; only the adaptors import them.
    .systemLibrary(name: "CHDF5", pkgConfig: "hdf5", providers: [.apt(["libhdf5-dev"])]),
    .target(name: "CHDF5Files", dependencies: ["CHDF5"]),  // How HDF5 opens a file of ours.
    .systemLibrary(name: "COneDNN", providers: [.apt(["libdnnl-dev"])]),  // ships no .pc file
    .systemLibrary(
      name: "COpenBLAS", pkgConfig: "openblas",
      providers: [.apt(["libopenblas-dev", "liblapacke-dev"])]),
    // OpenSSL's digests: a Swift package for them would build for minutes.
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CMPI", pkgConfig: "ompi-c", providers: [.apt(["libopenmpi-dev"])]),
    .systemLibrary(name: "CZip", pkgConfig: "libzip", providers: [.apt(["libzip-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
    .systemLibrary(name: "CJPEG", pkgConfig: "libturbojpeg", providers: [.apt(["libturbojpeg0-dev"])]),

    // The core: pure Swift.
    .target(
      name: "BayesTensor",
      dependencies: [.product(name: "RealModule", package: "swift-numerics")],
      swiftSettings: settings),
    .target(name: "BayesNetwork", dependencies: ["BayesTensor"], swiftSettings: settings),
    .target(name: "BayesPrediction", dependencies: ["BayesTensor"], swiftSettings: settings),
    .target(
      name: "BayesPosterior", dependencies: ["BayesTensor", "BayesNetwork", "BayesPrediction"],
      swiftSettings: settings),
    .target(
      name: "BayesEvaluation", dependencies: ["BayesTensor", "BayesPrediction"],
      swiftSettings: settings),
    .target(
      name: "BayesReport", dependencies: ["BayesEvaluation"],
      swiftSettings: settings),

    // Adaptors.
    .target(
      name: "BayesKernels", dependencies: ["BayesTensor", "BayesNetwork", "COneDNN", "COpenBLAS"],
      swiftSettings: settings),
    .target(
      name: "BayesFiles",
      dependencies: [
        "BayesTensor", "BayesNetwork", "CHDF5", "CHDF5Files", "CZip", "CZlib", "CCrypto", "CPNG", "CJPEG",
      ],
      swiftSettings: settings),
    .target(
      name: "BayesMPI",
      dependencies: ["BayesTensor", .target(name: "CMPI", condition: .when(traits: ["MPI"]))],
      swiftSettings: settings),

    // Front doors.
    .target(
      name: "Bayesify",
      dependencies: [
        "BayesTensor", "BayesNetwork", "BayesPrediction", "BayesPosterior", "BayesEvaluation",
        "BayesReport", "BayesKernels", "BayesFiles",
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "BayesifyCommand",
      dependencies: [
        "Bayesify",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),

    // Tests.
    .target(
      name: "_BayesTestSupport", dependencies: ["BayesTensor", "BayesNetwork", "BayesPrediction"],
      swiftSettings: settings),
    .testTarget(
      name: "BayesTensorTests", dependencies: ["BayesTensor", "_BayesTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "BayesNetworkTests", dependencies: ["BayesNetwork", "BayesPrediction", "_BayesTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "BayesPredictionTests", dependencies: ["BayesPrediction", "_BayesTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "BayesPosteriorTests", dependencies: ["BayesPosterior", "BayesKernels", "_BayesTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "BayesEvaluationTests", dependencies: ["BayesEvaluation", "_BayesTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "BayesReportTests", dependencies: ["BayesReport", "_BayesTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "BayesKernelsTests", dependencies: ["BayesKernels", "_BayesTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "BayesFilesTests", dependencies: ["BayesFiles", "_BayesTestSupport"],
      swiftSettings: settings),
    // A program: ranks are started by mpirun, not by `swift test`.  See Scripts/test-mpi.sh.
    .executableTarget(
      name: "BayesMPITests", dependencies: ["BayesMPI", "BayesPosterior", "_BayesTestSupport"],
      path: "Tests/BayesMPITests", swiftSettings: settings),
    .testTarget(
      name: "BayesifyCommandTests", dependencies: ["BayesifyCommand", "Bayesify", "_BayesTestSupport"],
      swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
