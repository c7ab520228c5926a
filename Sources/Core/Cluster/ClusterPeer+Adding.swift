// Adding content: blocks are cut here and sent to the peers that will pin them. spec/adder-and-ipfs.md ADD-40..57.

import IPFSConnector
import Kernel
import Multiformats
import Pinset
import RPC
import Seams
import UnixFS

extension ClusterPeer {
    /// An upload, from its first byte to its pin.
    struct Adding: Sendable {
        let parameters: AddParameters
        var importer: ContentImporter
        /// Chosen with the first block, for the whole upload (ADD-50).
        var allocations: [PeerID]?
        var destinations = SortedMap<PeerID, Destination>()
        var root: CID?
        var isPaused = false
        var failures: [String] = []
    }

    enum UploadCall: Hashable, Sendable {
        case ipfs(IPFSCallID)
        case rpc(RPCCallID)
    }

    struct Destination: Sendable {
        let call: UploadCall
        var unsentBytes = 0
    }

    /// The client waits while a destination is so far behind.
    private static let unsentBytesMax = 4 << 20

    mutating func add(_ parameters: AddParameters, _ client: ClientID) {
        if settings.isFollower { return reply(client, .failure(Self.followerRefusal)) }
        if parameters.shard {
            return reply(client, .failure(ClientFailure(.badRequest, "sharding (shard=true) is not offered by this peer")))
        }
        if parameters.noCopy {
            return reply(client, .failure(ClientFailure(.badRequest, "nocopy is not offered: blocks are always stored")))
        }
        var parameters = parameters
        parameters.options.mode = .recursive  // ADD-16
        parameters.options.pinUpdate = nil
        do throws(AddError) {
            adds[client] = Adding(parameters: parameters, importer: try ContentImporter(parameters))
        } catch { reply(client, .failure(ClientFailure(error.message))) }
    }

    mutating func onUpload(_ client: ClientID, _ input: ClientInput) {
        guard var adding = adds.remove(client) else { return }  // it has failed before
        var effects: [ImportEffect] = []
        var failure: ClientFailure?
        do throws(AddError) { adding.root = try adding.importer.on(input, effects: &effects) } catch {
            failure = ClientFailure(error.message)
        }
        adds[client] = adding
        for effect in effects {
            guard adds[client] != nil else { return }
            switch effect {
            case .block(let node): send(node, client)
            case .output(var line):
                line.allocations = adds[client]?.allocations ?? []
                turn.effects.append(.reply(client, .item(.added(line))))
            }
        }
        if let failure { return failAdding(client, failure) }
        if adding.root != nil { endUploads(client) }
    }

    private mutating func send(_ node: NodeWithMeta, _ client: ClientID) {
        if adds[client]?.allocations == nil {
            do throws(ClientFailure) { try openUploads(client) } catch { return failAdding(client, error) }
        }
        var argument: Bytes?
        for (peer, destination) in adds[client]?.destinations ?? SortedMap() {
            // Counted first: a daemon may take the block at once.
            adds[client]?.destinations[peer]?.unsentBytes += node.data.count
            switch destination.call {
            case .ipfs(let call): withIPFS { $0.put(call, node, now: $1, effects: &$2) }
            case .rpc(let call):
                let bytes = argument ?? node.messagePack
                argument = bytes
                withRPC { $0.send(call, argument: bytes, effects: &$2) }
            }
        }
        regulate(client)
    }

    private mutating func openUploads(_ client: ClientID) throws(ClientFailure) {
        guard let adding = adds[client] else { return }
        var allocations = try blockAllocations(for: adding.parameters.options)
        var targets = allocations
        if adding.parameters.isLocal {  // ADD-55
            targets = [id]
            let isFree = (adding.parameters.options.userAllocations ?? []).isEmpty
            if !allocations.contains(id), isFree, !allocations.isEmpty { allocations[allocations.count - 1] = id }
        }
        adds[client]?.allocations = allocations
        for peer in targets { openUpload(to: peer, client) }
    }

