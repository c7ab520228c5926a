// swift-tools-version: 6.2
import PackageDescription

// The floors of the building, lowest first. A target may only know targets on lower floors; the compiler checks it.
// See docs/architecture.md for the picture.

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
] + (Context.environment["WARNINGS_AS_ERRORS"] == "1" ? [.treatAllWarnings(as: .error)] : [])

/// For simulators alone, whose peers share one thread: counts references without locking the bus. Into a daemon it must not get, nor into the
/// simulator's commands, which wait for other processes in threads.
let oneThread: [SwiftSetting] = Context.environment["ONE_THREAD"] == "1" ? [.unsafeFlags(["-Xfrontend", "-assume-single-threaded"])] : []

/// A machine or vocabulary of the deterministic core.
func core(_ name: String, knows: [String] = []) -> Target {
    .target(name: name, dependencies: knows.map { .init(stringLiteral: $0) }, path: "Sources/Core/\(name)",
            swiftSettings: strict + oneThread, linkerSettings: [.linkedLibrary("m", .when(platforms: [.linux]))])
}

func module(_ name: String, at path: String, knows: [String], embeds: [String] = [], settings: [SwiftSetting] = []) -> Target {
    .target(name: name, dependencies: knows.map { .init(stringLiteral: $0) }, path: path,
            resources: embeds.map { .embedInCode($0) }, swiftSettings: strict + settings)
}

func program(_ name: String, at path: String, knows: [String], exclude: [String] = []) -> Target {
    .executableTarget(name: name, dependencies: knows.map { .init(stringLiteral: $0) }, path: path, exclude: exclude,
                      swiftSettings: strict, linkerSettings: [.linkedLibrary("m", .when(platforms: [.linux]))])
}

func tests(_ name: String, at path: String, knows: [String], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: knows.map { .init(stringLiteral: $0) }, path: path, exclude: exclude, swiftSettings: strict)
}

let floor0 = ["Kernel", "Encoding", "Crypto", "Multiformats"]
let floor1 = floor0 + ["Pinset", "Seams", "HTTP"]
let machines = [
    "Storage", "Gossip", "Exchange", "DHT", "DagList", "UnixFS", "RPC", "MerkleCRDT", "Allocation", "Tracking", "Monitoring",
    "IPFSConnector", "Discovery", "AutoNAT",
]
let wholeCore = floor1 + machines + ["Cluster"]

/// The fuzz targets, which only `scripts/fuzz` builds: they need the fuzzer's runtime.
let fuzzing = Context.environment["FUZZ"] == "1" ? [
    program("fuzz", at: "Tests/Property/Fuzz", knows: wholeCore + ["Journal", "Transport", "API", "Configuration", "TestSupport"]),
] : []

