// What other peers may ask of this one. spec/wire-rpc.md part 4 (MTH rows); trust is checked by the RPC machine.

import Encoding
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import RPC
import Seams
import Tracking

extension ClusterPeer {
    /// A call of another peer that is being answered.
    struct ServedCall: Sendable {
        let method: RPCMethod
        /// The block upload that it feeds, the bytes of it that IPFS has not taken yet, and whether the caller waits for that.
        var upload: IPFSCallID?
        var untakenBytes = 0
        var isHeld = false
        /// The filter has come, and the listing has begun: one is enough.
        var isListing = false
        /// Not answered from a state that is being made anew.
        static let needsPinset: Set<String> = [
            "Cluster.PeerRemove", "Cluster.RecoverLocal", "Cluster.RecoverAllLocal", "PinTracker.Recover", "PinTracker.Status", "PinTracker.StatusAll",
        ]
        /// Unary, with an argument of no fields.
        static let takesNothing: Set<String> = [
            "Cluster.ID", "Cluster.Version", "Cluster.RepoGCLocal", "IPFSConnector.RepoStat", "IPFSConnector.SwarmPeers",
        ]
    }

    mutating func onCalled(_ stream: StreamID, _ method: RPCMethod, _ from: PeerID) {
        served[stream] = ServedCall(method: method)
    }

    mutating func onCancelled(_ stream: StreamID) { abandon(.peer(stream)) }

    mutating func onArgument(_ stream: StreamID, _ bytes: Bytes) {
        guard let call = served[stream] else { return }
        guard replica.isOpen || !ServedCall.needsPinset.contains(call.method.text) else { return refuse(stream, Self.opening(replica).message) }
        do {
            if ServedCall.takesNothing.contains(call.method.text) { _ = try Nothing(messagePack: bytes) }
            switch call.method.text {
            case "Cluster.ID": peerInfo { $0.answer(stream, $1) }
            case "Cluster.Version": answer(stream, VersionReply(version: settings.version))
            case "Cluster.PeerAdd": servePeerAdd(stream, try PeerID(messagePack: bytes))
            case "Cluster.RecoverLocal": recoverHere(try CID(messagePack: bytes)) { $0.answer(stream, $1) }
            case "PinTracker.Recover": localRecover(try CID(messagePack: bytes)) { $0.answer(stream, $1) }
            case "PinTracker.Status": localStatus(try CID(messagePack: bytes)) { $0.answer(stream, $1) }
            case "PinTracker.StatusAll": list(stream, try TrackerStatus(messagePack: bytes))
            case "IPFSConnector.RepoStat": serveIPFS(stream, .repoStat) { if case .repoStat(let stat) = $0 { stat.messagePack } else { nil } }
            case "IPFSConnector.SwarmPeers": serveIPFS(stream, .swarmPeers) { if case .peers(let peers) = $0 { peers.messagePack } else { nil } }
            case "IPFSConnector.BlockStream": try serveBlock(stream, bytes)
            case "Cluster.RepoGCLocal": collectGarbage(of: [id], for: .peer(stream)) { $0.answer(stream, $1[0]) }
            // The log takes what it is given: whoever asks has allocated the pin, or looked for it.
            case "Consensus.LogPin": write(try Pin(messagePack: bytes)) { $0.answerNothing(stream, $1) }
            case "Consensus.LogUnpin": erase(try Pin(messagePack: bytes)) { $0.answerNothing(stream, $1) }
            case "Consensus.AddPeer":  // CRDT-107
                _ = try PeerID(messagePack: bytes)
                answer(stream, Nothing())
            case "Cluster.PeerRemove": removePeer(try PeerID(messagePack: bytes)) { $0.refuse(stream, $1.message) }
            case "Consensus.RmPeer":
                _ = try PeerID(messagePack: bytes)
                refuse(stream, Self.removalRefusal.message)
            default: break  // streaming calls without arguments begin when the caller has finished
            }
        } catch { refuse(stream, "error reading argument: \(error)", as: .server) }
    }

