// The table of commands: names, flags, help, and the plan that each comes to. CLI-084..092, CLI-108..154.

import CommandLine
import Kernel

/// A command with its plan, or a group of them.
enum ControlCommand {
    case leaf(Command, (PlanInput) throws(ControlFailure) -> ControlPlan)
    case group(Command, [ControlCommand])

    /// A command whose request is always the same.
    static func ask(_ command: Command, _ method: String, _ target: String, _ answer: ControlRequest.Answer) -> ControlCommand {
        .leaf(command) { _ in .show(ControlRequest(method, target, answer)) }
    }

    var name: String {
        switch self {
        case .leaf(let command, _), .group(let command, _): command.name
        }
    }

    /// With its subcommands.
    var command: Command {
        switch self {
        case .leaf(let command, _): return command
        case .group(var command, let members):
            command.subcommands = members.map(\.command)
            return command
        }
    }

    /// What the command of that path plans.
    static func plan(_ input: PlanInput) throws(ControlFailure) -> ControlPlan {
        var members = all
        for name in input.invocation.path {
            switch members.first(where: { $0.name == name }) {
            case .group(_, let inner)?: members = inner
            case .leaf(_, let plan)?: return try plan(input)
            case nil: break
            }
        }
        unreachable("no command \(input.invocation.path)")
    }

    /// CLI-124: depth first; the groups' own `help` is not there before they run.
    static var fullNames: [String] {
        func names(_ members: [ControlCommand], below parent: String) -> [String] {
            members.flatMap { member in
                let name = "\(parent) \(member.name)"
                guard case .group(_, let inner) = member else { return [name] }
                return [name] + names(inner, below: name)
            }
        }
        return names(all, below: ControlProgram.name) + ["\(ControlProgram.name) help"]
    }
}

// MARK: Flags that several commands have

private let localFlag = Flag("local", kind: .bool(false), usage: "ask only the contacted peer to do it")
private let pinsetFlag = Flag("pinset", kind: .bool(false), usage: "show size and digest of the pinset as well")
private let nameFlag = Flag("name", "n", kind: .string(""), usage: "a name for the pin")
private let expireFlag = Flag("expire-in", kind: .string(""), usage: "unpin by itself after this time, such as 72h30m")
private let metadataFlag = Flag("metadata", kind: .strings, usage: "key=value to keep with the pin; may be repeated")
private let allocationsFlag = Flag(
    "allocations", "allocs", kind: .string(""), usage: "peer IDs to prefer, separated by commas")
private let replicationMinFlag = Flag(
    "replication-min", "rmin", kind: .int(0), usage: "fewest peers that must pin it; 0: as configured, -1: all")
private let replicationMaxFlag = Flag(
    "replication-max", "rmax", kind: .int(0), usage: "most peers that shall pin it; 0: as configured, -1: all")
private let waitUsage = "do not return before the content is where it should be"
private let waitTimeoutFlag = Flag(
    "wait-timeout", "wt", kind: .duration(.zero), usage: "how long to --wait at most, if above one second")
private let followUpFlags = [
    Flag("no-status", "ns", kind: .bool(false), usage: "print the pin at once, not its status a second later"),
    Flag("wait", "w", kind: .bool(false), usage: waitUsage),
    Flag("wait-limit", "wl", kind: .int(0), usage: "how many peers to --wait for; 0: as many as the pin needs"),
    waitTimeoutFlag,
]
private let addFlags = [
    Flag("recursive", "r", kind: .bool(false), usage: "take directories with everything in them"),
    Flag("quiet", "q", kind: .bool(false), usage: "print CIDs only, one per line"),
    Flag("quieter", "Q", kind: .bool(false), usage: "print the last CID only"),
    Flag("no-stream", kind: .bool(false), usage: "print when all is done; with --enc json as one array"),
    Flag("local", kind: .bool(false), usage: "store the blocks at the contacted peer, and pin as usual"),
    nameFlag, replicationMinFlag, replicationMaxFlag, expireFlag, metadataFlag, allocationsFlag,
    Flag("no-pin", kind: .bool(false), usage: "store the blocks without pinning them"),
    Flag("wait", kind: .bool(false), usage: waitUsage),
    waitTimeoutFlag,
    Flag("wrap-with-directory", "w", kind: .bool(false), usage: "put everything below one directory"),
    Flag("format", kind: .string("unixfs"), usage: "unixfs: import files; car: take the blocks of a CAR file"),
    Flag("layout", kind: .string(""), usage: "shape of the DAG: balanced (default) or trickle"),
    Flag("hidden", "H", kind: .bool(false), usage: "with --recursive, also names that start with a dot"),
    Flag("chunker", "s", kind: .string("size-262144"), usage: "size-<bytes>, rabin-<min>-<avg>-<max> or buzhash"),
    Flag("raw-leaves", kind: .bool(false), usage: "leaves are raw blocks"),
    Flag("cid-version", kind: .int(0), usage: "version of the CIDs; above 0 leaves are raw blocks"),
    Flag("hash", kind: .string("sha2-256"), usage: "hash function; others bring --cid-version 1"),
    Flag("nocopy", kind: .bool(false), usage: "refer to a URL instead of storing its blocks (filestore)"),
]

