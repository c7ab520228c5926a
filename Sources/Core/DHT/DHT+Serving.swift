// What other peers ask. DHT-05, DHT-08..11.

import Encoding
import Kernel
import Multiformats
import Seams

extension DHT {
    /// A stream of another peer's: questions and answers in turn.
    struct Serving: Sendable {
        let peer: PeerID
        var reader: FrameReader
        var idleAt: Instant
        /// Of the answers, since the stream last ran empty.
        var untakenBytes = 0
        var isRemoteEnded = false
    }

    mutating func onIncoming(_ stream: StreamID, _ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        guard serves, (servedStreams[peer]?.count ?? 0) < settings.streamsPerPeerMax else {
            return effects.append(.stream(.reset(stream)))
        }
        let idleAt = now.monotonic + settings.idleTimeout
        serving[stream] = Serving(peer: peer, reader: FrameReader(limitBytes: settings.messageBytesMax), idleAt: idleAt)
        servedStreams[peer, default: SortedSet()].insert(stream)
        dues.insert(Due(at: idleAt, stream: stream))
    }

    @discardableResult
    mutating func forget(served stream: StreamID) -> Bool {
        guard let gone = serving.removeValue(forKey: stream) else { return false }
        dues.remove(Due(at: gone.idleAt, stream: stream))
        servedStreams[gone.peer]?.remove(stream)
        if servedStreams[gone.peer]?.isEmpty == true { servedStreams.remove(gone.peer) }
        return true
    }

    /// All that it wanted to ask is answered, and it has taken the answers: a stream that both sides have closed would not say
    /// so, and whoever never reads could pile them up.
    mutating func close(served stream: StreamID, _ effects: inout [Effect]) {
        if forget(served: stream) { effects.append(.stream(.closeWrite(stream))) }
    }

    mutating func onQuestions(
        _ stream: StreamID, _ bytes: Bytes, _ addresses: Addresses, _ now: Now, _ effects: inout [Effect]
    ) {
        guard let peer = serving[stream]?.peer else { return }
        serving[stream]?.reader.append(bytes)
        do {
            while let frame = try serving[stream]?.reader.next() {
                busy(stream, now)
                let question = try DHTMessage(decoding: frame, within: settings.limits)
                guard let answer = try answer(to: question, from: peer, addresses, now, &effects) else { continue }
                let frame = answer.frame
                serving[stream]?.untakenBytes += frame.count
                effects.append(.stream(.send(stream, frame)))
                guard serving[stream]?.untakenBytes ?? 0 <= settings.untakenBytesMax else { throw DHTFault.tooMuch("it does not take the answers") }
            }
            guard heldBytes(of: peer) <= settings.heldBytesPerPeerMax else { throw DHTFault.tooMuch("too much in pieces") }
        } catch {
            // Without a word: there is none for errors (DHT-05).
            forget(served: stream)
            effects.append(.stream(.reset(stream)))
            effects.append(.log(LogLine(.debug, "dht", "a question of \(peer): \(error)")))
        }
    }

    private mutating func busy(_ stream: StreamID, _ now: Now) {
        guard let old = serving[stream]?.idleAt else { return }
        let idleAt = now.monotonic + settings.idleTimeout
        dues.remove(Due(at: old, stream: stream))
        dues.insert(Due(at: idleAt, stream: stream))
        serving[stream]?.idleAt = idleAt
    }

    private func heldBytes(of peer: PeerID) -> Int {
        (servedStreams[peer]?.elements ?? []).reduce(0) { $0 + (serving[$1]?.reader.waitingBytes ?? 0) }
    }

    private mutating func answer(
        to question: DHTMessage, from peer: PeerID, _ addresses: Addresses, _ now: Now, _ effects: inout [Effect]
    ) throws -> DHTMessage? {
        switch question.kind {
        case .ping: return question
        case .findNode:
            guard !question.key.isEmpty else { throw DHTFault.badKey("nobody to find") }
            var answer = DHTMessage(.findNode)
            answer.closer = closer(to: question.key, for: peer, addresses)
            if let target = try? PeerID(question.key) {
                answer.closer.removeAll { $0.id == target }
                if let found = whereabouts(of: target, addresses) { answer.closer.insert(found, at: 0) }
            }
            return answer
        case .getProviders:
            try checkProviderKey(question.key)
            var answer = DHTMessage(.getProviders, key: question.key)
            for (provider, told) in records.providers(of: question.key, now: now.monotonic) {
                let all = told.isEmpty ? addresses(provider) : told
                if !all.isEmpty { answer.providers.append(DHTMessage.Peer(provider, all, tie(to: provider))) }
            }
            answer.closer = closer(to: question.key, for: peer, addresses)
            return answer
        case .addProvider:
            try checkProviderKey(question.key)
            for provider in question.providers where provider.id == peer && !provider.addresses.isEmpty {
                records.addProvider(question.key, peer, provider.addresses, now: now, effects: &effects)
            }
            return nil
        case .putValue:
            guard let record = question.record, record.key == question.key else { throw DHTFault.badRecord("the keys differ") }
            try records.putValue(record.key, record.value, from: peer, now: now, effects: &effects)
            // As it is kept from now on: with when it came.
            var answer = question
            answer.record?.received = now.wall.rfc3339
            return answer
        case .getValue:
            guard !question.key.isEmpty else { throw DHTFault.badKey("no value to find") }
            var answer = DHTMessage(.getValue, key: question.key)
            if let (value, received) = records.value(of: question.key, now: now.monotonic) {
                answer.record = DHTMessage.Record(key: question.key, value: value, received: received.rfc3339)
            }
            answer.closer = closer(to: question.key, for: peer, addresses)
            return answer
        }
    }

    private func checkProviderKey(_ key: Bytes) throws(DHTFault) {
        guard !key.isEmpty, key.count <= settings.providerKeyBytesMax else { throw .badKey("\(key.count) bytes") }
    }

    /// DHT-08: of the nearest, those who are neither who asks nor ourselves, and who can be dialled.
    private func closer(to key: Bytes, for peer: PeerID, _ addresses: Addresses) -> [DHTMessage.Peer] {
        table.nearest(to: Position(of: key), settings.bucketSize).filter { $0 != peer }.compactMap { whereabouts(of: $0, addresses) }
    }

    private func whereabouts(of peer: PeerID, _ addresses: Addresses) -> DHTMessage.Peer? {
        let known = Array(addresses(peer).prefix(settings.limits.addressesPerPeerMax))
        return known.isEmpty ? nil : DHTMessage.Peer(peer, known, tie(to: peer))
    }
    private func tie(to peer: PeerID) -> DHTMessage.Tie { contacts[peer] == nil ? .notConnected : .connected }
}
