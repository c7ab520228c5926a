// ipfs-cluster-service, run in this process on temporary folders, against what upstream answered. spec/cli.md 2 to 5.

import Cluster
import CommandLine
import Configuration
import Encoding
import Foundation
import Kernel
import Multiformats
import Pinset
import Seams
import ServiceCommands
import TestSupport
import Testing

/// A world of plain values, and what was printed into it.
private final class Stage {
    let folder: String
    var stdout = ""
    var stderr = ""
    var log: [LogLine] = []
    var input: [String] = []
    var environment: [String: String]
    var daemons: [DaemonOptions] = []
    /// What the last daemon was told of upstream's pins.
    var unreadPinset: String?
    var infoLoggers: [String] = []
    var states: [StateCommand] = []
    /// Whether `state` commands do what they say, or are only noted.
    var runsStates = false
    private var nextPort: UInt16 = 20_000
    private var nextByte: UInt8 = 0

    init(environment: [String: String] = [:]) throws {
        self.environment = environment
        folder = FileManager.default.temporaryDirectory.path + "/service-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private var world: ServiceWorld {
        ServiceWorld(
            environment: environment, version: "1.1.6+git2182e887", homeFolder: folder + "/home", hostName: "host",
            readLine: { self.input.isEmpty ? nil : self.input.removeFirst() }, printOut: { self.stdout += $0 },
            printError: { self.stderr += $0 }, log: { line, levels in if levels.shows(line) { self.log.append(line) } },
            randomBytes: { count in
                self.nextByte += 1
                return Bytes(repeating: self.nextByte, count: count)
            },
            freePort: { _, _ in
                self.nextPort += 1
                return self.nextPort
            },
            fetch: { _ in nil })
    }

    /// Runs the command as the daemon would run up to the point where it opens things.
    func run(_ words: [String]) -> Int32 {
        (stdout, stderr, log) = ("", "", [])
        let world = world
        let service = Service(
            world: world,
            runDaemon: { options in
                self.daemons.append(options)
                let start = try options.start(in: world)
                try start.checkMayRun(options.environment)
                for line in start.debugLines { world.log(line, options.logLevels) }
                self.unreadPinset = start.unreadPinset
                self.infoLoggers = start.settings.infoLoggers
                return 0
            },
            runState: { options in
                self.states.append(options.command)
                return self.runsStates ? try options.run(in: world) : 0
            })
        return service.run(words.map { $0.replacing("$DIR", with: folder) })
    }

    func read(_ name: String) -> String? {
        FileManager.default.contents(atPath: folder + "/" + name).map { String(decoding: $0, as: UTF8.self) }
    }
    func write(_ text: String, to name: String) throws {
        let path = folder + "/" + name
        let parent = URL(fileURLWithPath: path).deletingLastPathComponent()
        try FileManager.default.createDirectory(at: parent, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }
}

@Suite struct RecordedCommandTests {
    /// Raft's state is not ours.
    private func isCovered(_ words: [String]) -> Bool {
        words.dropFirst().first != "$DIR/str" || words.dropFirst(2).first != "state" || words.contains("crdt")
    }

    /// Where we do otherwise on purpose, and what comes of it. docs/differences.md
    private static let differing: [String: (stdoutLines: Int, stderr: String)] = [
        "ctl-none-064": (2, ""),  // dirty stays dirty
        "ctl-none-071": (0, "error importing state: "),  // in our words
        "ctl-none-072": (3, ""), "ctl-none-074": (3, ""),  // a bad import has changed nothing
    ]

    /// Without log lines, which begin with a time.
    private func plain(_ stderr: String) -> String {
        stderr.split(separator: "\n", omittingEmptySubsequences: false).filter { !($0.hasPrefix("20") && $0.contains("Z\t")) }
            .joined(separator: "\n")
    }

    @Test func asRecorded() throws {
        let stage = try Stage()
        stage.runsStates = true
        var compared = 0
        for line in try Golden.lines("ctl/cases.ndjson") where line["cluster"]?.text == "none" && line["program"]?.text == "service" {
            let id = line["id"]?.text ?? ""
            let words = (line["args"]?.elements ?? []).compactMap(\.text)
            if case .object(let files)? = line["files"] {
                for file in files { try stage.write(file.value["text"]?.text ?? "", to: file.name) }
            }
            guard isCovered(words) else { continue }
            stage.environment = [:]
            if case .object(let members)? = line["env"] { for member in members { stage.environment[member.name] = member.value.text } }
            stage.input = line["stdin"]?.text?.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) ?? []
            // Commands were recorded in that folder.
            let exit = stage.run(words.map { $0.hasSuffix(".json") && !$0.contains("/") ? "$DIR/" + $0 : $0 })
            compared += 1
            #expect(exit == line["exit"]?.integer(Int32.self), "\(id) \(words)")
            if let (lines, stderr) = Self.differing[id] {
                #expect(stage.stdout.split(separator: "\n").count == lines && stage.stderr.hasPrefix(stderr), "\(id) \(words)")
                continue
            }
            compareStdout(stage.stdout, line, id)
            let expected = plain(line["stderr"]?.text ?? "").replacing("open nope", with: "open $DIR/nope")
                .replacing("$DIR", with: stage.folder)
            #expect(stage.stderr == expected, "\(id) \(words)")
            try compareFiles(stage, line, id)
        }
        #expect(compared > 30)
    }