// MARK: The program

extension ControlProgram {
    package static let program = Program(
        name, usage: "manages an IPFS Cluster through its REST API", version: version,
        description: """
            Asks a cluster peer to add, pin and unpin content, and shows what it answers.

            The peer is expected at /ip4/127.0.0.1/tcp/9094; --host names others. Of several,
            separated by commas, the first that can be reached is asked. A DNS name stands for
            all its addresses. An address with /p2p/<peer ID>, or a /dnsaddr, is reached by
            libp2p, with the network's key given by --secret.

            Exit status: 0 done, 1 not asked or not reached, 2 refused by the cluster,
            62 --wait-timeout is over.
            """,
        flags: [
            Flag(
                "host", "l", kind: .string("/ip4/127.0.0.1/tcp/9094"),
                usage: "multiaddresses of the API, separated by commas"),
            Flag("secret", kind: .string(""), usage: "key of the private network in hexadecimal; for libp2p only"),
            Flag("https", "s", kind: .bool(false), usage: "speak TLS"),
            Flag("no-check-certificate", kind: .bool(false), usage: "with --https, take any certificate"),
            Flag("encoding", "enc", kind: .string("text"), usage: "how to print: text or json"),
            Flag("timeout", "t", kind: .int(0), usage: "seconds that a request may take; 0: any"),
            Flag("debug", "d", kind: .bool(false), usage: "log what is asked"),
            Flag(
                "basic-auth", kind: .string(""),
                usage: "`USER[:PASSWORD]` to authenticate with; brings --https", environment: ["CLUSTER_CREDENTIALS"]),
            Flag("force-http", "f", kind: .bool(false), usage: "with --basic-auth, speak no TLS all the same"),
        ],
        commands: ControlCommand.all.map(\.command), usageErrorExit: 1)
}

extension ControlCommand {
    static var all: [ControlCommand] {
        [
            .leaf(Command("id", usage: "Show the contacted peer", description: """
                Prints the peer's ID, its name and addresses, and the same of its IPFS daemon.
                """, flags: [pinsetFlag])
            ) { (input) in .show(ControlRequest("GET", "/id" + input.pinset, .one(.peer))) },
            .group(Command("peers", usage: "List and remove the peers of the cluster"), peers),
            .leaf(Command("add", usage: "Add files and directories to IPFS and pin them", description: """
                Imports local files, directories and web pages (http:// and https:// URLs) through
                the cluster, and pins the result. Several paths are put into one directory.

                The blocks go to the peers that will pin the content, so that it is replicated
                when the command ends. With --local they go to the contacted peer only, which is
                faster, and the others fetch them from there.

                CAR files (--format car) must have one root; options of importing do not apply.
                """, argsUsage: "<path> [path...]", flags: addFlags)) { (input) throws(ControlFailure) in try input.add() },
            .group(Command("pin", usage: "Pin, unpin and list content"), pins),
            .leaf(Command("status", usage: "Show how far the peers are with pins", description: statusHelp,
                argsUsage: "[CID...]",
                flags: [localFlag, Flag("filter", kind: .string(""), usage: "statuses to list, separated by commas")]
            )) { (input) throws(ControlFailure) in try input.status() },
            .leaf(Command("recover", usage: "Try again what failed", description: """
                Peers pin or unpin anew what failed before. Without a CID, everything that failed;
                this can take long.
                """, argsUsage: "[CID]", flags: [localFlag])) { (input) throws(ControlFailure) in try input.recoverPins() },
            .ask(Command("version", usage: "Show the version of the contacted peer", argsUsage: " "),
                "GET", "/version", .one(.version)),
            .group(Command("health", usage: "Show how the cluster is"), health),
            .group(Command("state", usage: "Compare what the peers hold"), [
                .leaf(Command("digest", usage: "Show whether all peers hold the same pinset", description: """
                    Asks every peer for the digest of its pinset: equal digests, equal pinsets. What
                    was accepted a moment ago may still be on its way to some.

                    Exit status: 0 if all peers agree, 1 if they differ or one does not say.
                    """, argsUsage: " ")
                ) { _ in .compare(ControlRequest("GET", "/peers?pinset=true", .stream(.peer))) },
            ]),
            .group(Command("ipfs", usage: "Manage the IPFS daemons"), [
                .leaf(Command("gc", usage: "Collect garbage in the repositories of the IPFS daemons", description: """
                    Asks every peer to have its IPFS daemon remove what is not pinned, and prints
                    the CIDs of what was removed.
                    """, flags: [localFlag])
                ) { (input) in .show(ControlRequest("POST", "/ipfs/gc?\(input.local)", .one(.garbage))) },
            ]),
            .leaf(Command("commands", usage: "List all commands", argsUsage: " ", isHidden: true)) { _ in .listCommands },
        ]
    }

