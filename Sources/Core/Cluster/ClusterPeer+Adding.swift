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
        /// Where blocks go now. Chosen with the first block: for the whole of the content (ADD-50) or for one shard (ADD-61).
        var transfer: Transfer?
        /// What the client has sent, and what has been made of the first of it: the rest waits until a shard is stored, or for its turn.
        var inputs = FIFO<ClientInput>()
        var inputBytesUsed = 0
        var backlog = FIFO<ImportEffect>()
        /// Why nothing more comes of it, once the backlog has been worked off.
        var failure: ClientFailure?
        var sharding: Sharding?
        var root: CID?
        /// Among `busyUploads`.
        var isBusy = false
        var isPaused = false
    }

    /// The same blocks on their way to several peers.
    struct Transfer: Sendable {
        let allocations: [PeerID]
        let targets: Int
        var destinations = SortedMap<PeerID, Destination>()
        var failures: [String] = []
        var isComplete = false
    }

    struct Destination: Sendable {
        let call: PendingCall
        var unsentBytes = 0
    }

    mutating func add(_ parameters: AddParameters, _ client: ClientID) {
        if settings.isFollower { return reply(client, .failure(Self.followerRefusal)) }
        var parameters = parameters
        parameters.options.mode = .recursive  // ADD-16
        parameters.options.pinUpdate = nil
        do throws(AddError) {
            var adding = Adding(parameters: parameters, importer: try ContentImporter(parameters))
            if parameters.shard { adding.sharding = Sharding(maker: ShardMaker(limit: parameters.options.shardSize), begun: turn.now.monotonic) }
            adds[client] = adding
        } catch { reply(client, .failure(ClientFailure(error.message))) }
    }

    mutating func onUpload(_ client: ClientID, _ input: ClientInput) {
        guard let isBusy = adds.look(at: client, { $0.isBusy }) else { return }  // it has failed before
        adds[client]?.inputs.append(input)
        if !isBusy { workOff(client) }
    }

    /// Sends what comes of the content, as far as it may be sent, and no more than one step should: few bytes can be many blocks.
    mutating func workOff(_ client: ClientID) {
        var room = settings.uploadBlocksPerStep
        while room > 0, !isStoringShard(client), let effect = adds[client]?.next() {
            room -= 1
            switch effect {
            case .output(var line):
                if line.cid != nil { line.allocations = adds.look(at: client) { $0.transfer?.allocations ?? [] } ?? [] }  // progress has none
                turn.effects.append(.reply(client, .item(.added(line))))
            case .block(let node):
                guard let isNew = takesBlock(node, client) else { continue }  // it goes to the next shard
                if isNew { send(node, client) }
            }
            adds[client]?.backlog.popFirst()
        }
        conclude(client)
    }

    private mutating func conclude(_ client: ClientID) {
        guard let (isDone, failure, root, isSharded) = adds.look(at: client, { ($0.isWorkedOff, $0.failure, $0.root, $0.sharding != nil) }), !isStoringShard(client)
        else { return regulate(client) }
        if !isDone { queue(client) } else if let failure { return failAdding(client, failure) } else if root != nil {
            if isSharded { endSharding(client) } else { endTransfer(client) }
        }
        regulate(client)
    }

    /// It goes on when its turn comes.
    mutating func queue(_ client: ClientID) {
        if adds.look(at: client, { $0.isBusy }) == false { busyUploads.append(client) }
        adds[client]?.isBusy = true
    }

    /// One upload after another has its turn.
    mutating func continueUploads() {
        guard let client = busyUploads.popFirst() else { return }
        adds[client]?.isBusy = false
        workOff(client)
    }
    /// At once, but not in the same step.
    var uploadsDue: Instant? { busyUploads.isEmpty ? nil : turn.now.monotonic }

    private mutating func send(_ node: NodeWithMeta, _ client: ClientID) {
        if adds.look(at: client, { $0.transfer == nil }) ?? false {
            do throws(ClientFailure) { try openTransfer(client) } catch { return failAdding(client, error) }
        }
        put(node, client)
    }

    /// What is sent with a block, its name above all: of tiny blocks that is most of what is on its way.
    static let bytesAroundBlock = 250

    /// Hands a block to every destination.
    mutating func put(_ node: NodeWithMeta, _ client: ClientID) {
        // Counted first: a daemon may take the block at once.
        adds[client]?.transfer?.count(node.data.count + Self.bytesAroundBlock)
        var argument: Bytes?
        for (_, destination) in adds.look(at: client, { $0.transfer?.destinations ?? SortedMap() }) ?? SortedMap() {
            switch destination.call {
            case .ipfs(let call): withIPFS { $0.put(call, node, now: $1, effects: &$2) }
            case .rpc(let call):
                let bytes = argument ?? node.messagePack
                argument = bytes
                withRPC { $0.send(call, argument: bytes, effects: &$2) }
            }
        }
    }

    private mutating func openTransfer(_ client: ClientID) throws(ClientFailure) {
        guard let adding = adds[client] else { return }
        if let shards = adding.sharding?.maker.finishedCount { tellNewShard(shards, adding.parameters) }
        var allocations = try blockAllocations(for: adding.parameters.options)
        var targets = allocations
        if adding.parameters.isLocal {  // ADD-55
            targets = [id]
            let isFree = (adding.parameters.options.userAllocations ?? []).isEmpty
            if !allocations.contains(id), isFree, !allocations.isEmpty { allocations[allocations.count - 1] = id }
        }
        openTransfer(client, allocations, to: targets)
    }

    mutating func openTransfer(_ client: ClientID, _ allocations: [PeerID], to targets: [PeerID]) {
        adds[client]?.transfer = Transfer(allocations: allocations, targets: targets.count)
        act(for: .client(client)) { for peer in targets { $0.openUpload(to: peer, client) } }
    }

    private mutating func openUpload(to peer: PeerID, _ client: ClientID) {
        if peer == id {
            let call = askIPFS(.blockPut) { cluster, result in
                var failure: String?
                if case .failure(let reason) = result { failure = reason.description }
                cluster.onUploadEnd(client, peer, failure)
            }
            adds[client]?.transfer?.destinations[peer] = Destination(call: .ipfs(call))
            return
        }
        let call = ask(peer, RPCMethod("IPFSConnector", "BlockStream"), [], goesOn: true) { $0.onUploadEnd(client, peer, $1.failure?.message) }
        adds[client]?.transfer?.destinations[peer] = Destination(call: .rpc(call))
    }

    /// The last block has been sent.
    mutating func endTransfer(_ client: ClientID) {
        guard let destinations = adds[client]?.transfer?.destinations, !destinations.isEmpty else {
            return failAdding(client, ClientFailure("the upload held no blocks"))
        }
        adds[client]?.transfer?.isComplete = true
        for (_, destination) in destinations {
            switch destination.call {
            case .ipfs(let call): withIPFS { $0.endPut(call, effects: &$2) }
            case .rpc(let call): withRPC { $0.endArguments(call, effects: &$2) }
            }
        }
    }

    /// ADD-53: the add goes on as long as one destination takes the blocks.
    private mutating func onUploadEnd(_ client: ClientID, _ peer: PeerID, _ failure: String?) {
        guard adds[client]?.transfer?.destinations.remove(peer) != nil else { return }
        if let failure {
            adds[client]?.transfer?.failures.append("\(peer): \(failure)")
        } else if adds[client]?.transfer?.isComplete == false {
            adds[client]?.transfer?.failures.append("\(peer) ended the upload before its last block")
        }
        guard let transfer = adds[client]?.transfer else { return }
        if transfer.failures.count >= transfer.targets {
            let reasons = transfer.failures.joined(separator: "; ")
            note(.error, "adder", reasons)
            return failAdding(client, ClientFailure("failed to put block on all destinations: \(reasons)"))
        }
        guard transfer.destinations.isEmpty, transfer.isComplete else { return regulate(client) }
        if !transfer.failures.isEmpty {
            note(.warning, "adder", "there were errors streaming blocks, but at least one destination succeeded")
            note(.warning, "adder", transfer.failures.joined(separator: "; "))
        }
        if adds[client]?.sharding == nil { finishAdding(client, transfer) } else { onTransferred(client, transfer) }
    }

    /// ADD-54.
    private mutating func finishAdding(_ client: ClientID, _ transfer: Transfer) {
        guard let adding = adds.remove(client), let root = adding.root else { return }
        let end: Then<Outcome<Pin>> = { cluster, outcome in
            if case .success = outcome { cluster.inform("adder", "\(root) successfully added to cluster") }
            cluster.reply(client, outcome.map { _ in [] })
        }
        var pin = Pin(cid: root, options: adding.parameters.options)
        pin.allocations = transfer.allocations
        adding.parameters.noPin ? end(&self, .success(pin)) : self.pin(pin, then: end)
    }

    mutating func failAdding(_ client: ClientID, _ failure: ClientFailure) {
        stopAdding(client)
        reply(client, .failure(failure))
    }

    /// Blocks that were sent stay where they are, unpinned (ADD-47).
    mutating func stopAdding(_ client: ClientID) {
        guard let adding = adds.remove(client) else { return }
        if adding.isBusy { busyUploads.removeAll { $0 == client } }
        abandon(.client(client))
        guard let sharding = adding.sharding, sharding.stage != .pinningContent else { return }
        takeBack(sharding.written)
        if let root = sharding.holds { giveParts(of: root) }
    }

    // MARK: Speed

    mutating func onDrained(_ call: PendingCall) {
        for client in adds.keys {
            for (peer, destination) in adds[client]?.transfer?.destinations ?? SortedMap() where destination.call == call {
                adds[client]?.transfer?.destinations[peer]?.unsentBytes = 0
                return regulate(client)
            }
        }
    }

    /// What is on its way to destinations makes a client wait, and so does what has not been looked at.
    mutating func regulate(_ client: ClientID) {
        guard let (isPaused, isBusy, most) = adds.look(at: client, { ($0.isPaused, $0.isBusy, $0.transfer?.unsentMax ?? 0) }) else { return }
        let limit = isPaused ? settings.uploadWindowBytes / 2 : settings.uploadWindowBytes
        let mustPause = most > limit || isBusy || isStoringShard(client)
        guard mustPause != isPaused else { return }
        adds[client]?.isPaused = mustPause
        turn.effects.append(.reply(client, mustPause ? .pause : .resume))
    }
}

