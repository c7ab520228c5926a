// An input of every kind, with every kind of what it may hold.

import Cluster
import Kernel
import Multiformats
import Pinset
import Seams
import Storage
import TestSupport

enum Samples {
    static var inputs: [PeerInput] {
        var choices = Choices(seed: 7)
        return [.start, .wake, .shutdown, .clientGone(ClientID(.max))]
            + connections(&choices).map { .connection($0) } + streams(&choices).map { .stream($0) } + disk.map { .disk($0) }
            + outcomes(&choices).map { .job(choices.next(), $0) } + exchanges(&choices).map { .exchange($0) }
            + requests(&choices).map { .client(ClientID(choices.next()), $0) } + uploads.map { .clientInput(ClientID(1), $0) }
    }

    static func connections(_ choices: inout Choices) -> [ConnectionEvent] {
        let (peer, address) = (choices.randomPeer(), Multiaddr(unchecked: [4, 127, 0, 0, 1, 6, 0x23, 0x88]))
        return [
            .connected(peer, address: address, outbound: true), .connected(peer, address: address, outbound: false),
            .introduced(peer, PeerIntroduction(protocols: ["/a", ""], listenAddresses: [address], agent: "kubo/é", signedRecord: [1, 2])),
            .introduced(peer, PeerIntroduction(protocols: [])), .disconnected(peer), .dialFailed(peer, reason: "no"), .found(peer, []),
            .listening([address, address]), .listening([]), .crowded([peer, choices.randomPeer()]), .crowded([]),
            .dialledBack(.max, address), .dialledBack(0, nil),
        ]
    }

    static func streams(_ choices: inout Choices) -> [StreamEvent] {
        let id = StreamID(owner: 255, number: 1 << 56 - 1)
        return [
            .opened(id, protocol: "/p"), .failed(id, reason: ""), .incoming(StreamID(owner: 0, number: 0), from: choices.randomPeer(), protocol: "/q"),
            .received(id, choices.bytes(300)), .received(id, []), .remoteClosed(id), .reset(id), .drained(id),
        ]
    }

    static let errors: [DiskError] = [.notFound("a/b"), .full("c"), .failed("d", reason: "bad")]
    static var disk: [DiskEvent] {
        let ticket = SyncTicket(owner: 132, number: .max)
        return [.synced(ticket)] + errors.map { .syncFailed(ticket, $0) }
    }

    static func outcomes(_ choices: inout Choices) -> [JobOutcome] {
        let run = IndexRun(parts: IndexRun.Parts(
            number: 9, file: "crdt/00000009.run", count: 3, filter: [choices.next(), 0, .max, 1, 2, 3, 4, 5], fences: [0, .max, 7], sizeBytes: 1 << 40))
        var key = KnownKey(generation: .max, words: [IndexWord(kind: 3, LogAddress(segment: 5, offset: 77), isErased: true)])
        key.elements = [Candidate(
            address: LogAddress(raw: 1 << 43), block: LogAddress(raw: 1), value: choices.bytes(20), mixed: Mixed(high: choices.next(), low: 3))]
        let damage = LogDamage(recorded: "f", offset: 12, count: 4, reason: "rot")
        let errors = errors.map { LogError.disk($0) } + [.damaged(damage), .index(damage), .notALog("x"), .tooLarge(-1)]
        var looked = Looked(generation: 9)
        looked.hashes = [1, .max, 3]
        looked.found = [Looked.Found(number: 0, key: key), Looked.Found(number: 2, key: KnownKey(generation: 0, words: []))]
        return [.done(run), .found(Looked(generation: 0)), .found(looked)] + errors.map { .failed($0) }
    }

    static func exchanges(_ choices: inout Choices) -> [ExchangeEvent] {
        let id = ExchangeID(choices.next())
        return [
            .head(id, status: 500), .head(id, status: -1), .body(id, choices.bytes(70)), .end(id, trailers: []),
            .end(id, trailers: [.init(name: "X-Stream-Error", value: "late")]), .failed(id, reason: "gone"), .drained(id),
        ]
    }

    static func requests(_ choices: inout Choices) -> [ClientRequest] {
        let (cid, peer) = (choices.randomCID(), choices.randomPeer())
        var batch = PinBatch(options: choices.randomPin().options)
        for name in ["", "a", "日本"] { batch.append(choices.randomCID(), name: name) }
        ([1, 0x55, 0, 0] as Bytes).withUnsafeBytes { cid in ([0xff, 0xfe] as Bytes).withUnsafeBytes { batch.append(cid: cid, name: $0) } }
        var parameters = AddParameters()
        (parameters.layout, parameters.format, parameters.chunker, parameters.cidVersion) = (.trickle, .car, "rabin", 1)
        (parameters.options, parameters.shard, parameters.streamChannels) = (choices.randomPin().options, true, false)
        let path = PinPath(path: "/ipns/x", options: choices.randomPin().options)
        let filter: TrackerStatus = [.pinned, .remote]
        return (0..<40).map { _ in .pin(choices.randomPin()) } + [
            .id, .version, .peers, .peerAdd(peer), .peerRemove(peer), .pinAll(batch), .pinAll(PinBatch()), .unpinAll([cid, cid]), .pinPath(path),
            .unpin(cid), .unpinPath(path), .pinGet(cid), .pins(Set(PinType.allCases)), .pins([.shard, .data]), .pins([]),
            .status(cid, isLocal: true), .statuses([cid], isLocal: false), .statusAll(filter, isLocal: true), .statusAll([], isLocal: false),
            .recover(cid, isLocal: false), .recoverAll(isLocal: true), .metrics(name: "ping"), .metricNames, .alerts, .connectGraph, .bandwidth,
            .repoGC(isLocal: true), .add(parameters), .add(AddParameters()),
        ]
    }

    static let uploads: [ClientInput] = [
        .file(name: "a/b"), .directory(name: ""), .symlink(name: "l", target: "../t"), .data([1, 2, 3]), .endOfFile, .end, .failed("broke off"), .more,
    ]
}
