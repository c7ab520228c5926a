// Whether all peers hold the same pinset: a line for each, and the verdict.

import Multiformats
import Pinset

struct PinsetComparison {
    private let peers: [PeerInfo]
    private let summaries: [PinsetSummary]

    init(_ peers: [PeerInfo]) {
        self.peers = peers
        summaries = peers.compactMap { $0.error.isEmpty ? $0.pinset : nil }
    }

    private var differ: Bool { summaries.contains { $0.digest != summaries[0].digest } }
    /// Whoever does not say may hold anything.
    var agree: Bool { !peers.isEmpty && summaries.count == peers.count && !differ }

    var text: String {
        let names = peers.map { $0.peerName.isEmpty ? $0.id.description : $0.peerName }
        let nameWidth = names.map(\.unicodeScalars.count).max() ?? 0
        let pinsWidth = summaries.map { "\($0.pins)".count }.max() ?? 0
        let lines = zip(names, peers).map { name, peer in
            "\(HumanUnits.padded(name, nameWidth)) | \(line(peer, pinsWidth))\n"
        }
        return lines.joined() + verdict + "\n"
    }

    private func line(_ peer: PeerInfo, _ pinsWidth: Int) -> String {
        guard peer.error.isEmpty else { return "ERROR: \(peer.error)" }
        guard let pinset = peer.pinset else { return "does not say" }
        let pins = HumanUnits.padded("\(pinset.pins)", pinsWidth, isRight: true)
        return "\(pins) pins | \(pinset.digest) | \(TextFormat.change(pinset))"
    }

    private var verdict: String {
        if agree { return "all \(peers.count) peers agree" }
        if differ { return "peers differ" }
        return "\(summaries.count) of \(peers.count) peers agree, the others do not say"
    }
}
