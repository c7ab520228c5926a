// One effect in a line: what a journal holds of it. The digest is over all of the effect, so that equal lines mean equal effects;
// the rest is for whoever reads of the first difference.

import Cluster
import Kernel
import Multiformats
import Pinset
import Seams
import Storage

package struct EffectSummary: Equatable, Fielded, CustomStringConvertible {
    package enum Kind: UInt8, JournaledChoice, Sendable {
        case wake, dial, disconnect, open, send, closeWrite, resetStream
        case append, sync, truncate, rename, remove, lookupJob, indexJob
        case request, requestBody, endOfRequest, cancelRequest
        case replyItem, replyEnd, replyFailed, replyPause, replyResume
        case log, ready, stopped, fatal
        case trim
        case serve, dialBack
        case holdStream, releaseStream
    }
    package var kind: Kind
    /// The stream, client, ticket, job or exchange.
    package var number: UInt64 = 0
    /// Bytes, entries, or the instant of a wake-up.
    package var size: Int64 = 0
    package var name = ""
    /// A peer or a CID.
    package var key: Bytes = []
    /// How its bytes begin.
    package var beginning: Bytes = []
    package var digest = Mixed(high: 0, low: 0)

    private static let beginningBytes = 48

    package static var blank: EffectSummary { EffectSummary(.ready) }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&kind)
        try visitor.visit(&number)
        try visitor.visit(&size)
        try visitor.visit(&name)
        try visitor.visit(&key)
        try visitor.visit(&beginning)
        try visitor.visit(&digest)
    }

    private init(_ kind: Kind, _ number: UInt64 = 0, name: String = "", size: Int = 0, key: Bytes = [], bytes: Bytes = []) {
        (self.kind, self.number, self.name, self.key) = (kind, number, name, key)
        self.size = Int64(bytes.isEmpty ? size : bytes.count)
        beginning = bytes.count <= EffectSummary.beginningBytes ? bytes : Bytes(bytes[..<EffectSummary.beginningBytes])
    }

    /// `digester` is for all effects in turn: what it held is gone.
    package init(_ effect: PeerEffect, _ digester: inout JournalWriter) {
        self.init(of: effect)
        digester.clear()
        digester.put(effect)
        digest = digester.bytes.withUnsafeBytes { mix($0, seed: 1) }
    }

    private init(of effect: PeerEffect) {
        switch effect {
        case .wake(let at): self.init(.wake, at == nil ? 0 : 1, size: Int(at?.nanoseconds ?? 0))
        case .connection(.dial(let peer, let addresses)): self.init(.dial, size: addresses.count, key: peer.bytes)
        case .connection(.disconnect(let peer)): self.init(.disconnect, key: peer.bytes)
        case .connection(.trim(let worths)): self.init(.trim, size: worths.count)
        case .connection(.serve(let protocols)): self.init(.serve, name: protocols.joined(separator: " "))
        case .connection(.dialBack(let number, let peer, let addresses)): self.init(.dialBack, number, size: addresses.count, key: peer.bytes)
        case .stream(let effect): self.init(of: effect)
        case .disk(let effect): self.init(of: effect)
        case .job(let job) where job.isLookup: self.init(.lookupJob, job.number, size: job.keyCount)
        case .job(let job): self.init(.indexJob, job.number, name: job.files.joined(separator: " "))
        case .exchange(let effect): self.init(of: effect)
        case .reply(let client, let reply): self.init(of: reply, client.number)
        case .log(let line): self.init(.log, name: "\(line.level) \(line.component): \(line.message)")
        case .ready: self.init(.ready)
        case .stopped: self.init(.stopped)
        case .fatal(let reason): self.init(.fatal, name: reason)
        }
    }

    private init(of effect: StreamEffect) {
        switch effect {
        case .open(let id, let peer, let protocols): self.init(.open, id.raw, name: protocols.first ?? "", key: peer.bytes)
        case .send(let id, let bytes): self.init(.send, id.raw, bytes: bytes)
        case .closeWrite(let id): self.init(.closeWrite, id.raw)
        case .reset(let id): self.init(.resetStream, id.raw)
        case .hold(let id, let isHeld): self.init(isHeld ? .holdStream : .releaseStream, id.raw)
        }
    }

    private init(of effect: DiskEffect) {
        switch effect {
        case .append(let file, let bytes): self.init(.append, name: file, bytes: bytes)
        case .sync(let file, let ticket): self.init(.sync, ticket.number, name: file)
        case .truncate(let file, let count): self.init(.truncate, name: file, size: count)
        case .rename(let file, let new): self.init(.rename, name: "\(file) to \(new)")
        case .remove(let file): self.init(.remove, name: file)
        }
    }

    private init(of effect: ExchangeEffect) {
        switch effect {
        case .start(let id, let request): self.init(.request, id.number, name: request.target, bytes: request.body ?? [])
        case .body(let id, let bytes): self.init(.requestBody, id.number, bytes: bytes)
        case .endOfBody(let id): self.init(.endOfRequest, id.number)
        case .cancel(let id): self.init(.cancelRequest, id.number)
        }
    }

    private init(of reply: ClientReply, _ client: UInt64) {
        switch reply {
        case .item(let item):
            switch item {
            case .peer(let peer): self.init(.replyItem, client, name: "peer", key: peer.id.bytes)
            case .version: self.init(.replyItem, client, name: "version")
            case .pin(let pin): self.init(.replyItem, client, name: "pin", key: pin.cid.bytes)
            case .pins(let pins): self.init(.replyItem, client, name: "pins", size: pins.count)
            case .info(let info): self.init(.replyItem, client, name: "info", key: info.cid.bytes)
            case .infos(let infos): self.init(.replyItem, client, name: "infos", size: infos.count, key: infos.first?.cid.bytes ?? [])
            case .metrics(let metrics): self.init(.replyItem, client, name: "metrics", size: metrics.count)
            case .names(let names): self.init(.replyItem, client, name: "names", size: names.count)
            case .alerts(let alerts): self.init(.replyItem, client, name: "alerts", size: alerts.count)
            case .graph: self.init(.replyItem, client, name: "graph")
            case .bandwidth(let protocols): self.init(.replyItem, client, name: "bandwidth", size: protocols.count)
            case .garbage(let garbage): self.init(.replyItem, client, name: "garbage", size: garbage.count)
            case .added(let output): self.init(.replyItem, client, name: "added \(output.name)", key: output.cid?.bytes ?? [])
            }
        case .end: self.init(.replyEnd, client)
        case .failed(let failure): self.init(.replyFailed, client, name: failure.message)
        case .pause: self.init(.replyPause, client)
        case .resume: self.init(.replyResume, client)
        }
    }

    package var description: String {
        "\(text) #\(hex((0..<8).map { UInt8(truncatingIfNeeded: digest.high >> UInt64(56 - 8 * $0)) }))"
    }

    private var text: String {
        let stream = "\(number >> 56).\(number & (1 << 56 - 1))"
        let client = "client \(number)"
        switch kind {
        case .wake: return number == 0 ? "wake never" : "wake at \(Instant(nanoseconds: size).nanoseconds) ns"
        case .dial: return "dial \(keyText) at \(size) addresses"
        case .disconnect: return "disconnect \(keyText)"
        case .trim: return "trim \(size) peers"
        case .serve: return "serve \(name)"
        case .dialBack: return "dial \(keyText) back at \(size) addresses"
        case .open: return "open stream \(stream) to \(keyText) \(name)"
        case .send: return "send on stream \(stream) \(bytesText)"
        case .closeWrite: return "close stream \(stream)"
        case .resetStream: return "reset stream \(stream)"
        case .holdStream: return "hold stream \(stream)"
        case .releaseStream: return "release stream \(stream)"
        case .append: return "append \(name) \(bytesText)"
        case .sync: return "sync \(name) ticket \(number)"
        case .truncate: return "truncate \(name) to \(size) bytes"
        case .rename: return "rename \(name)"
        case .remove: return "remove \(name)"
        case .lookupJob: return "job \(number): look up \(size) keys"
        case .indexJob: return "job \(number): write of \(name)"
        case .request: return "ipfs \(number) \(name) \(bytesText)"
        case .requestBody: return "ipfs \(number) \(bytesText)"
        case .endOfRequest: return "ipfs \(number) end of request"
        case .cancelRequest: return "ipfs \(number) cancel"
        case .replyItem: return "\(client): \(name)" + (size > 0 ? " of \(size)" : "") + (key.isEmpty ? "" : " \(keyText)")
        case .replyEnd: return "\(client): end"
        case .replyFailed: return "\(client): failed: \(name)"
        case .replyPause: return "\(client): pause"
        case .replyResume: return "\(client): resume"
        case .log: return "log \(name)"
        case .ready: return "ready"
        case .stopped: return "stopped"
        case .fatal: return "fatal: \(name)"
        }
    }

    private var bytesText: String {
        let more = size > beginning.count ? "…" : ""
        return "\(size) bytes" + (beginning.isEmpty ? "" : " \(hex(beginning))\(more)")
    }
    /// Peer IDs and CIDs do not begin alike.
    private var keyText: String {
        switch kind {
        case .dial, .disconnect, .open: (try? PeerID(key))?.description ?? hex(key)
        default: (try? CID(key))?.description ?? (try? PeerID(key))?.description ?? hex(key)
        }
    }
}
