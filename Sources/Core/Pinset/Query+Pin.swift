// Pin options as parameters of a query. REST-078..089.

import Encoding
import Kernel
import Multiformats

extension PinOptions {
    /// What upstream's client sends: every option but those that are unset, empty metadata keys left out.
    package var query: URLQuery {
        var query = URLQuery()
        query.add("replication-min", String(replicationFactorMin))
        query.add("replication-max", String(replicationFactorMax))
        query.add("name", name)
        query.add("mode", mode.text)
        query.add("shard-size", String(shardSize))
        query.add("user-allocations", (userAllocations ?? []).map(\.description).joined(separator: ","))
        if !expireAt.isUnset { query.add("expire-at", expireAt.rfc3339) }
        for pair in metadata?.pairs ?? [] where !pair.key.isEmpty { query.add("meta-" + pair.key, pair.value) }
        if let pinUpdate { query.add("pin-update", pinUpdate.description) }
        if let origins, !origins.isEmpty { query.add("origins", origins.map(\.description).joined(separator: ",")) }
        return query
    }

    /// `now` is what `expire-in` counts from.
    package init(query: URLQuery, now: WallTime) throws(FormError) {
        self.init()
        name = query["name"]
        mode = PinMode(text: query["mode"])
        let both = query["replication"]
        replicationFactorMin = try query.integer("replication-min", or: 0, instead: both)
        replicationFactorMax = try query.integer("replication-max", or: 0, instead: both)
        shardSize = try PinOptions.shardSize(query["shard-size"])
        userAllocations = PinOptions.peers(query["user-allocations"])
        expireAt = try PinOptions.expiry(at: query["expire-at"], in: query["expire-in"], now: now)
        metadata = PinOptions.metadata(query)
        pinUpdate = try PinOptions.source(query["pin-update"])
        origins = try PinOptions.origins(query["origins"])
    }

    private static func shardSize(_ text: String) throws(FormError) -> UInt64 {
        if text.isEmpty { return 0 }
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let size = UInt64(text) else {
            throw FormError("parameter shard_size is invalid")
        }
        return size
    }

    /// What is no peer ID is dropped (REST-084).
    private static func peers(_ text: String) -> [PeerID]? {
        if text.isEmpty { return nil }
        return commaSeparated(text).compactMap { try? PeerID(text: $0) }
    }

    private static func expiry(at: String, in: String, now: WallTime) throws(FormError) -> WallTime {
        if !at.isEmpty {
            guard let time = WallTime(rfc3339: at) else {
                throw FormError("expire-at cannot be parsed: \(RFC3339Fault.describe(at))")
            }
            return time
        }
        if `in`.isEmpty { return .unset }
        let span: Span
        do { span = try Span(goText: `in`) } catch { throw FormError("expire-in cannot be parsed: \(error)") }
        guard span >= .seconds(1) else { throw FormError("expire-in duration too short") }
        return now + span
    }

    /// Never nil: a pin asked for over the API answers `{}` (REST-130). The first value of a key counts.
    private static func metadata(_ query: URLQuery) -> Metadata {
        var metadata = Metadata()
        for item in query.items where item.name.utf8.starts(with: "meta-".utf8) {
            let key = String(decoding: Array(item.name.utf8.dropFirst(5)), as: UTF8.self)
            if !key.isEmpty && metadata[key] == nil { metadata[key] = item.value }
        }
        return metadata
    }

    private static func source(_ text: String) throws(FormError) -> CID? {
        if text.isEmpty { return nil }
        do { return try CID(text: text) } catch {
            throw FormError("error decoding update option parameter: \(error.aboutCID)")
        }
    }

    private static func origins(_ text: String) throws(FormError) -> [Multiaddr]? {
        if text.isEmpty { return nil }
        var out: [Multiaddr] = []
        for word in commaSeparated(text) {
            let address: Multiaddr
            do { address = try Multiaddr(json: .string(word)) } catch {
                throw FormError("error decoding multiaddress: \(error)")
            }
            guard address.peerID != nil else {
                throw FormError("multiaddress does not contain peer ID: protocol not found in multiaddr")
            }
            out.append(address)
        }
        return out
    }
}

/// The elements of a comma-separated list, empty ones included.
package func commaSeparated(_ text: String) -> [String] {
    text.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        .map { String(decoding: $0, as: UTF8.self) }
}

extension URLQuery {
    /// `instead` wins where it is given.
    func integer(_ name: String, or fallback: Int, instead: String = "") throws(FormError) -> Int {
        let text = instead.isEmpty ? self[name] : instead
        if text.isEmpty { return fallback }
        guard let value = Int(text) else { throw FormError("parameter \(name) invalid") }
        return value
    }

    /// REST-121: what Go's ParseBool takes.
    func flag(_ name: String, or fallback: Bool) throws(FormError) -> Bool {
        switch self[name] {
        case "": return fallback
        case "1", "t", "T", "TRUE", "true", "True": return true
        case "0", "f", "F", "FALSE", "false", "False": return false
        default: throw FormError("parameter \(name) invalid")
        }
    }
}