    mutating func onEndOfArguments(_ stream: StreamID) {
        guard let call = served[stream] else { return }
        guard replica.isOpen || !ServedCall.needsPinset.contains(call.method.text) else { return refuse(stream, Self.opening(replica).message) }
        switch call.method.text {
        case "Cluster.IDStream": peerInfo { $0.answer(stream, $1) }
        case "Cluster.Peers": allPeers { cluster, infos in
            for info in infos { cluster.withRPC { $0.reply(stream, info.messagePack, effects: &$2) } }
            cluster.finish(stream)
        }
        case "Cluster.RecoverAllLocal": survey(.recovery, for: .peer(stream))
        case "PinTracker.StatusAll": list(stream, .undefined)  // no filter at all
        case "IPFSConnector.BlockStream":
            guard let upload = call.upload else { return refuse(stream, "BlockStream: no blocks to peek in blocks channel") }
            withIPFS { $0.endPut(upload, effects: &$2) }
        default: break
        }
    }

    private mutating func list(_ stream: StreamID, _ filter: TrackerStatus) {
        guard served[stream]?.isListing == false else { return }
        served[stream]?.isListing = true
        survey(.status(filter), for: .peer(stream))
    }

    private mutating func serveBlock(_ stream: StreamID, _ bytes: Bytes) throws {
        let node = try NodeWithMeta(messagePack: bytes)
        if served[stream]?.upload == nil {
            let upload = askIPFS(.blockPut) { cluster, result in
                cluster.noteTaken(stream)
                switch result {
                case .success: cluster.finish(stream)
                case .failure(let failure): cluster.refuse(stream, failure.description)
                }
            }
            served[stream]?.upload = upload
        }
        guard let upload = served[stream]?.upload else { return }
        // Counted first: a daemon may take the block at once.
        served[stream]?.untakenBytes += node.data.count + Self.bytesAroundBlock
        withIPFS { $0.put(upload, node, now: $1, effects: &$2) }
        regulate(stream)
    }

    /// The slowest daemon sets the pace of an add: who sends more than it takes waits, as a client of this peer does.
    private mutating func regulate(_ stream: StreamID) {
        guard let call = served[stream] else { return }
        let limit = call.isHeld ? settings.uploadWindowBytes / 2 : settings.uploadWindowBytes
        let mustWait = call.untakenBytes > limit
        guard mustWait != call.isHeld else { return }
        served[stream]?.isHeld = mustWait
        emit(.hold(stream, mustWait))
    }
    private mutating func noteTaken(_ stream: StreamID) {
        served[stream]?.untakenBytes = 0
        regulate(stream)
    }
    mutating func onBlocksTaken(_ upload: IPFSCallID) {
        if let (stream, _) = served.first(where: { $0.value.upload == upload }) { noteTaken(stream) }
    }

    private mutating func serveIPFS(
        _ stream: StreamID, _ operation: IPFSOperation, _ encode: @escaping @Sendable (IPFSAnswer) -> Bytes?
    ) {
        askIPFS(operation) { cluster, result in
            switch result {
            case .success(let found):
                guard let bytes = encode(found) else { return cluster.refuse(stream, "IPFS gave an unexpected answer") }
                cluster.withRPC { $0.reply(stream, bytes, effects: &$2) }
                cluster.finish(stream)
            case .failure(let failure): cluster.refuse(stream, failure.description)
            }
        }
    }

    /// CLU-45: adding is nothing in CRDT mode, but the new peer is asked who it is, and sees itself among the members.
    private mutating func servePeerAdd(_ stream: StreamID, _ peer: PeerID) {
        addPeer(peer) { cluster, outcome in
            switch outcome {
            case .success(let info): cluster.answer(stream, info)
            case .failure(let failure): cluster.refuse(stream, failure.message)
            }
        }
    }

    // MARK: Answering

    private mutating func answer(_ stream: StreamID, _ value: some MessagePackCodable) {
        withRPC { $0.reply(stream, value.messagePack, effects: &$2) }
        finish(stream)
    }
    private mutating func answerNothing(_ stream: StreamID, _ outcome: Outcome<Pin>) { answer(stream, outcome.map { _ in Nothing() }) }
    private mutating func answer(_ stream: StreamID, _ outcome: Outcome<some MessagePackCodable>) {
        switch outcome {
        case .success(let value): answer(stream, value)
        case .failure(let failure): refuse(stream, failure.message)
        }
    }
    mutating func finish(_ stream: StreamID) {
        abandon(.peer(stream))
        withRPC { $0.finish(stream, effects: &$2) }
    }
    mutating func refuse(_ stream: StreamID, _ text: String, as type: RPCErrorType = .application) {
        abandon(.peer(stream))
        withRPC { $0.finish(stream, failure: RPCFailure(type, text), effects: &$2) }
    }
}
