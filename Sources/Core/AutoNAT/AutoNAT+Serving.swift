// Dialling for others. Only the address from which somebody speaks is dialled, at the ports that it names: nobody has others dialled in
// his name. A dial that fails is told when its time is over and not before, so that nobody learns more of a port than that.

import Encoding
import Kernel
import Multiformats
import Seams

extension AutoNAT {
    mutating func onServing(_ event: StreamEvent, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        let stream = event.stream
        switch event {
        case .incoming(_, let peer, _):
            guard serves, neighbours[peer] != nil, serving.count(where: { $0.value.peer == peer }) < settings.streamsPerPeerMax else {
                return effects.append(.stream(.reset(stream)))
            }
            serving[stream] = Serving(
                peer: peer, reader: FrameReader(limitBytes: settings.messageBytesMax), until: now.monotonic + settings.streamTimeout)
        case .received(_, let bytes): onRequest(stream, bytes, now, &choices, &effects)
        case .remoteClosed:
            guard let served = serving[stream], served.dial == nil else { break }
            if !served.isAnswered { effects.append(.stream(.reset(stream))) }  // no question will come
            forget(stream)
        case .reset, .failed: forget(stream)
        case .opened, .drained: break
        }
    }

    mutating func forget(_ stream: StreamID) {
        if let number = serving.remove(stream)?.dial { dials.remove(number) }
    }

    /// One question a stream.
    private mutating func onRequest(_ stream: StreamID, _ bytes: Bytes, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        guard let served = serving[stream], served.dial == nil, !served.isAnswered else { return }
        serving[stream]?.reader.append(bytes)
        do {
            guard let frame = try serving[stream]?.reader.next() else { return }
            let message = try AutoNATMessage(decoding: frame)
            guard !message.isResponse else { throw AutoNATFault.unexpected }
            switch judge(message.request, from: served.peer) {
            case .failure(let refusal): answer(stream, refusal.response, &effects)
            case .success(let addresses): dial(stream, served.peer, addresses, now, &choices, &effects)
            }
        } catch {
            forget(stream)
            effects.append(.stream(.reset(stream)))
            effects.append(.log(LogLine(.debug, "autonat", "a question of \(served.peer): \(error)")))
        }
    }

    private struct Refusal: Error {
        let response: AutoNATMessage.Response
        init(_ status: AutoNATMessage.Status, _ text: String) { response = AutoNATMessage.Response(status, text: text) }
    }

    /// Where whoever asks may be dialled.
    private func judge(_ request: AutoNATMessage.Request?, from peer: PeerID) -> Result<[Multiaddr], Refusal> {
        guard let request else { return .failure(Refusal(.badRequest, "missing peer info")) }
        if let shown = request.peer {
            guard let shown = try? PeerID(shown) else { return .failure(Refusal(.badRequest, "bad peer id")) }
            guard shown == peer else { return .failure(Refusal(.badRequest, "peer id mismatch")) }
        }
        guard let seen = neighbours[peer]?.address.withoutPeer, mayBeDialled(seen), let host = seen.host else {
            return .failure(Refusal(.refused, "refusing to dial peer with blocked observed address"))
        }
        var found = [seen]
        for bytes in request.addresses where found.count < settings.addressesMax {
            guard let address = try? Multiaddr(bytes), address.host != nil else { continue }
            guard let moved = address.withHost(host), mayBeDialled(moved), !found.contains(moved) else { continue }
            found.append(moved)
        }
        return .success(found)
    }

    private func mayBeDialled(_ address: Multiaddr) -> Bool { address.isPublic && address.ip != nil && !isOwn(address) }

    private mutating func dial(
        _ stream: StreamID, _ peer: PeerID, _ addresses: [Multiaddr], _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]
    ) {
        guard dialCounts[peer, default: 0] < settings.dialsPerPeerMax, dialCount < settings.dialsMax else {
            return answer(stream, AutoNATMessage.Response(.refused, text: "too many dials"), &effects)
        }
        dialCounts[peer, default: 0] += 1
        dialCount += 1
        countedUntil = countedUntil ?? now.monotonic + settings.throttlePeriod + choices.span(.zero, settings.throttleJitter)
        dialNumber += 1
        serving[stream]?.dial = dialNumber
        dials[dialNumber] = Dial(stream: stream, until: now.monotonic + settings.dialTimeout)
        effects.append(.dialBack(dialNumber, peer, addresses))
    }

    /// A dial has ended: with the address that answered as the peer, or without one.
    package mutating func onDialledBack(_ number: UInt64, _ address: Multiaddr?, now: Now, effects: inout [Effect]) {
        if let address { conclude(number, address, now, &effects) }
    }

    mutating func conclude(_ number: UInt64, _ address: Multiaddr?, _ now: Now, _ effects: inout [Effect]) {
        guard let dial = dials.remove(number) else { return }
        serving[dial.stream]?.dial = nil
        answer(dial.stream, address.map { AutoNATMessage.Response(.ok, address: $0.bytes) } ?? AutoNATMessage.Response(.dialError, text: "dial failed"), &effects)
    }

    private mutating func answer(_ stream: StreamID, _ response: AutoNATMessage.Response, _ effects: inout [Effect]) {
        serving[stream]?.isAnswered = true
        effects.append(.stream(.send(stream, AutoNATMessage(response: response).frame)))
        effects.append(.stream(.closeWrite(stream)))
    }
}

extension Multiaddr {
    /// Its IP address as the first part of an address; nil if it does not begin with one.
    fileprivate var host: Multiaddr? {
        guard let first = components.first, ["ip4", "ip6"].contains(first.scheme.name) else { return nil }
        return Multiaddr([first])
    }
    /// The same at another IP address.
    fileprivate func withHost(_ host: Multiaddr) -> Multiaddr? {
        self.host.map { _ in Multiaddr(host.components + components.dropFirst()) }
    }
}
