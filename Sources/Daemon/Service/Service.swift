// ipfs-cluster-service: its one entry point. `main` hands in the world and what runs a peer.

import CommandLine
import Configuration
import Encoding
import Kernel
import Multiformats
import Seams

/// All that the commands need of the process they run in.
package struct ServiceWorld {
    package var environment: [String: String]
    package var version: String
    package var homeFolder: String
    package var hostName: String
    package var readLine: () -> String?
    package var printOut: (String) -> Void
    package var printError: (String) -> Void
    package var log: (LogLine, LogLevels) -> Void
    package var randomBytes: (Int) -> Bytes
    /// A port of that IP that nobody uses, or nil and why.
    package var freePort: (_ ip: Bytes, _ isUDP: Bool) throws -> UInt16
    /// HTTP GET, redirects followed. Nil when nothing answers.
    package var fetch: (_ url: String) throws -> FetchedSource?
    /// What a dnsaddr stands for.
    package var named: (Multiaddr) throws -> [Multiaddr]

    package init(
        environment: [String: String], version: String, homeFolder: String, hostName: String,
        readLine: @escaping () -> String?, printOut: @escaping (String) -> Void, printError: @escaping (String) -> Void,
        log: @escaping (LogLine, LogLevels) -> Void, randomBytes: @escaping (Int) -> Bytes,
        freePort: @escaping (_ ip: Bytes, _ isUDP: Bool) throws -> UInt16,
        fetch: @escaping (_ url: String) throws -> FetchedSource?, named: @escaping (Multiaddr) throws -> [Multiaddr] = { [$0] }
    ) {
        self.environment = environment
        self.version = version
        self.homeFolder = homeFolder
        self.hostName = hostName
        self.readLine = readLine
        self.printOut = printOut
        self.printError = printError
        self.log = log
        self.randomBytes = randomBytes
        self.freePort = freePort
        self.fetch = fetch
        self.named = named
    }
}

/// A command that failed: printed as `error <doing>: <reason>`, exit code 1 (CLI-011).
package struct CommandFailure: Error {
    package let doing: String
    package let reason: String
    package init(_ doing: String, _ reason: some CustomStringConvertible) {
        self.doing = doing
        self.reason = reason.description
    }
}

/// Turns any failure of `body` into a `CommandFailure`.
package func doing<T>(_ doing: String, _ body: () throws -> T) throws(CommandFailure) -> T {
    do { return try body() } catch { throw CommandFailure(doing, "\(error)") }
}

