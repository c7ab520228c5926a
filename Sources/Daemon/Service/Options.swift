// What the command line of ipfs-cluster-service asks for, as plain values.

import CommandLine
import Configuration
import Kernel
import Multiformats

/// CLI-036..041. `--upgrade` has no effect, as upstream.
package struct DaemonOptions: Sendable {
    package let folder: ConfigurationFolder
    package let environment: [String: String]
    package let logLevels: LogLevels
    /// `--bootstrap`: peers to join.
    package let bootstrap: [Multiaddr]
    /// `--no-trust` switches it off: crdt peers trust those that they bootstrap to.
    package let trustsBootstrapPeers: Bool
    /// `--leave`, for this run.
    package let leavesOnShutdown: Bool
    package let enablesStats: Bool
    package let enablesTracing: Bool
    /// `--journal`: everything that the peer hears is recorded there. With that many bytes in all journals of the name.
    package var journal: (path: String, bytesMax: Int)?
}

/// CLI-071..079.
package enum StateCommand: Equatable, Sendable {
    /// To standard output where there is no file.
    case export(file: String?)
    /// From standard input where there is no file. Zero and nothing leave what the pins say.
    case importing(file: String?, force: Bool, replicationMin: Int, replicationMax: Int, allocations: [PeerID])
    case cleanup(force: Bool)
    case crdtInfo
    case crdtDot(file: String?)
    case crdtMarkDirty
    case crdtMarkClean

    var readsPins: Bool {
        switch self {
        case .export, .crdtInfo, .crdtDot: true
        case .importing, .cleanup, .crdtMarkDirty, .crdtMarkClean: false
        }
    }
}

package struct StateOptions: Sendable {
    package let folder: ConfigurationFolder
    package let environment: [String: String]
    package let logLevels: LogLevels
    package let command: StateCommand
}

extension StateCommand {
    init?(_ invocation: Invocation) {
        let flags = invocation.flags
        func file(_ name: String) -> String? { name.isEmpty ? nil : name }
        switch invocation.path.dropFirst().joined(separator: " ") {
        case "export": self = .export(file: file(flags.string("file")))
        case "import":
            self = .importing(
                file: invocation.arguments.first, force: flags.bool("force"), replicationMin: flags.int("replication-min"),
                replicationMax: flags.int("replication-max"),
                allocations: flags.string("allocations").split(separator: ",").compactMap { try? PeerID(text: $0) })
        case "cleanup": self = .cleanup(force: flags.bool("force"))
        case "crdt info": self = .crdtInfo
        case "crdt dot": self = .crdtDot(file: file(flags.string("file")))
        case "crdt mark-dirty": self = .crdtMarkDirty
        case "crdt mark-clean": self = .crdtMarkClean
        default: return nil
        }
    }
}
