// Events in one line, and as numbers for the digest of a run.

import Cluster
import Kernel
import Multiformats
import Pinset
import Seams
import Storage

extension PeerInput {
    /// One word for it.
    package var label: String {
        switch self {
        case .start: "start"
        case .wake: "wake"
        case .connection: "connection"
        case .stream(.received): "received"
        case .stream: "stream"
        case .disk: "disk"
        case .exchange: "ipfs"
        case .client: "client"
        case .clientInput: "client"
        case .clientGone: "client"
        case .shutdown: "shutdown"
        case .job: "job"
        }
    }
    var kindCode: UInt64 {
        switch self {
        case .start: 1
        case .wake: 2
        case .connection: 3
        case .stream: 4
        case .disk: 5
        case .exchange: 6
        case .client: 7
        case .clientInput: 8
        case .clientGone: 9
        case .shutdown: 10
        case .job: 11
        }
    }
    func mixPayload(into digest: inout TraceDigest) {
        switch self {
        case .stream(let event):
            digest.mix(event.stream.raw)
            if case .received(_, let bytes) = event { digest.mix(bytes) }
        case .exchange(.body(_, let bytes)): digest.mix(bytes)
        default: break
        }
    }
}

extension PeerEffect {
    var kindCode: UInt64 {
        switch self {
        case .wake: 1
        case .connection: 2
        case .stream: 3
        case .disk: 4
        case .exchange: 5
        case .reply: 6
        case .log: 7
        case .ready: 8
        case .stopped: 9
        case .fatal: 10
        case .job: 11
        }
    }
    func mixPayload(into digest: inout TraceDigest) {
        switch self {
        case .wake(let at): digest.mix(UInt64(bitPattern: at?.nanoseconds ?? -1))
        case .stream(.send(let id, let bytes)):
            digest.mix(id.raw)
            digest.mix(bytes)
        case .disk(.append(let name, let bytes)):
            digest.mix(name)
            digest.mix(bytes)
        case .exchange(.start(_, let request)): digest.mix(request.target)
        case .reply(let client, _): digest.mix(client.number)
        case .log(let line): digest.mix(line.message)
        default: break
        }
    }
}

package func describe(_ input: PeerInput) -> String {
    switch input {
    case .start: "start"
    case .wake: "wake"
    case .connection(let event): describe(event)
    case .stream(let event): describe(event)
    case .disk(.synced(let ticket)): "synced \(ticket.owner).\(ticket.number)"
    case .disk(.syncFailed(let ticket, let error)): "sync \(ticket.owner).\(ticket.number) failed: \(error)"
    case .job(let number, .done), .job(let number, .found): "job \(number) done"
    case .job(let number, .failed(let error)): "job \(number) failed: \(error)"
    case .exchange(let event): describe(event)
    case .client(let client, let request): "client \(client.number) asks \(request)"
    case .clientInput(let client, .more): "client \(client.number) takes more"
    case .clientInput(let client, _): "client \(client.number) uploads"
    case .clientGone(let client): "client \(client.number) hangs up"
    case .shutdown: "shutdown"
    }
}

private func describe(_ event: ConnectionEvent) -> String {
    switch event {
    case .connected(let peer, _, let outbound): "connected \(short(peer)) \(outbound ? "outbound" : "inbound")"
    case .introduced(let peer, _): "introduced \(short(peer))"
    case .disconnected(let peer): "disconnected \(short(peer))"
    case .dialFailed(let peer, let reason): "dial \(short(peer)) failed: \(reason)"
    case .listening(let addresses): "listening on \(addresses.count) addresses"
    case .crowded(let peers): "\(peers.count) peers are too many"
    case .dialledBack(let number, let address): "dial back \(number) \(address.map { "answered at \($0)" } ?? "failed")"
    case .found(let peer, let addresses): "\(short(peer)) is at \(addresses.count) addresses"
    }
}

private func describe(_ event: StreamEvent) -> String {
    switch event {
    case .opened(let id, let proto): "stream \(id) open \(proto)"
    case .failed(let id, let reason): "stream \(id) failed: \(reason)"
    case .incoming(let id, let from, let proto): "stream \(id) from \(short(from)) \(proto)"
    case .received(let id, let bytes): "stream \(id) \(bytes.count) bytes"
    case .remoteClosed(let id): "stream \(id) closed by the other side"
    case .reset(let id): "stream \(id) reset"
    case .drained(let id): "stream \(id) drained"
    }
}

private func describe(_ event: ExchangeEvent) -> String {
    switch event {
    case .head(let id, let status): "ipfs \(id.number) status \(status)"
    case .body(let id, let bytes): "ipfs \(id.number) \(bytes.count) bytes"
    case .end(let id, _): "ipfs \(id.number) end"
    case .failed(let id, let reason): "ipfs \(id.number) failed: \(reason)"
    case .drained(let id): "ipfs \(id.number) drained"
    }
}

package func describe(_ reply: ClientReply) -> String {
    switch reply {
    case .item(.pin(let pin)): "pin \(pin.cid)"
    case .item(.pins(let pins)): "\(pins.count) pins"
    case .item(.info(let info)):
        "info \(info.cid) " + info.peers.map { "\(short($0.key))=\($0.value.status.text)" }.joined(separator: " ")
    case .item(.infos(let infos)): "\(infos.count) infos"
    case .item: "item"
    case .end: "end"
    case .failed(let failure): "failed: \(failure.message)"
    case .pause: "pause"
    case .resume: "resume"
    }
}

/// The last letters of a peer ID: the first are the same for all.
func short(_ peer: PeerID) -> String { "…" + peer.description.suffix(5) }

// MARK: Content

/// What CIDs an input is about, as far as it says so itself.
func mentioned(in input: PeerInput) -> [CID] {
    switch input {
    case .client(_, .pin(let pin)): [pin.cid]
    case .client(_, .unpin(let cid)), .client(_, .pinGet(let cid)), .client(_, .status(let cid, _)), .client(_, .recover(let cid, _)): [cid]
    case .client(_, .unpinAll(let cids)), .client(_, .statuses(let cids, _)): cids
    case .exchange(.body(_, let bytes)): bytes.count < 2000 ? mentioned(in: String(decoding: bytes, as: UTF8.self)) : []
    case .stream(.received(_, let bytes)): stored(in: bytes)
    default: []
    }
}
func mentioned(in reply: ClientReply) -> [CID] {
    switch reply {
    case .item(.pin(let pin)): [pin.cid]
    case .item(.info(let info)): [info.cid]
    case .item(.infos(let infos)): infos.map(\.cid)
    default: []
    }
}
/// CIDs written out in a text.
func mentioned(in text: String) -> [CID] {
    text.utf8.split { !(0x30...0x39 ~= $0 || 0x41...0x5a ~= $0 || 0x61...0x7a ~= $0) }.compactMap { word in
        guard word.count > 40 else { return nil }
        let text = String(Substring(word))
        return text.hasPrefix("b") || text.hasPrefix("Qm") ? try? CID(text: text) : nil
    }
}
/// CIDs that travel as they are stored: raw content of version 1 with a SHA-256.
private func stored(in bytes: Bytes) -> [CID] {
    let head: Bytes = [1, 0x55, 0x12, 0x20]
    var found: [CID] = []
    var place = 0
    while place + 36 <= bytes.count, found.count < 20 {
        if bytes[place] == 1, Bytes(bytes[place..<place + 4]) == head, let cid = try? CID(Bytes(bytes[place..<place + 36])) {
            if !found.contains(cid) { found.append(cid) }
            place += 36
        } else { place += 1 }
    }
    return found
}