package struct Service {
    let world: ServiceWorld
    /// Runs the peer until it is told to stop, and returns the exit code.
    let runDaemon: (DaemonOptions) throws -> Int32
    let runState: (StateOptions) throws -> Int32

    package init(
        world: ServiceWorld, runDaemon: @escaping (DaemonOptions) throws -> Int32,
        runState: @escaping (StateOptions) throws -> Int32
    ) {
        self.world = world
        self.runDaemon = runDaemon
        self.runState = runState
    }

    /// Runs the command line without the program's name. Returns the exit code.
    package func run(_ words: [String]) -> Int32 {
        let program = serviceProgram(version: world.version, defaultFolder: world.homeFolder + "/.ipfs-cluster")
        switch program.interpret(words, environment: world.environment, before: { before($0) }) {
        case .end(let ending): return finish(ending)
        case .run(let invocation):
            do { return try run(invocation) } catch let failure as CommandFailure {
                return finish(.error(failure.doing, failure.reason))
            } catch { return finish(.error("", "\(error)")) }
        }
    }

    private func finish(_ ending: Ending) -> Int32 {
        if !ending.stdout.isEmpty { world.printOut(ending.stdout) }
        if !ending.stderr.isEmpty { world.printError(ending.stderr) }
        return ending.exit
    }

    private func before(_ stage: Stage) -> Ending? {
        if stage.path.isEmpty {
            guard !stage.flags.bool("debug") else { return nil }
            // CLI-017: silent, as upstream.
            guard let parsed = LogLevels.parse(stage.flags.string("loglevel")) else { return Ending(exit: 0) }
            for component in parsed.overwritten { world.printOut("overwriting existing \(component) log level\n") }
        }
        if stage.path == ["state", "crdt"] { return crdtPrecheck(folder(stage.levels[0])) }
        return nil
    }

    /// CLI-080.
    private func crdtPrecheck(_ folder: ConfigurationFolder) -> Ending? {
        do {
            let loaded = try folder.load(environment: world.environment, hostName: world.hostName, fetch: world.fetch)
            if !loaded.notice.isEmpty { world.printError(loaded.notice) }
            guard try loaded.configuration.consensus() == .crdt else {
                return .error("", "crdt subcommands can only be run on peers initialized with crdt consensus")
            }
            return nil
        } catch { return .error("loading configurations", "\(error)") }
    }

    private func folder(_ flags: FlagValues) -> ConfigurationFolder { ConfigurationFolder(path: flags.string("config")) }

    private func logLevels(_ flags: FlagValues) -> LogLevels {
        if flags.bool("debug") { return .debug }
        let base = LogSetup(environment: world.environment).levels
        return LogLevels.parse(flags.string("loglevel"), base: base)?.levels ?? base
    }

    private func run(_ invocation: Invocation) throws -> Int32 {
        let folder = folder(invocation.global)
        let levels = logLevels(invocation.global)
        switch invocation.path[0] {
        case "init":
            return try InitCommand(world: world, folder: folder, levels: levels).run(invocation)
        case "daemon": return try runDaemon(daemonOptions(invocation.flags, folder, levels))
        case "state":
            guard let command = StateCommand(invocation) else { unreachable("every state command is known") }
            return try runState(
                StateOptions(folder: folder, environment: world.environment, logLevels: levels, command: command))
        case "version":
            world.printOut(world.version + "\n")
            return 0
        default: unreachable("every command is known")
        }
    }

    private func daemonOptions(
        _ flags: FlagValues, _ folder: ConfigurationFolder, _ levels: LogLevels
    ) throws(CommandFailure) -> DaemonOptions {
        world.log(LogLine(.info, "service", #"Initializing. For verbose output run with "-l debug". Please wait..."#), levels)
        let given = flags.string("bootstrap")
        let words = given.isEmpty ? [] : given.split(separator: ",", omittingEmptySubsequences: false)
        var bootstrap: [Multiaddr] = []
        for word in words {
            bootstrap.append(try address(String(word), doing: "error parsing bootstrap multiaddress (\(word))"))
        }
        return DaemonOptions(
            folder: folder, environment: world.environment, logLevels: levels, bootstrap: bootstrap,
            trustsBootstrapPeers: !flags.bool("no-trust"), leavesOnShutdown: flags.bool("leave"),
            enablesStats: flags.bool("stats"), enablesTracing: flags.bool("tracing"), journal: try journal(flags))
    }

    private func journal(_ flags: FlagValues) throws(CommandFailure) -> (path: String, bytesMax: Int)? {
        let (path, size) = (flags.string("journal"), flags.string("journal-max-size"))
        guard !path.isEmpty else { return nil }
        guard let bytes = byteCount(size), bytes >= 1 << 20 else {
            throw CommandFailure("parsing --journal-max-size", "\(size) is no size of 1MB or more, such as 256MB or 2GiB")
        }
        return (path, Int(clamping: bytes))
    }
}

/// An address with spaces around it.
func address(_ word: String, doing: String) throws(CommandFailure) -> Multiaddr {
    let text = trimmed(word)
    do throws(MultiformatError) { return try Multiaddr(text: text) } catch {
        throw CommandFailure(doing, multiaddrFailure(text, error))
    }
}

func trimmed(_ text: String) -> String {
    var rest = text[...]
    while rest.first?.isWhitespace == true { rest.removeFirst() }
    while rest.last?.isWhitespace == true { rest.removeLast() }
    return String(rest)
}