let package = Package(
    name: "ipfs-cluster-swift",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "ipfs-cluster-service", targets: ["ipfs-cluster-service"]),
        .executable(name: "ipfs-cluster-ctl", targets: ["ipfs-cluster-ctl"]),
        .executable(name: "ipfs-cluster-sim", targets: ["ipfs-cluster-sim"]),
    ],
    dependencies: [],
    targets: [
        // Floor 0: numbers, bytes, names.
        .systemLibrary(name: "COpenSSL", path: "Sources/Core/COpenSSL", pkgConfig: "openssl",
                       providers: [.apt(["libssl-dev"])]),
        core("Kernel"),
        core("Encoding", knows: ["Kernel"]),
        core("Crypto", knows: ["Kernel", "COpenSSL"]),
        core("Multiformats", knows: ["Kernel", "Encoding", "Crypto"]),

        // Floor 1: the vocabulary, and the seams to the two worlds.
        core("Pinset", knows: floor0),
        core("Seams", knows: floor0 + ["Pinset"]),
        core("HTTP", knows: floor0),

        // Floor 2 and 3: the machines. None knows another, except where named.
        core("Storage", knows: floor1),
        core("Gossip", knows: floor1),
        core("Exchange", knows: floor1),
        core("DHT", knows: floor1 + ["Storage"]),
        core("DagList", knows: floor1),
        core("UnixFS", knows: floor1),
        core("RPC", knows: floor1),
        core("MerkleCRDT", knows: floor1 + ["Storage"]),
        core("Allocation", knows: floor1),
        core("Tracking", knows: floor1),
        core("Monitoring", knows: floor1),
        core("Discovery", knows: floor1),
        core("AutoNAT", knows: floor1),
        core("IPFSConnector", knows: floor1 + ["Storage", "UnixFS"]),
        .target(name: "CSalsa20", path: "Sources/Core/CSalsa20"),
        core("Transport", knows: floor1 + ["CSalsa20"]),

        // Floor 4: the peer.
        core("Cluster", knows: floor1 + machines),

        // A peer's life, written down and lived again.
        core("Journal", knows: wholeCore),

        // What speaks to users on a peer's behalf, over the client seam.
        core("API", knows: floor1),

        // Floor 5: the worlds that interpret a peer's effects.
        module("SimNet", at: "Sources/SimNet", knows: wholeCore + ["Transport"],
               embeds: ["page.css", "body.html", "trace.js", "diagram.js", "events.js", "page.js"].map { "Page/" + $0 },
               // Exclusive access is checked where tests run, and in mutants; not in each event of a sweep.
               settings: oneThread + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]),
        .systemLibrary(name: "CEvents", path: "Sources/RealNet/CEvents"),
        .target(name: "CResolver", path: "Sources/RealNet/CResolver", linkerSettings: [.linkedLibrary("resolv", .when(platforms: [.linux]))]),
        .target(name: "RealNet", dependencies: (wholeCore + ["Journal", "Transport", "COpenSSL", "CEvents", "CResolver"]).map { .init(stringLiteral: $0) },
                path: "Sources/RealNet", exclude: ["CEvents", "CResolver"], swiftSettings: strict,
                linkerSettings: [.linkedLibrary("m", .when(platforms: [.linux]))]),

        // Floor 6: what people run.
        module("Configuration", at: "Sources/Daemon/Configuration", knows: wholeCore + ["Transport"]),
        module("CommandLine", at: "Sources/Daemon/CommandLine", knows: ["Kernel", "Encoding"]),
        module("ControlCommands", at: "Sources/Daemon/Control", knows: floor1 + ["CommandLine"]),
        module("ServiceCommands", at: "Sources/Daemon/Service",
               knows: wholeCore + ["API", "RealNet", "CommandLine", "Configuration"]),
        program("ipfs-cluster-service", at: "Sources/Daemon/ServiceProgram",
                knows: wholeCore + ["RealNet", "Transport", "Configuration", "ServiceCommands"]),
        program("ipfs-cluster-ctl", at: "Sources/Daemon/ControlProgram", knows: floor1 + ["RealNet", "ControlCommands"]),
        program("ipfs-cluster-sim", at: "Sources/Daemon/Simulator", knows: wholeCore + ["Journal", "SimNet"]),
        program("benchmarks", at: "Benchmarks",
                knows: wholeCore + ["SimNet", "Transport", "RealNet", "Configuration", "ServiceCommands"],
                exclude: ["README.md", "results"]),

        // Tests/Property: one folder for each area, so that an area is tested without building the others.
        module("TestSupport", at: "Tests/Property/Support", knows: floor1 + ["Storage"]),
        tests("VocabularyTests", at: "Tests/Property/Vocabulary", knows: floor1 + ["TestSupport"]),
        tests("StorageTests", at: "Tests/Property/Storage", knows: floor1 + ["Storage", "TestSupport"]),
        tests("CRDTTests", at: "Tests/Property/CRDT", knows: floor1 + ["Storage", "MerkleCRDT", "TestSupport"]),
        tests("NetworkTests", at: "Tests/Property/Network",
              knows: floor1 + ["Gossip", "Exchange", "DHT", "DagList", "RPC", "Discovery", "AutoNAT", "Storage", "TestSupport"]),
        tests("PinningTests", at: "Tests/Property/Pinning",
              knows: floor1 + ["Allocation", "Tracking", "Monitoring", "TestSupport"]),
        tests("ClusterTests", at: "Tests/Property/Cluster", knows: wholeCore + ["TestSupport"]),
        tests("JournalTests", at: "Tests/Property/Journal", knows: wholeCore + ["Journal", "TestSupport"]),
        tests("ContentTests", at: "Tests/Property/Content",
              knows: floor1 + ["Storage", "UnixFS", "IPFSConnector", "TestSupport"]),
        tests("RealNetTests", at: "Tests/Property/RealNet", knows: wholeCore + ["Journal", "Transport", "RealNet", "TestSupport"]),
        tests("HTTPTests", at: "Tests/Property/HTTP", knows: floor0 + ["HTTP"]),
        tests("TransportTests", at: "Tests/Property/Transport", knows: floor1 + ["CSalsa20", "Transport", "TestSupport"]),
        tests("TranscriptTests", at: "Tests/Property/Transcripts",
              knows: floor1 + ["Gossip", "Exchange", "DHT", "RPC", "Transport", "TestSupport"]),
        tests("APITests", at: "Tests/Property/API", knows: floor1 + ["API", "TestSupport"]),
        tests("CommandLineTests", at: "Tests/Property/CommandLine", knows: floor0 + ["CommandLine", "TestSupport"]),
        tests("ConfigurationTests", at: "Tests/Property/Configuration", knows: wholeCore + ["Transport", "Configuration", "TestSupport"]),
        tests("ControlTests", at: "Tests/Property/Control",
              knows: floor1 + ["ControlCommands", "TestSupport"]),
        tests("ServiceTests", at: "Tests/Property/Service",
              knows: wholeCore + ["RealNet", "CommandLine", "Configuration", "ControlCommands", "ServiceCommands", "TestSupport"]),
        tests("SimulatorTests", at: "Tests/Property/Simulator", knows: wholeCore + ["SimNet", "TestSupport"]),
        tests("TidyTests", at: "Tests/Property/Tidy", knows: ["Journal", "TestSupport"]),
        tests("Scenarios", at: "Tests/Scenarios", knows: wholeCore + ["SimNet", "TestSupport"], exclude: ["Plans"]),
        // The same behaviours on both nets.
        tests("Behaviour", at: "Tests/Behaviour", knows: wholeCore + ["SimNet", "RealNet", "Transport"]),
    ] + fuzzing
)

if !oneThread.isEmpty {
    let threaded = ["ipfs-cluster-service", "ipfs-cluster-ctl"]
    package.products.removeAll { threaded.contains($0.name) }
    package.targets.removeAll { threaded.contains($0.name) }
}