    private mutating func openUpload(to peer: PeerID, _ client: ClientID) {
        if peer == id {
            let call = askIPFS(.blockPut) { cluster, result in
                var failure: String?
                if case .failure(let reason) = result { failure = reason.description }
                cluster.onUploadEnd(client, peer, failure)
            }
            adds[client]?.destinations[peer] = Destination(call: .ipfs(call))
            return
        }
        let call = RPCCallID(number())
        rpcCalls[call] = RPCPending { $0.onUploadEnd(client, peer, $1.failure?.message) }
        adds[client]?.destinations[peer] = Destination(call: .rpc(call))
        withRPC { $0.call(call, to: peer, RPCMethod("IPFSConnector", "BlockStream"), effects: &$2) }
    }

    private mutating func endUploads(_ client: ClientID) {
        guard let destinations = adds[client]?.destinations, !destinations.isEmpty else {
            return failAdding(client, ClientFailure("the upload held no blocks"))
        }
        for (_, destination) in destinations {
            switch destination.call {
            case .ipfs(let call): withIPFS { $0.endPut(call, effects: &$2) }
            case .rpc(let call): withRPC { $0.endArguments(call, effects: &$2) }
            }
        }
    }

    /// ADD-53: the add goes on as long as one destination takes the blocks.
    private mutating func onUploadEnd(_ client: ClientID, _ peer: PeerID, _ failure: String?) {
        guard adds[client]?.destinations.remove(peer) != nil else { return }
        if let failure {
            note(.error, "adder", "putting blocks to \(peer): \(failure)")
            adds[client]?.failures.append("\(peer): \(failure)")
        } else if adds[client]?.root == nil {
            // Ended before the last block was sent: it cannot hold them all.
            adds[client]?.failures.append("\(peer) ended the upload before its last block")
        }
        guard let adding = adds[client] else { return }
        let targets = adding.parameters.isLocal ? 1 : adding.allocations?.count ?? 0
        if adding.failures.count >= targets {
            let reasons = adding.failures.joined(separator: "; ")
            return failAdding(client, ClientFailure("failed to put block on all destinations: \(reasons)"))
        }
        if adding.destinations.isEmpty, let root = adding.root { return finishAdding(client, adding, root) }
        regulate(client)
    }

    /// ADD-54.
    private mutating func finishAdding(_ client: ClientID, _ adding: Adding, _ root: CID) {
        adds[client] = nil
        guard !adding.parameters.noPin else { return reply(client, .success([])) }
        var pin = Pin(cid: root, options: adding.parameters.options)
        pin.allocations = adding.allocations
        self.pin(pin) { cluster, outcome in cluster.reply(client, outcome.map { _ in [] }) }
    }

    private mutating func failAdding(_ client: ClientID, _ failure: ClientFailure) {
        stopAdding(client)
        reply(client, .failure(failure))
    }

    /// Blocks that were sent stay where they are, unpinned (ADD-47).
    mutating func stopAdding(_ client: ClientID) {
        guard let adding = adds.remove(client) else { return }
        for (_, destination) in adding.destinations {
            switch destination.call {
            case .ipfs(let call):
                ipfsCalls[call] = nil
                withIPFS { $0.cancel(call, effects: &$2) }
            case .rpc(let call):
                rpcCalls[call] = nil
                withRPC { $0.cancel(call, effects: &$2) }
            }
        }
    }

    // MARK: Speed

    mutating func onDrained(_ call: UploadCall) {
        for client in adds.keys {
            for (peer, destination) in adds[client]?.destinations ?? SortedMap() where destination.call == call {
                adds[client]?.destinations[peer]?.unsentBytes = 0
                return regulate(client)
            }
        }
    }

    private mutating func regulate(_ client: ClientID) {
        guard let adding = adds[client] else { return }
        let most = adding.destinations.map(\.value.unsentBytes).max() ?? 0
        let mustPause = adding.isPaused ? most > Self.unsentBytesMax / 2 : most > Self.unsentBytesMax
        guard mustPause != adding.isPaused else { return }
        adds[client]?.isPaused = mustPause
        turn.effects.append(.reply(client, mustPause ? .pause : .resume))
    }
}
