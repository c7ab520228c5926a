// The commands and flags of ipfs-cluster-service. spec/cli.md 2 to 5.

import CommandLine
import Configuration
import Kernel

func serviceProgram(version: String, defaultFolder: String) -> Program {
    Program(
        "ipfs-cluster-service", usage: "IPFS Cluster peer", version: version,
        description: """
            Runs one peer of an IPFS Cluster: it agrees with the other peers on a pinset, and sees to it that
            its IPFS node pins what is allocated to it.

            The peer keeps its configuration, identity and data in one folder. First make it:

              ipfs-cluster-service init

            then run the peer, alone or as a member of a cluster that is there:

              ipfs-cluster-service daemon
              ipfs-cluster-service daemon --bootstrap /ip4/192.0.2.1/tcp/9096/p2p/<peer ID>
            """,
        flags: [
            Flag(
                "config", "c", kind: .string(defaultFolder), usage: "`FOLDER` of configuration and data",
                environment: ["IPFS_CLUSTER_PATH"]),
            Flag("force", "f", kind: .bool(false), usage: "accepted, without effect: see the commands' own --force"),
            Flag("debug", "d", kind: .bool(false), usage: "log everything"),
            Flag(
                "loglevel", "l", kind: .string(""), usage: "log levels: `LEVEL` or component:level, comma-separated",
                environment: ["IPFS_CLUSTER_LOG_LEVEL"]),
        ],
        commands: [initCommand, daemonCommand, stateCommand, Command("version", usage: "Print the version")],
        usageErrorExit: 0, noCommandExit: 1)
}

private let initCommand = Command(
    "init", usage: "Make a configuration and an identity",
    description: """
        Writes service.json with defaults, as the CLUSTER_* environment variables change them, a new secret and,
        where there is none yet, a new identity. Remove identity.json first to get another identity.

        With a URL the configuration is fetched from there whenever the peer starts.

        --peers fills the peerstore, and names the peers to trust (crdt) or to start with (raft).
        """,
    argsUsage: "[source-url]",
    flags: [
        Flag("consensus", kind: .string("crdt"), usage: "how peers agree: 'crdt' or 'raft'"),
        Flag("datastore", kind: .string("pebble"), usage: "'pebble', 'leveldb', 'badger' or 'badger3'; only with crdt"),
        Flag("embedded-ipfs", kind: .bool(false), usage: "use an IPFS node inside the peer instead of a Kubo daemon"),
        Flag("custom-secret", "s", kind: .bool(false), usage: "ask for the cluster secret; not with a source URL"),
        Flag("peers", kind: .string(""), usage: "comma-separated `ADDRESSES` of other peers, each with /p2p/<peer ID>"),
        Flag("force", "f", kind: .bool(false), usage: "overwrite without asking"),
        Flag("randomports", kind: .bool(false), usage: "listen on free random ports"),
    ])

private let daemonCommand = Command(
    "daemon", usage: "Run the peer",
    flags: [
        Flag("upgrade", "u", kind: .bool(false), usage: "without effect"),
        Flag("bootstrap", "j", kind: .string(""), usage: "comma-separated `ADDRESSES` of peers of the cluster to join"),
        Flag("leave", "x", kind: .bool(false), usage: "leave the cluster at the end of this run", isHidden: true),
        Flag("stats", kind: .bool(false), usage: "collect metrics, whatever the configuration says"),
        Flag("tracing", kind: .bool(false), usage: "collect traces, whatever the configuration says"),
        Flag("no-trust", kind: .bool(false), usage: "do not trust the peers given with --bootstrap; only with crdt"),
        Flag(
            "journal", kind: .string(""), usage: "record all that the peer hears in `FILE`",
            environment: ["IPFS_CLUSTER_JOURNAL"]),
        Flag(
            "journal-max-size", kind: .string("256MB"), usage: "what journals may take: `SIZE`",
            environment: ["IPFS_CLUSTER_JOURNAL_MAX_SIZE"]),
    ])

private let stateCommand = Command(
    "state", usage: "Look after the pinset of a peer that is not running",
    subcommands: [
        Command(
            "crdt", usage: "Look after the CRDT store",
            subcommands: [
                Command("info", usage: "Print the heads and whether the store is clean"),
                Command("dot", usage: "Print the DAG in DOT form", flags: [file("write to this `FILE`")]),
                Command("mark-dirty", usage: "Have the store repaired at the next start"),
                Command("mark-clean", usage: "Do not have the store repaired"),
            ]),
        Command("export", usage: "Write the pinset as JSON, one pin a line", flags: [file("write to this `FILE`")]),
        Command(
            "import", usage: "Replace the pinset by that of a file from export, or of standard input", argsUsage: "[file]",
            flags: [
                force,
                Flag("replication-min", "rmin", kind: .int(0), usage: "replication-min of all imported pins"),
                Flag("replication-max", "rmax", kind: .int(0), usage: "replication-max of all imported pins"),
                Flag(
                    "allocations", "allocs", kind: .string(""),
                    usage: "comma-separated `PEERS` that all imported pins are allocated to"),
            ]),
        Command("cleanup", usage: "Remove the pinset and all consensus data", flags: [force]),
    ])

private func file(_ usage: String) -> Flag { Flag("file", "f", kind: .string(""), usage: usage) }
private let force = Flag("force", "f", kind: .bool(false), usage: "do not ask")