    private func compareStdout(_ text: String, _ line: JSON, _ id: String) {
        let expected = line["stdout"]?.text ?? ""
        if line["compare"]?["unordered"]?.flag == true {
            return #expect(text.split(separator: "\n").sorted() == expected.split(separator: "\n").sorted(), "\(id)")
        }
        switch line["compare"]?["stdout"]?.text {
        case "first-line": #expect(text.split(separator: "\n").first == expected.split(separator: "\n").first, "\(id)")
        case "some": #expect(!text.isEmpty, "\(id)")
        case "any": break
        default: #expect(text == expected, "\(id)")
        }
    }

    private func compareFiles(_ stage: Stage, _ line: JSON, _ id: String) throws {
        guard case .object(let files)? = line["files_after"] else { return }
        for file in files {
            let found = stage.read(file.name)
            // A recorded null says that it was not there, or, where only that is compared, that it was empty or not there.
            let isUnordered = line["compare"]?["unordered"]?.flag == true
            switch (isUnordered ? "unordered_lines" : line["compare"]?["files"]?.text, file.value.text) {
            case ("exists", let expected): if expected != nil { #expect(found != nil, "\(id) \(file.name)") }
            case ("unordered_lines", let expected):
                #expect(found?.split(separator: "\n").sorted() == expected?.split(separator: "\n").sorted(), "\(id) \(file.name)")
            case (_, let expected): #expect(found == expected, "\(id) \(file.name)")
            }
        }
    }
}

@Suite struct StateTests {
    private func pins(_ count: Int) -> String {
        (0..<count).map { number in
            var pin = Pin(cid: CID(v1: Codec.raw, .sha2_256(of: Bytes("\(number)".utf8))))
            pin.options.name = "pin \(number)"
            pin.options.origins = []
            pin.timestamp = WallTime(seconds: 1_700_000_000)
            return pin.json.encoded() + "\n"
        }.joined()
    }
    private func made() throws -> Stage {
        let stage = try Stage()
        stage.runsStates = true
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        return stage
    }
    private func logs(_ stage: Stage) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: stage.folder + "/x")) ?? []).filter { $0.hasPrefix("crdt") }.sorted()
    }

    @Test func manyPinsComeBackAsTheyWere() throws {
        let stage = try made()
        let text = pins(2500)
        try stage.write(text, to: "in.json")
        #expect(stage.run(["-c", "$DIR/x", "state", "import", "-f", "$DIR/in.json"]) == 0)
        #expect(stage.run(["-c", "$DIR/x", "state", "export", "-f", "$DIR/out.json"]) == 0)
        #expect(stage.read("out.json")?.split(separator: "\n").sorted() == text.split(separator: "\n").sorted())
        #expect(logs(stage) == ["crdt"])
        #expect(stage.run(["-c", "$DIR/x", "state", "crdt", "dot"]) == 0)
        let told = stage.log.filter { $0.component == "service" }.map(\.message)
        #expect(told.dropFirst() == ["initiating CDRT-DAG DOT file export. Export might take a long time on large graphs", "dot file "])
        let added = stage.stdout.split(separator: "\n").filter { $0.contains("[label=") }
            .compactMap { $0.split(separator: "+").last?.split(separator: " ").first.flatMap { Int($0) } }
        #expect(added == [2500], "a block holds as much as it may (CRDT-150)")
    }

    /// A pin whose key is stored beside its value.
    private func longCID(_ number: Int) -> String {
        var pin = Pin(cid: CID(v1: Codec.raw, Multihash(code: HashCode.identity, digest: Bytes(repeating: UInt8(number / 1000), count: 150))))
        pin.options.origins = []
        return pin.json.encoded()
    }

    /// Whatever form a pin has, and wherever its line is cut when it is read.
    @Test func pinsOfEveryFormComeInOneAfterAnother() throws {
        let stage = try made()
        var (plain, written, expected) = (pins(30_000).split(separator: "\n").map(String.init), "", Set<String>())
        for (number, line) in plain.enumerated() {
            if number % 1000 == 5 {
                let pin = number < 5000 ? line.replacing("\"metadata\":null", with: "\"metadata\":{\"a\":\"b\"}") : longCID(number)
                expected.insert(pin)
                written += pin + "\n"
                continue
            }
            expected.insert(line)
            switch number % 1000 {
            case 1: written += line.replacing(",", with: " ,\n ") + "\n"
            case 2: written += line  // the next follows on the same line
            case 3: written += "\n \r\n" + line + "\r\n"
            case 4 where number < 3000:
                // Longer than what is looked through for the end of a line.
                written += "{" + String(repeating: " ", count: 3 << 20) + line.dropFirst() + "\n"
            default: written += line + "\n"
            }
        }
        // The last of several that name one CID wins, whatever their forms.
        let last = plain.removeFirst()
        let renamed = last.replacing("\"pin 0\"", with: "\"again\"")
        written += renamed.replacing("\":", with: "\": ") + "\n"
        expected.remove(last)
        expected.insert(renamed)
        for ending in ["", "\n"] {
            try stage.write(written.dropLast() + ending, to: "in.json")
            #expect(stage.run(["-c", "$DIR/x", "state", "import", "-f", "$DIR/in.json"]) == 0)
            #expect(stage.run(["-c", "$DIR/x", "state", "export", "-f", "$DIR/out.json"]) == 0)
            let found = stage.read("out.json")?.split(separator: "\n").map(String.init) ?? []
            #expect(found.count == expected.count && Set(found) == expected)
        }
    }

    @Test func standardInputIsReadToItsEnd() throws {
        let stage = try made()
        stage.input = pins(300).split(separator: "\n").map(String.init)
        #expect(stage.run(["-c", "$DIR/x", "state", "import", "-f"]) == 0)
        #expect(stage.input.isEmpty && stage.stdout == "reading from stdin, Ctrl-D to finish\n")
        #expect(stage.run(["-c", "$DIR/x", "state", "export"]) == 0)
        #expect(stage.stdout.split(separator: "\n").sorted() == pins(300).split(separator: "\n").sorted())
    }

    @Test func aBadImportChangesNothing() throws {
        let stage = try made()
        try stage.write(pins(2), to: "in.json")
        #expect(stage.run(["-c", "$DIR/x", "state", "import", "-f", "$DIR/in.json"]) == 0)
        let foreign = String(repeating: "\u{0}\u{7f}\u{fffd}z\n", count: 1000)
        let truncated = String(pins(40_000).dropLast(20)), long = "{\"name\":\"\(String(repeating: "n", count: 17 << 20))\"}\n"
        let bads = [
            pins(2000) + "{\"cid\":5}", pins(1) + "{\"cid\":", truncated, "[]", "7", foreign, pins(3000) + foreign + pins(1), pins(1) + long,
        ]
        for bad in bads {
            try stage.write(bad, to: "bad.json")
            #expect(stage.run(["-c", "$DIR/x", "state", "import", "-f", "$DIR/bad.json"]) == 1)
            #expect(stage.stderr.hasPrefix("error importing state: "), "\(stage.stderr)")
            #expect(stage.run(["-c", "$DIR/x", "state", "export"]) == 0)
            #expect(stage.stdout.split(separator: "\n").count == 2 && logs(stage) == ["crdt"])
        }
    }

    @Test func whatIsMarkedStaysMarked() throws {
        let stage = try made()
        for (mark, dirty) in [("mark-dirty", true), ("mark-dirty", true), ("mark-clean", false)] {
            #expect(stage.run(["-c", "$DIR/x", "state", "crdt", mark]) == 0)
            #expect(stage.run(["-c", "$DIR/x", "state", "crdt", "info"]) == 0)
            #expect(stage.stdout == "Number of heads: 0. Current max-height: 0. Dirty: \(dirty)\nHeads: []")
        }
    }

    @Test func aRunningPeersFolderIsLeftAlone() throws {
        let stage = try made()
        let lock = try ConfigurationFolder(path: stage.folder + "/x").lock()
        for command in [["export"], ["import", "-f"], ["cleanup", "-f"], ["crdt", "info"], ["crdt", "mark-dirty"]] {
            #expect(stage.run(["-c", "$DIR/x", "state"] + command) == 1)
            #expect(stage.stderr.hasPrefix("error obtaining execution lock: ") && stage.stdout == "")
        }
        #expect(logs(stage).isEmpty)
        withExtendedLifetime(lock) {}
    }

    private func touch(_ stage: Stage, _ file: String, at seconds: Double) throws {
        try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSince1970: seconds)], ofItemAtPath: stage.folder + "/" + file)
    }
    /// What reads the state does so, or refuses, and a daemon warns.
    private func tryToRead(_ stage: Stage, _ expected: Int32, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try stage.write("mine", to: "out.json")
        for command in [["export", "-f", "$DIR/out.json"], ["crdt", "info"], ["crdt", "dot"]] {
            #expect(stage.run(["-c", "$DIR/x", "state"] + command) == expected, "\(command)", sourceLocation: sourceLocation)
            if expected == 1 { #expect(stage.stderr.hasPrefix("error reading the state: \(stage.folder)/x/pebble holds the pinset")) }
        }
        #expect((stage.read("out.json") == "mine") == (expected == 1), sourceLocation: sourceLocation)
        #expect(stage.run(["-c", "$DIR/x", "daemon"]) == 0)
        #expect((stage.unreadPinset != nil) == (expected == 1), sourceLocation: sourceLocation)
    }

    /// Where this peer has run and has nothing yet, as a lone one that was moved here, nothing is not taken for upstream's pinset,
    /// however old that is.
    @Test func nothingIsNotTakenForAPinsetOfUpstreams() throws {
        let stage = try made()
        try stage.write("a table", to: "x/pebble/000001.sst")
        for file in ["x/pebble/000001.sst", "x/pebble"] { try touch(stage, file, at: 1_700_000_000) }
        try tryToRead(stage, 1)
        // It opens its log, which is newer then; it may be killed, or end in order; others may tell of what it cannot get.
        let dirty = ["-c", "$DIR/x", "state", "crdt", "mark-dirty"]
        for _ in 0..<2 {
            #expect(stage.run(dirty) == 0 && logs(stage) == ["crdt"])
            try tryToRead(stage, 1)
            ConfigurationFolder(path: stage.folder + "/x").noteRun(own: "crdt")
            try tryToRead(stage, 1)
        }
        try stage.write(pins(2), to: "in.json")
        #expect(stage.run(["-c", "$DIR/x", "state", "import", "-f", "$DIR/in.json"]) == 0)
        try tryToRead(stage, 0)
        #expect(stage.run(["-c", "$DIR/x", "state", "export"]) == 0 && stage.stdout.split(separator: "\n").count == 2)
        #expect(stage.run(["-c", "$DIR/x", "state", "cleanup", "-f"]) == 0)
        try tryToRead(stage, 1)
    }

    /// A folder that upstream's program has run in: its pinset is not taken for an empty one, nor an older one of this peer's for it.
    @Test func aPinsetOfUpstreamsIsNotPassedOver() throws {
        let stage = try made()
        try FileManager.default.createDirectory(atPath: stage.folder + "/x/pebble", withIntermediateDirectories: true)
        try tryToRead(stage, 0)
        try stage.write("a table", to: "x/pebble/000001.sst")
        try tryToRead(stage, 1)
        try stage.write(pins(2), to: "in.json")
        #expect(stage.run(["-c", "$DIR/x", "state", "import", "-f", "$DIR/in.json"]) == 0)
        try tryToRead(stage, 0)
        for file in ["x/crdt", "x/pebble"] + ((try? FileManager.default.contentsOfDirectory(atPath: stage.folder + "/x/crdt")) ?? []).map({ "x/crdt/" + $0 }) {
            try touch(stage, file, at: 1_700_000_000)
        }
        try touch(stage, "x/pebble/000001.sst", at: 1_700_000_001)
        try tryToRead(stage, 1)
        ConfigurationFolder(path: stage.folder + "/x").noteRun(own: "crdt")
        try tryToRead(stage, 0)
        #expect(stage.run(["-c", "$DIR/x", "state", "cleanup", "-f"]) == 0)
    }

    @Test func raftIsRefused() throws {
        let stage = try Stage()
        stage.runsStates = true
        #expect(stage.run(["-c", "$DIR/x", "init", "--consensus", "raft"]) == 0)
        #expect(stage.run(["-c", "$DIR/x", "state", "export"]) == 1)
        #expect(stage.stderr == "error creating state manager: this version knows crdt states only, and the configuration says raft\n")
    }
}

