// The IPFS node of a peer, whichever it has: a Kubo daemon beside it or the embedded one.

import Kernel
import Multiformats
import Pinset
import Seams
import Storage

package enum IPFSNodeSettings: Sendable {
    case kubo(KuboSettings)
    case embedded(EmbeddedSettings)
}

package enum IPFSNode: Sendable {
    case kubo(KuboConnector)
    case embedded(EmbeddedNode)

    package init(
        settings: IPFSNodeSettings, me: PeerID, owner: UInt8, reader: any DiskReader, effects: inout [IPFSEffect]
    ) throws {
        switch settings {
        case .kubo(let settings): self = .kubo(KuboConnector(settings: settings))
        case .embedded(let settings):
            self = .embedded(try EmbeddedNode(settings: settings, me: me, owner: owner, reader: reader, effects: &effects))
        }
    }

    private mutating func with(
        _ kubo: (inout KuboConnector) -> Void = { _ in }, embedded: (inout EmbeddedNode) -> Void = { _ in }
    ) {
        switch self {
        case .kubo(var node):
            self = .placeholder
            kubo(&node)
            self = .kubo(node)
        case .embedded(var node):
            self = .placeholder
            embedded(&node)
            self = .embedded(node)
        }
    }
    /// Stands in while a machine works, so that it is changed in place.
    private static let placeholder = IPFSNode.kubo(KuboConnector(settings: KuboSettings()))

    package var nextDeadline: Instant? {
        switch self {
        case .kubo(let node): node.nextDeadline
        case .embedded(let node): node.nextDeadline
        }
    }
    package mutating func start(_ operation: IPFSOperation, _ id: IPFSCallID, now: Now, effects: inout [IPFSEffect]) {
        with { $0.start(operation, id, now: now, effects: &effects) } embedded: { $0.start(operation, id, now: now, effects: &effects) }
    }
    package mutating func put(_ id: IPFSCallID, _ block: NodeWithMeta, now: Now, effects: inout [IPFSEffect]) {
        with { $0.put(id, block, now: now, effects: &effects) } embedded: { $0.put(id, block, now: now, effects: &effects) }
    }
    package mutating func endPut(_ id: IPFSCallID, effects: inout [IPFSEffect]) {
        with { $0.endPut(id, effects: &effects) } embedded: { $0.endPut(id, effects: &effects) }
    }
    package mutating func cancel(_ id: IPFSCallID, effects: inout [IPFSEffect]) {
        with { $0.cancel(id, effects: &effects) } embedded: { $0.cancel(id, effects: &effects) }
    }
    package mutating func onTime(now: Now, effects: inout [IPFSEffect]) {
        with { $0.onTime(now: now, effects: &effects) } embedded: { $0.onTime(now: now, effects: &effects) }
    }
    package mutating func onExchange(_ event: ExchangeEvent, now: Now, effects: inout [IPFSEffect]) {
        with { $0.onExchange(event, now: now, effects: &effects) }
    }
    package mutating func onDisk(_ event: DiskEvent, effects: inout [IPFSEffect]) {
        with(embedded: { $0.onDisk(event, effects: &effects) })
    }
    package mutating func onBlock(_ cid: CID, _ data: Bytes, now: Now, effects: inout [IPFSEffect]) {
        with(embedded: { $0.onBlock(cid, data, now: now, effects: &effects) })
    }
    package mutating func onNeighbours(addresses: [Multiaddr]?, connected: [PeerID]?) {
        with(embedded: {
            if let addresses { $0.addresses = addresses }
            if let connected { $0.connectedPeers = connected }
        })
    }
    /// A block of the embedded node's.
    package func block(_ cid: CID) throws(LogError) -> Bytes? {
        switch self {
        case .kubo: nil
        case .embedded(let node): try node.block(cid)
        }
    }
    package func blockSize(_ cid: CID) -> Int? {
        switch self {
        case .kubo: nil
        case .embedded(let node): node.blockSize(cid)
        }
    }
    /// The bytes that the embedded node stores; nil where a daemon does.
    package var embeddedBytes: Int? {
        switch self {
        case .kubo: nil
        case .embedded(let node): node.storedBytes
        }
    }
    /// What the embedded node pins; nil where a daemon does.
    package var embeddedPins: SortedMap<CID, PinDepth>? {
        switch self {
        case .kubo: nil
        case .embedded(let node): node.pins
        }
    }
}