extension ClusterPeer.Adding {
    /// Data is looked at in pieces of this size: of chunks that are tiny, one piece makes more blocks than a step sends.
    private static let pieceBytes = 4 << 10

    var isWorkedOff: Bool { backlog.isEmpty && (inputs.isEmpty || failure != nil) }

    /// The next of what comes of the content. It stays where it is.
    mutating func next() -> ImportEffect? {
        while backlog.isEmpty, failure == nil, let input = nextInput() {
            var effects: [ImportEffect] = []
            do throws(AddError) { root = try importer.on(input, effects: &effects) } catch { failure = ClientFailure(error.message) }
            for effect in effects { backlog.append(effect) }
        }
        return backlog.first
    }

    private mutating func nextInput() -> ClientInput? {
        guard let input = inputs.first else { return nil }
        if case .data(let bytes) = input {
            let piece = bytes[inputBytesUsed...].prefix(Self.pieceBytes)
            inputBytesUsed += piece.count
            if inputBytesUsed == bytes.count {
                inputBytesUsed = 0
                inputs.popFirst()
            }
            return .data(Bytes(piece))
        }
        return inputs.popFirst()
    }
}

extension ClusterPeer.Transfer {
    var unsentMax: Int {
        var most = 0
        destinations.each { most = max(most, $1.unsentBytes) }
        return most
    }

    mutating func count(_ bytes: Int) { for peer in destinations.keys { destinations[peer]?.unsentBytes += bytes } }
}