@Suite struct InitTests {
    private let secret = String(repeating: "ab", count: 32)

    @Test func defaults() throws {
        let stage = try Stage()
        #expect(stage.run(["init"]) == 0)
        let folder = stage.folder + "/home/.ipfs-cluster"
        #expect(stage.stdout == "")
        #expect(stage.stderr == """
            configuration written to \(folder)/service.json.
            new identity written to \(folder)/identity.json
            new empty peerstore written to \(folder)/peerstore.

            """)
        #expect(stage.log.map(\.message) == ["Saving configuration", "Saving identity"])
        let json = try JSONReader.parse(try #require(stage.read("home/.ipfs-cluster/service.json")).utf8)
        #expect(json["cluster"]?["secret"]?.text == String(repeating: "01", count: 32) && json["cluster"]?["peername"]?.text == "host")
        #expect(stage.read("home/.ipfs-cluster/peerstore") == "")
        #expect(!FileManager.default.fileExists(atPath: folder + "/cluster.lock"))
    }

    /// CLI-027, CLI-028, CLI-032.
    @Test func overwriting() throws {
        let stage = try Stage()
        let words = ["-c", "$DIR/x", "init"]
        #expect(stage.run(words) == 0)
        let (first, identity) = (stage.read("x/service.json"), stage.read("x/identity.json"))
        let question = "The configuration file will be overwritten. Continue? [y/n]: "
        for answers in [["n"], ["N"], [""], [], ["maybe", "perhaps", "so"]] {
            stage.input = answers
            #expect(stage.run(words) == 0)
            #expect(stage.stderr == "" && stage.read("x/service.json") == first)
            #expect(stage.stdout == (answers.count == 3
                ? String(repeating: question + "Please press either 'y' or 'n'\n", count: 3) : question))
        }
        stage.input = ["what", "y"]
        #expect(stage.run(words) == 0)
        #expect(stage.read("x/service.json") != first && stage.read("x/identity.json") == identity)
        #expect(stage.stderr.contains("configuration written") && !stage.stderr.contains("identity"))
        #expect(stage.run(words + ["--force"]) == 0)
        #expect(stage.stdout == "")
    }

    @Test func aHeldLock() throws {
        let stage = try Stage()
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        let lock = try ConfigurationFolder(path: stage.folder + "/x").lock()
        #expect(stage.run(["-c", "$DIR/x", "init", "-f"]) == 1)
        let path = stage.folder + "/x/cluster.lock"
        #expect(stage.stderr == "error obtaining execution lock: lock \(path): someone else has the lock. If no other ipfs-cluster-service "
            + "process is running, remove \(path), or make sure that the config folder is writable for the user running ipfs-cluster-service.\n")
        withExtendedLifetime(lock) {}
    }

    @Test func randomPorts() throws {
        let stage = try Stage()
        #expect(stage.run(["-c", "$DIR/x", "init", "--randomports"]) == 0)
        let json = try JSONReader.parse(try #require(stage.read("x/service.json")).utf8)
        #expect(json["cluster"]?["listen_multiaddress"] == .strings(["/ip4/0.0.0.0/tcp/20001", "/ip4/0.0.0.0/udp/20002/quic"]))
        #expect(json["api"]?["restapi"]?["http_listen_multiaddress"]?.text == "/ip4/127.0.0.1/tcp/20003")
        #expect(json["api"]?["ipfsproxy"]?["listen_multiaddress"]?.text == "/ip4/127.0.0.1/tcp/20004")
        #expect(json["api"]?["ipfsproxy"]?["node_multiaddress"]?.text == "/ip4/127.0.0.1/tcp/5001")
        #expect(json["api"]?["pinsvcapi"]?["http_listen_multiaddress"]?.text == "/ip4/127.0.0.1/tcp/20005")
    }

    /// CFG-213: these two are the identity's, and do not get into service.json.
    @Test func identityFromTheEnvironment() throws {
        let identity = try Identity(document: Golden.bytes("config/identity-peer0.json"))
        let stage = try Stage(environment: ["CLUSTER_ID": identity.id.description, "CLUSTER_PRIVATEKEY": identity.key.base64])
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        #expect(stage.read("x/identity.json") == identity.encoded())
        #expect(try !#require(stage.read("x/service.json")).contains(identity.key.base64))
        stage.environment["CLUSTER_ID"] = "12D3KooWSek8FhN3tyhmcKKdPSYAfxQQxAniZregJexSsFmwjELj"
        #expect(stage.run(["-c", "$DIR/y", "init"]) == 1)
        #expect(stage.stderr.hasSuffix(
            "error applying environment variables to the identity: identity ID does not match the private_key\n"))
    }

    @Test func embeddedIPFS() throws {
        let stage = try Stage()
        #expect(stage.run(["-c", "$DIR/x", "init", "--embedded-ipfs"]) == 0)
        let json = try JSONReader.parse(try #require(stage.read("x/service.json")).utf8)
        #expect(json["ipfs_connector"]?["embedded"]?["repo_folder"]?.text == "ipfs" && json["ipfs_connector"]?["ipfshttp"] == nil)
    }

    /// CLI-023: the asked secret wins over the environment, and is not asked for with a URL.
    @Test func secrets() throws {
        let stage = try Stage(environment: ["CLUSTER_SECRET": String(repeating: "cd", count: 32)])
        stage.input = [secret]
        #expect(stage.run(["-c", "$DIR/x", "init", "-s"]) == 0)
        #expect(try #require(stage.read("x/service.json")).contains(secret))
        #expect(stage.run(["-c", "$DIR/y", "init", "-s", "http://a"]) == 0)
        #expect(stage.stdout == "")
    }
}

@Suite struct OptionTests {
    @Test func daemonOptions() throws {
        let stage = try Stage()
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        let peer = "12D3KooWSaoayBU6rVZSPpcNCEDE984aJ3psyaYbfHQqUfpmiMdv"
        #expect(stage.run([
            "-c", "$DIR/x", "-l", "warn,crdt:debug", "daemon", "-u", "-j", "/ip4/1.1.1.1/tcp/1/p2p/\(peer), /ip4/1.1.1.1/tcp/2/p2p/\(peer)",
            "-x", "--stats", "--no-trust",
        ]) == 0)
        let options = try #require(stage.daemons.last)
        #expect(options.folder.path == stage.folder + "/x" && options.bootstrap.count == 2 && !options.trustsBootstrapPeers)
        #expect(options.leavesOnShutdown && options.enablesStats && !options.enablesTracing)
        #expect(options.logLevels.level(of: "crdt") == .debug && options.logLevels.level(of: "cluster") == .warn)
        #expect(stage.infoLoggers == ["crdt"], "nobody else is to put normal work into words")
        #expect(stage.run(["-c", "$DIR/x", "daemon"]) == 0)
        #expect(stage.log.map(\.message) == [
            #"Initializing. For verbose output run with "-l debug". Please wait..."#, "Datastore backend: pebble",
        ])
        #expect(try #require(stage.daemons.last).trustsBootstrapPeers)
        #expect(["adder", "cluster", "crdt", "dsstate", "ipfshttp", "pintracker", "shardingdags"].allSatisfy(stage.infoLoggers.contains))
    }

    @Test func aPeerAddressWithoutAPeerIsWarnedOf() throws {
        let stage = try Stage(environment: ["CLUSTER_PEERADDRESSES": "/ip4/1.1.1.1/tcp/1"])
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        #expect(stage.run(["-c", "$DIR/x", "daemon"]) == 0)
        let text = "cluster.peer_addresses: no /p2p/<peer ID> at the end of /ip4/1.1.1.1/tcp/1"
        #expect(stage.log.last == LogLine(.warning, "pstoremgr", text))
    }

    @Test func journals() throws {
        let stage = try Stage()
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        #expect(stage.run(["-c", "$DIR/x", "daemon"]) == 0)
        #expect(try #require(stage.daemons.last).journal == nil)
        #expect(stage.run(["-c", "$DIR/x", "daemon", "--journal", "j"]) == 0)
        var journal = try #require(stage.daemons.last?.journal)
        #expect(journal.path == "j" && journal.bytesMax == 256_000_000)
        #expect(stage.run(["-c", "$DIR/x", "daemon", "--journal", "j", "--journal-max-size", "2GiB"]) == 0)
        journal = try #require(stage.daemons.last?.journal)
        #expect(journal.bytesMax == 2 << 30)
        for size in ["much", "0", "10kB", "-1"] {
            #expect(stage.run(["-c", "$DIR/x", "daemon", "--journal", "j", "--journal-max-size", size]) == 1)
            #expect(stage.stderr.hasPrefix("error parsing --journal-max-size: \(size) is no size"))
        }
    }

    @Test func stateCommands() throws {
        let stage = try Stage()
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        let peer = try PeerID(text: "12D3KooWSaoayBU6rVZSPpcNCEDE984aJ3psyaYbfHQqUfpmiMdv")
        let cases: [([String], StateCommand)] = [
            (["export"], .export(file: nil)), (["export", "-f", "o"], .export(file: "o")),
            (["import", "-f", "i", "--rmin", "1"],
                .importing(file: "i", force: true, replicationMin: 0, replicationMax: 0, allocations: [])),
            (["import", "i", "--rmin", "1", "--replication-max", "2", "--allocs", "\(peer)"],
                .importing(file: "i", force: false, replicationMin: 1, replicationMax: 2, allocations: [peer])),
            (["cleanup", "--force"], .cleanup(force: true)), (["crdt", "info"], .crdtInfo), (["crdt", "dot"], .crdtDot(file: nil)),
            (["crdt", "mark-dirty"], .crdtMarkDirty), (["crdt", "mark-clean"], .crdtMarkClean),
        ]
        for (words, expected) in cases {
            #expect(stage.run(["-c", "$DIR/x", "state"] + words) == 0)
            if words[0] != "import" || words[1] == "i" { #expect(stage.states.last == expected, "\(words)") }
        }
        // CLI-080
        #expect(stage.run(["-c", "$DIR/none", "state", "crdt", "--help"]) == 0)
        #expect(stage.run(["-c", "$DIR/none", "state", "crdt", "info", "--help"]) == 1)
        #expect(stage.stderr == "error loading configurations: open \(stage.folder)/none/service.json: no such file or directory\n")
    }

    /// What `init` does not choose it does not look at; a peer that runs looks at everything.
    @Test func variablesOfWhatWasNotChosen() throws {
        let stage = try Stage(environment: ["CLUSTER_PEBBLE_CACHESIZE": "x", "CLUSTER_RAFT_COMMITRETRIES": "x", "CLUSTER_BADGER_GCINTERVAL": "x"])
        #expect(stage.run(["-c", "$DIR/x", "init", "--datastore", "leveldb"]) == 0, "\(stage.stderr)")
        #expect(stage.run(["-c", "$DIR/y", "init", "--datastore", "badger"]) == 1)
        #expect(stage.run(["-c", "$DIR/z", "init", "--consensus", "raft"]) == 1)
        #expect(stage.run(["-c", "$DIR/x", "daemon"]) == 1)
        #expect(stage.stderr.hasPrefix("error loading configurations: envconfig.Process: assigning CLUSTER_RAFT_COMMITRETRIES"))
    }

    @Test func whatIsNoNumberIsNotWritten() throws {
        for (text, shown) in [("NaN", "NaN"), ("inf", "+Inf"), ("-Inf", "-Inf")] {
            let stage = try Stage(environment: ["CLUSTER_TRACING_SAMPLINGPROB": text])
            #expect(stage.run(["-c", "$DIR/x", "init"]) == 1)
            #expect(stage.stderr == "error saving default configuration: json: unsupported value: \(shown)\n")
            #expect(stage.read("x/service.json") == nil)
        }
    }

    /// CFG-014: who looks for a fault sees the whole configuration, and nobody sees its secrets.
    @Test func whatAPeerIsMadeFromIsToldAtDebug() throws {
        let stage = try Stage()
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        #expect(stage.run(["-c", "$DIR/x", "daemon"]) == 0)
        #expect(!stage.log.contains { $0.level == .debug })
        #expect(stage.run(["-d", "-c", "$DIR/x", "daemon"]) == 0)
        let lines = stage.log.filter { $0.level == .debug }
        for line in ["crdt component configuration loaded", "raft component is empty, generating default"] {
            #expect(lines.contains(LogLine(.debug, "config", line)))
        }
        let dump = try #require(lines.last?.message)
        #expect(dump.hasPrefix("Configuration:\n{\n  \"cluster\": {\n    \"id\": \"\",\n") && dump.contains("\"secret\": \"XXX_hidden_XXX\""))
    }

    /// As with every program of libp2p.
    @Test func anOpenNetworkMayBeForbidden() throws {
        let stage = try Stage(environment: ["LIBP2P_FORCE_PNET": "1"])
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        #expect(stage.run(["-c", "$DIR/x", "daemon"]) == 0)
        stage.environment["CLUSTER_SECRET"] = ""
        stage.input = [""]
        #expect(stage.run(["-c", "$DIR/y", "init", "--custom-secret"]) == 0)
        #expect(stage.run(["-c", "$DIR/y", "daemon"]) == 1)
        #expect(stage.stderr.hasPrefix("error creating libp2p host: privnet: private network was not configured but is enforced by the environment"))
        stage.environment["LIBP2P_FORCE_PNET"] = "0"
        #expect(stage.run(["-c", "$DIR/y", "daemon"]) == 0)
    }

    /// INF-07: only a peer that runs has to tell the others something.
    @Test func stateNeedsNoInformers() throws {
        let stage = try Stage()
        stage.runsStates = true
        #expect(stage.run(["-c", "$DIR/x", "init"]) == 0)
        let written = try #require(stage.read("x/service.json"))
        guard case .object(var sections) = try JSONReader.parse(written.utf8) else { return }
        sections.removeAll { $0.name == "informer" }
        try stage.write(JSON.object(sections).encoded(), to: "x/service.json")
        for words in [["export"], ["import", "-f", "/dev/null"], ["cleanup", "-f"]] {
            #expect(stage.run(["-c", "$DIR/x", "state"] + words) == 0, "\(words): \(stage.stderr)")
        }
        #expect(stage.run(["-c", "$DIR/x", "daemon"]) == 1)
        #expect(stage.stderr == "error starting cluster: no informers are passed\n")
    }

    @Test func logLevels() throws {
        let levels = try #require(LogLevels.parse("")).levels
        #expect(levels.level(of: "cluster") == .info && levels.level(of: "pebble") == .warn && levels.level(of: "observations") == .error)
        for ours in ["p2p", "pubsub", "bitswap", "embedded"] { #expect(levels.level(of: ours) == .info) }
        let (named, overwritten) = try #require(LogLevels.parse("debug,crdt:error,crdt:warning,observations:info,error"))
        #expect(overwritten == ["crdt", "all"])
        #expect(named.level(of: "crdt") == .warn && named.level(of: "raft") == .error && named.level(of: "observations") == .info)
        #expect(named.level(of: "service") == .error && LogLevels.debug.level(of: "anything") == .debug)
        #expect(LogLevels.parse("a:b:c") == nil && LogLevels.Level(name: "critical") == nil)
    }
}

@Suite struct HelpTests {
    @Test(arguments: [
        ["--help"], ["init", "-h"], ["daemon", "-h"], ["state"], ["state", "export", "-h"], ["state", "import", "-h"],
        ["state", "cleanup", "-h"], ["version", "-h"],
    ])
    func fitsThePage(_ words: [String]) throws {
        let stage = try Stage()
        _ = stage.run(words)
        for line in stage.stdout.replacing(stage.folder, with: "").split(separator: "\n") { #expect(line.count <= 120, "\(line)") }
        for part in ["NAME:\n   ipfs-cluster-service", "USAGE:\n   ipfs-cluster-service"] { #expect(stage.stdout.contains(part)) }
        #expect(!stage.stdout.contains("--leave"))
    }
}

@Suite struct RealWorldTests {
    @Test func logLines() {
        let time = WallTime(seconds: 1_795_480_756, nanoseconds: 7_900_000)
        let line = LogLine(.error, "crdt", "a \"x\"\nb")
        let stamp = "2026-11-24T00:39:16.007Z"
        let coloured = "\(stamp)\t\u{1b}[31mERROR\u{1b}[0m\tcrdt\t\(line.message)", plain = "\(stamp)\tERROR\tcrdt\t\(line.message)"
        let json = #"{"level":"error","ts":"\#(stamp)","logger":"crdt","msg":"a \"x\"\nb""#
        let cases: [([String: String], String)] = [
            ([:], plain), (["GOLOG_LOG_FMT": "nocolor"], plain), (["GOLOG_LOG_FMT": "color"], coloured), (["GOLOG_LOG_FMT": "foo"], plain),
            (["GOLOG_LOG_FMT": "json"], json + "}"), (["IPFS_LOGGING_FMT": "json"], json + "}"),
            (["GOLOG_LOG_FMT": "nocolor", "IPFS_LOGGING_FMT": "json"], plain),
            (["GOLOG_LOG_LABELS": "a=b,c=d"], plain + "\t{\"a\": \"b\", \"c\": \"d\"}"),
            (["GOLOG_LOG_LABELS": "a=b,x", "GOLOG_LOG_FMT": "json"], json + #","a":"b"}"#),
        ]
        for (environment, text) in cases { #expect(LogSetup(environment: environment).formatted(line, at: time) == text, "\(environment)") }
        let onTerminal = LogSetup(environment: ["GOLOG_OUTPUT": "stdout"]) { $0 == .out }
        #expect(onTerminal.formatted(line, at: time) == coloured)
        #expect(LogSetup(environment: ["GOLOG_OUTPUT": "stdout"]) { $0 == .error }.formatted(line, at: time) == plain)
    }

    @Test func logOutputs() {
        let cases: [([String: String], [LogSetup.Target], String)] = [
            ([:], [.error], ""), (["GOLOG_FILE": "f"], [.file("f")], ""), (["GOLOG_OUTPUT": "stdout"], [.out], ""),
            (["GOLOG_OUTPUT": "stderr+stdout"], [.error, .out], ""), (["GOLOG_OUTPUT": "nowhere"], [.error], ""),
            (["GOLOG_OUTPUT": "stdout", "GOLOG_FILE": "f"], [.out, .file("f")], ""),
            (["GOLOG_OUTPUT": "stderr+file", "GOLOG_FILE": "f"], [.error, .file("f")], ""),
            (["GOLOG_OUTPUT": "file", "GOLOG_FILE": "f"], [.file("f")], ""),
            (["GOLOG_OUTPUT": "file"], [.error], "please specify a GOLOG_FILE value to write to\n"),
            (["GOLOG_LOG_FMT": "foo"], [.error], "ignoring unrecognized log format 'foo'\n"),
            (["GOLOG_LOG_LABELS": "x"], [.error], "invalid label k=v: x\n"),
        ]
        for (environment, targets, complaints) in cases {
            let setup = LogSetup(environment: environment)
            #expect(setup.targets == targets && setup.complaints == complaints, "\(environment)")
        }
    }

    /// The environment sets those levels that the command line does not.
    @Test func logLevelsOfTheEnvironment() throws {
        let setup = LogSetup(environment: ["GOLOG_LOG_LEVEL": "debug,dht=warn,crdt=debug,mdns=y,x"])
        #expect(setup.complaints == """
            error setting log level "mdns=y": unrecognized level: "y"
            error setting log level "x": unrecognized level: "x"

            """)
        let levels = try #require(LogLevels.parse("error", base: setup.levels)).levels
        #expect(levels.level(of: "autonat") == .debug && levels.level(of: "dht") == .warn && levels.level(of: "crdt") == .error)
        let stage = try Stage(environment: ["GOLOG_LOG_LEVEL": "dht=debug"])
        _ = stage.run(["daemon"])
        #expect(stage.daemons.last?.logLevels.level(of: "dht") == .debug)
    }

    @Test func logsGoIntoAFile() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("log-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        for number in 1...2 {
            let world = ServiceWorld.real(version: "0", environment: ["GOLOG_FILE": path, "GOLOG_LOG_FMT": "json"], fetch: { _ in nil })
            world.log(LogLine(.info, "cluster", "\(number)"), .debug)
        }
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        #expect(lines.count == 2 && lines[1].hasSuffix(#","logger":"cluster","msg":"2"}"#))
    }

    @Test func portsAreFree() throws {
        for isUDP in [false, true] {
            for ip in [[127, 0, 0, 1], Bytes(repeating: 0, count: 15) + [1]] as [Bytes] {
                // A machine without IPv6 has no loopback of it.
                guard let port = try? findFreePort(ip, isUDP) else { #expect(ip.count == 16); continue }
                #expect(port >= 1024)
            }
        }
        // 192.0.2.1 is nobody's.
        #expect(throws: ConfigurationError.self) { try findFreePort([192, 0, 2, 1], false) }
    }

    @Test func theProcessAsAWorld() throws {
        let world = ServiceWorld.real(version: "1", fetch: { _ in nil })
        #expect(world.randomBytes(32).count == 32 && world.randomBytes(32) != world.randomBytes(32))
        #expect(!world.hostName.isEmpty && !world.homeFolder.isEmpty)
    }
}
