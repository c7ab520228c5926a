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

package struct IPFSNode: Sendable {
    /// One of the two. Optionals, since those are changed where they are.
    private var kubo: KuboConnector?
    private var embedded: EmbeddedNode?
    /// Asked for at every step of the peer, and changed by few.
    package private(set) var nextDeadline: Instant?

    package init(
        settings: IPFSNodeSettings, me: PeerID, owner: UInt8, reader: any DiskReader, now: Now, effects: inout [IPFSEffect]
    ) throws {
        switch settings {
        case .kubo(let settings): kubo = KuboConnector(settings: settings)
        case .embedded(let settings):
            embedded = try EmbeddedNode(settings: settings, me: me, owner: owner, reader: reader, now: now, effects: &effects)
        }
        with()
    }

    private mutating func with(
        _ kubo: (inout KuboConnector) -> Void = { _ in }, embedded: (inout EmbeddedNode) -> Void = { _ in }
    ) {
        if self.kubo != nil { kubo(&self.kubo!) }
        if self.embedded != nil { embedded(&self.embedded!) }
        nextDeadline = self.kubo?.nextDeadline ?? self.embedded?.nextDeadline
    }
    /// `limit`: no longer than that, nor than the settings say, is an answer waited for.
    package mutating func start(_ operation: IPFSOperation, _ id: IPFSCallID, within limit: Span? = nil, now: Now, effects: inout [IPFSEffect]) {
        with { $0.start(operation, id, within: limit, now: now, effects: &effects) } embedded: { $0.start(operation, id, now: now, effects: &effects) }
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
    package func checkInvariants() {
        kubo?.checkInvariants()
        embedded?.checkInvariants()
    }
    package var callCount: Int? { kubo?.callCount }
    package func isWaiting(for hash: Multihash) -> Bool { embedded?.isWaiting(for: hash) ?? false }
    /// Those of open calls, and those that are held back; nil where there is no daemon.
    package var requestsToDaemon: (sent: Int, held: Int)? { kubo?.requestCounts }
    /// A block of the embedded node's.
    package func block(_ cid: CID) throws(LogError) -> Bytes? { try embedded?.block(cid) }
    package func blockSize(_ cid: CID) -> Int? { embedded?.blockSize(cid) }
    /// The bytes that the embedded node stores; nil where a daemon does.
    package var embeddedBytes: Int? { embedded?.storedBytes }
    /// What it is dropping as garbage; and roots that it keeps, and how much below them, also where their pins are not durable yet.
    package var collected: [CID] { embedded?.collected ?? [] }
    package var pinnedBlocks: [(cid: CID, depth: PinDepth)] { embedded?.pinnedBlocks ?? [] }
    /// What the embedded node pins; nil where a daemon does.
    package var embeddedPins: SortedMap<CID, PinDepth>? { embedded?.pins }
}
