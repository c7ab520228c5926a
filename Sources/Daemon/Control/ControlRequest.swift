// What is asked of the API, and what is shown of its answer. CLI-108..123, CLI-177..181.

import Encoding
import Kernel
import Multiformats
import Pinset

package struct ControlRequest: Equatable, Sendable {
    /// How the answer is read.
    package enum Answer: Equatable, Sendable {
        /// Whatever it says.
        case nothing
        case one(Resource)
        /// One JSON array.
        case list(Resource)
        /// One JSON object after another, with errors in a trailer.
        case stream(Resource)
    }
    package var method: String
    /// Path and query, percent-encoded.
    package var target: String
    package var answer: Answer
    /// CLI-116: a failed request prints an empty item first.
    package var showsFailureAsEmpty = false

    package init(_ method: String, _ target: String, _ answer: Answer) {
        self.method = method
        self.target = target
        self.answer = answer
    }
}

/// The kinds of things that the API answers.
package enum Resource: Equatable, Sendable {
    case peer, status, pin, added, version, metric, metricName, alert, bandwidth, garbage, graph

    package func shown(_ json: JSON) throws(FormError) -> Shown {
        switch self {
        case .peer: .peer(try PeerInfo(json: json))
        case .status: .status(try GlobalPinInfo(json: json))
        case .pin: .pin(try Pin(json: json))
        case .added: .added(try AddedOutput(json: json), isQuiet: false)
        case .version: .version(try VersionReply(json: json))
        case .metric: .metric(try Metric(json: json))
        case .metricName: .name(try String(json: json))
        case .alert: .alert(try Alert(json: json))
        case .bandwidth: .bandwidth(try BandwidthByProtocol(json: json))
        case .garbage: .garbage(try GlobalRepoGC(json: json))
        case .graph: .graph(try ConnectGraph(json: json))
        }
    }
}

/// Something to print, in either encoding.
package enum Shown: Equatable, Sendable {
    case peer(PeerInfo)
    case status(GlobalPinInfo)
    /// What stands for a status that could not be had.
    case noStatus
    case pin(Pin)
    case added(AddedOutput, isQuiet: Bool)
    case version(VersionReply)
    case metric(Metric)
    case name(String)
    case alert(Alert)
    case bandwidth(BandwidthByProtocol)
    case garbage(GlobalRepoGC)
    case graph(ConnectGraph)
    case list([Shown])
    case failure(ErrorBody)

    package func text(now: WallTime) -> String {
        switch self {
        case .peer(let peer): TextFormat.peer(peer)
        case .status(let info): TextFormat.status(info)
        case .noStatus: TextFormat.cidText(nil) + ":\n"
        case .pin(let pin): TextFormat.pin(pin)
        case .added(let added, let isQuiet): TextFormat.added(added, isQuiet: isQuiet)
        case .version(let version): version.version + "\n"
        case .metric(let metric): TextFormat.metric(metric, now: now)
        case .name(let name): name + "\n"
        case .alert(let alert): TextFormat.alert(alert, now: now)
        case .bandwidth(let bandwidth): TextFormat.bandwidth(bandwidth)
        case .garbage(let garbage): TextFormat.garbageCollection(garbage.peers)
        case .graph(let graph): GraphFormat.dot(graph, showsAllIPFSPeers: false)
        case .list(let items): items.map { $0.text(now: now) }.joined()
        case .failure(let failure): TextFormat.failure(code: failure.code, message: failure.message)
        }
    }

    package var json: JSON {
        switch self {
        case .peer(let peer): peer.json
        case .status(let info): info.json
        case .noStatus:
            .object([
                "cid": .null, "name": .string(""), "allocations": .null, "origins": .null, "created": WallTime.unset.json,
                "metadata": .null, "peer_map": .null,
            ])
        case .pin(let pin): pin.json
        case .added(let added, _): added.json
        case .version(let version): version.json
        case .metric(let metric): metric.json
        case .name(let name): name.json
        case .alert(let alert): alert.json
        case .bandwidth(let bandwidth): bandwidth.json
        case .garbage(let garbage): garbage.json
        case .graph(let graph): graph.json
        case .list(let items): .array(items.map(\.json))
        case .failure(let failure): failure.json
        }
    }

    /// CLI-177.
    package func printed(asJSON: Bool, now: WallTime) -> String { asJSON ? json.encoded(indent: 4) + "\n" : text(now: now) }
}