    private static let statusHelp = """
        Prints what each peer says of the given CIDs, or of everything that is pinned. With
        --local only the contacted peer is asked.

        --filter takes effect without CIDs and lists pins of which some peer has one of these
        statuses: cluster_error, error, pin_error, pin_queued, pinned, pinning, queued, remote,
        sharded, unexpectedly_unpinned, unpin_error, unpin_queued, unpinned, unpinning.
        """

    private static var peers: [ControlCommand] {
        [
            .leaf(Command("ls", usage: "List the peers", description: "Asks every peer who it is.", argsUsage: " ",
                flags: [pinsetFlag])
            ) { (input) in .show(ControlRequest("GET", "/peers" + input.pinset, .stream(.peer))) },
            .leaf(Command("rm", usage: "Remove a peer", description: """
                The peer is taken out of the cluster and, if it runs, shuts down. All others should
                be online, or they may keep an outdated list of peers. Needs raft.
                """, argsUsage: "<peer ID>")) { (input) throws(ControlFailure) in try input.removePeer() },
        ]
    }

    private static var pins: [ControlCommand] {
        [
            .leaf(Command("add", usage: "Pin content that is in IPFS", description: """
                The CID, or what the path leads to, becomes part of the pinset, and the peers that
                it is allocated to pin it. Peers given with --allocations are preferred.
                """, argsUsage: "<CID|path>", flags: [
                Flag("replication", "r", kind: .int(0), usage: "sets --replication-min and --replication-max"),
                replicationMinFlag, replicationMaxFlag, allocationsFlag, nameFlag,
                Flag("mode", kind: .string("recursive"), usage: "recursive, or direct: the root block only"),
                expireFlag, metadataFlag,
            ] + followUpFlags)) { (input) throws(ControlFailure) in try input.addPin() },
            .leaf(Command("rm", usage: "Unpin content", description: """
                The pin leaves the pinset at once; the peers unpin it after that.
                """, argsUsage: "<CID|path>", flags: followUpFlags)
            ) { (input) throws(ControlFailure) in try input.removePin() },
            .leaf(Command("update", usage: "Pin content as other content is pinned", description: """
                The new pin takes all options and allocations of the existing one, which stays
                until it is removed. IPFS daemons fetch only what differs between the two.
                """, argsUsage: "<existing CID> <new CID|path>", flags: [nameFlag, expireFlag] + followUpFlags)
            ) { (input) throws(ControlFailure) in try input.updatePin() },
            .leaf(Command("ls", usage: "List the pinset", description: """
                Prints what shall be pinned, where and how. Whether it is says "status".

                --filter takes effect without a CID: all, pin, meta-pin (sharded content),
                clusterdag-pin (the DAG of shards) and shard-pin, separated by commas.
                """, argsUsage: "[CID]", flags: [Flag("filter", kind: .string("all"), usage: "types of pins to list")])
            ) { (input) throws(ControlFailure) in try input.listPins() },
        ]
    }

    private static var health: [ControlCommand] {
        [
            .leaf(Command("graph", usage: "Draw who is connected to whom", description: """
                Writes a graph of the peers and their IPFS daemons in the DOT language of Graphviz.
                """, flags: [
                    Flag("file", "f", kind: .string(""), usage: "write to this file"),
                    Flag("all-ipfs-peers", kind: .bool(false), usage: "also IPFS daemons without a cluster peer"),
                ])) { (input) in input.graph() },
            .leaf(Command("metrics", usage: "List what peers measured last", description: """
                Prints the latest metric of that name from each peer, or the names that there are.
                """, argsUsage: "[metric]")) { (input) in input.metrics() },
            .ask(Command("alerts", usage: "List metrics that ran out", description: """
                An alert is raised when a peer's metric expires and no newer one has come. That of
                a ping can lead to pins being allocated anew.
                """), "GET", "/health/alerts", .list(.alert)),
            .ask(Command("bandwidth", usage: "Show traffic by protocol"), "GET", "/health/bandwidth", .one(.bandwidth)),
        ]
    }
}
