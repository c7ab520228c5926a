// What the commands print with --enc text. CLI-156..172. Pure: value in, lines out, each ended by a line break.

import Encoding
import Foundation
import Kernel
import Multiformats
import Pinset

enum TextFormat {
    /// CLI-156..158.
    static func peer(_ peer: PeerInfo) -> String {
        guard peer.error.isEmpty else { return "\(peer.id) | ERROR: \(peer.error)\n" }
        var text = "\(peer.id) | \(peer.peerName) | Sees \((peer.clusterPeers ?? []).count - 1) other peers\n"
        if let pinset = peer.pinset { text += "  > Pinset: \(summary(pinset))\n" }
        text += "  > Addresses:\n" + addresses(peer.addresses)
        guard peer.ipfs.error.isEmpty else { return text + "  > IPFS ERROR: \(peer.ipfs.error)\n" }
        return text + "  > IPFS: \(peer.ipfs.id?.description ?? "")\n" + addresses(peer.ipfs.addresses)
    }

    private static func summary(_ pinset: PinsetSummary) -> String {
        "\(pinset.pins) pins | \(pinset.digest) | \(change(pinset))"
    }
    static func change(_ pinset: PinsetSummary) -> String {
        pinset.lastChange.isUnset ? "unchanged since start" : "changed \(pinset.lastChange.rfc3339)"
    }

    private static func addresses(_ addresses: [Multiaddr]?) -> String {
        byText((addresses ?? []).map(\.description)).map { "    - \($0)\n" }.joined()
    }

    /// In the order of their bytes, as Go sorts strings.
    private static func byText(_ texts: [String]) -> [String] { texts.sorted { precedes($0.utf8, $1.utf8) } }

    /// The entries of a map keyed by peers, in the order of the IDs' texts.
    private static func byText<Value>(_ map: SortedMap<PeerID, Value>) -> [(id: String, value: Value)] {
        map.map { (id: $0.key.description, value: $0.value) }.sorted { precedes($0.id.utf8, $1.id.utf8) }
    }

    /// CLI-159, CLI-160.
    static func status(_ info: GlobalPinInfo) -> String {
        (info.name.isEmpty ? "\(info.cid):\n" : "\(info.cid) | \(info.name):\n")
            + byText(info.peers).map { status($0.value, of: $0.id) }.joined()
    }

    private static func status(_ info: PinInfoShort, of id: String) -> String {
        "    > \(HumanUnits.padded(info.peerName.isEmpty ? id : info.peerName, 20)) : \(info.status.text.uppercased())"
            + (info.error.isEmpty ? "" : ": \(info.error)")
            + " | \(info.timestamp.rfc3339) | Attempts: \(info.attemptCount) | Priority: \(info.isPriority)\n"
    }

    /// CLI-161, CLI-162.
    static func pin(_ pin: Pin) -> String {
        let options = pin.options
        let depth =
            switch pin.maxDepth {
            case 0: "Direct"
            case -1: "Recursive"
            default: "Recursive-\(pin.maxDepth)"
            }
        return [
            "\(pin.cid)", options.name,
            pin.type.text.uppercased() + (options.mode == .direct ? "-DIRECT" : ""),
            allocations(pin), depth,
            "Metadata: " + (options.metadata?.isEmpty == false ? "yes" : "no"),
            "Exp: " + (options.expireAt.isUnset ? "∞" : options.expireAt.plain),
            "Added: " + (pin.timestamp.isUnset ? "unknown" : pin.timestamp.plain),
        ].joined(separator: " | ") + "\n"
    }

    private static func allocations(_ pin: Pin) -> String {
        if pin.isPinnedEverywhere { return "Repl. Factor: -1 | Allocations: [everywhere]" }
        let peers = byText((pin.allocations ?? []).map(\.description)).joined(separator: " ")
        return "Repl. Factor: \(pin.options.replicationFactorMin)--\(pin.options.replicationFactorMax)"
            + " | Allocations: [\(peers)]"
    }

    /// CLI-163.
    static func added(_ added: AddedOutput, isQuiet: Bool) -> String {
        let cid = cidText(added.cid)
        return isQuiet ? "\(cid)\n" : "added \(cid) \(added.name)\n"
    }

    /// Go prints an undefined CID as the bare base32 prefix (CLI-116).
    static func cidText(_ cid: CID?) -> String { cid?.description ?? "b" }

    /// CLI-165.
    static func metric(_ metric: Metric, now: WallTime) -> String {
        let isSize = metric.name == "freespace" && metric.weight > 0
        let value = isSize ? byteText(UInt64(metric.weight)) : metric.value
        let expiry = HumanUnits.relative(WallTime(unixNanoseconds: metric.expire), to: now)
        return "\(metric.peer) | \(metric.name): \(value) | Expires in: \(expiry)\n"
    }

    /// CLI-167.
    static func alert(_ alert: Alert, now: WallTime) -> String {
        let expired = HumanUnits.relative(WallTime(unixNanoseconds: alert.metric.expire), to: now)
        let triggered = HumanUnits.relative(alert.triggeredAt, to: now)
        return "\(alert.metric.peer): \(alert.metric.name). Expired at: \(expired). Triggered at: \(triggered)\n"
    }

    /// CLI-168.
    static func bandwidth(_ bandwidth: BandwidthByProtocol) -> String {
        bandwidth.protocols.sorted { precedes($0.name.utf8, $1.name.utf8) }.map { one in
            let (name, total) = (HumanUnits.padded(one.name, 25, isRight: true), { HumanUnits.padded($0, 7, isRight: true) })
            return "\(name): In: \(total(byteText(UInt64(bitPattern: one.totalIn)))). "
                + "Out: \(total(byteText(UInt64(bitPattern: one.totalOut)))). "
                + String(format: "RateIn: %.2fB/s. RateOut: %.2fB/s\n", one.rateIn, one.rateOut)
        }.joined()
    }

    /// CLI-169.
    static func garbageCollection(_ peers: SortedMap<PeerID, RepoGC>) -> String {
        byText(peers).map { id, collected in
            let name = HumanUnits.padded(collected.peerName.isEmpty ? id : collected.peerName, 15)
            let keys = (collected.keys).map { "    - " + ($0.error.isEmpty ? cidText($0.key) : "ERROR: \($0.error)") + "\n" }
            return name + (collected.error.isEmpty ? "\n" : " | ERROR: \(collected.error)\n") + "  > CIDs:\n" + keys.joined()
        }.joined()
    }

    /// CLI-099.
    static func failure(code: Int, message: String) -> String {
        "An error occurred:\n  Code: \(code)\n  Message: \(message)\n"
    }
}
