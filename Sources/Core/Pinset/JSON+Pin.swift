// Pins and their statuses as JSON, members in upstream's order. REST-123..155.

import Encoding
import Kernel
import Multiformats

extension PinOptions: JSONCodable {
    var members: [JSON.Member] {
        [
            .init("replication_factor_min", replicationFactorMin),
            .init("replication_factor_max", replicationFactorMax),
            .init("name", name),
            .init("mode", mode),
            .init("shard_size", shardSize),
            .init("user_allocations", userAllocations),
            .init("expire_at", expireAt),
            .init("metadata", metadata),
            .init("pin_update", pinUpdate),
            .init("origins", origins),
        ]
    }
    package var json: JSON { .object(members) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("pin options")
        self.init()
        try json.read("replication_factor_min", into: &replicationFactorMin)
        try json.read("replication_factor_max", into: &replicationFactorMax)
        try json.read("name", into: &name)
        try json.read("mode", into: &mode)
        try json.read("shard_size", into: &shardSize)
        try json.read("user_allocations", into: &userAllocations)
        try json.read("expire_at", into: &expireAt)
        try json.read("metadata", into: &metadata)
        try json.read("pin_update", into: &pinUpdate)
        try json.read("origins", into: &origins)
    }
}

extension Pin: JSONCodable {
    package var json: JSON {
        .object(options.members + [
            .init("cid", cid),
            .init("type", type),
            .init("allocations", allocations),
            .init("max_depth", maxDepth),
            .init("reference", reference),
            .init("timestamp", timestamp),
        ])
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a pin")
        self.init(cid: try json.require("cid"), options: try PinOptions(json: json))
        // Go's zero values, not ours.
        (type, allocations, maxDepth) = (.bad, nil, 0)
        try json.read("type", into: &type)
        try json.read("allocations", into: &allocations)
        try json.read("max_depth", into: &maxDepth)
        try json.read("reference", into: &reference)
        try json.read("timestamp", into: &timestamp)
    }
}

extension PinPath: JSONCodable {
    package var json: JSON { .object(options.members + [.init("path", path)]) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a pin path")
        self.init(path: "", options: try PinOptions(json: json))
        try json.read("path", into: &path)
    }
}

extension PinInfoShort: JSONCodable {
    /// The IPFS peer and its addresses are left out when empty.
    var members: [JSON.Member] {
        var out = [JSON.Member("peername", peerName.json)]
        if let ipfsPeer { out.append(.init("ipfs_peer_id", ipfsPeer)) }
        if !ipfsAddresses.isEmpty { out.append(.init("ipfs_peer_addresses", ipfsAddresses)) }
        return out + [
            .init("status", status),
            .init("timestamp", timestamp),
            .init("error", error),
            .init("attempt_count", attemptCount),
            .init("priority_pin", isPriority),
        ]
    }
    package var json: JSON { .object(members) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a pin's status")
        self.init()
        try json.read("peername", into: &peerName)
        try json.read("ipfs_peer_id", into: &ipfsPeer)
        try json.read("ipfs_peer_addresses", into: &ipfsAddresses)
        try json.read("status", into: &status)
        try json.read("timestamp", into: &timestamp)
        try json.read("error", into: &error)
        try json.read("attempt_count", into: &attemptCount)
        try json.read("priority_pin", into: &isPriority)
    }
}

extension PinInfo: JSONCodable {
    package var json: JSON {
        .object([
            .init("cid", cid),
            .init("name", name),
            .init("peer", peer),
            .init("allocations", allocations),
            .init("origins", origins),
            .init("created", created),
            .init("metadata", metadata),
        ] + short.members)
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a pin's status")
        self.init(cid: try json.require("cid"), peer: try json.require("peer"))
        try json.read("name", into: &name)
        try json.read("allocations", into: &allocations)
        try json.read("origins", into: &origins)
        try json.read("created", into: &created)
        try json.read("metadata", into: &metadata)
        short = try PinInfoShort(json: json)
    }
}

extension GlobalPinInfo: JSONCodable {
    package var json: JSON {
        .object([
            .init("cid", cid),
            .init("name", name),
            .init("allocations", allocations),
            .init("origins", origins),
            .init("created", created),
            .init("metadata", metadata),
            .init("peer_map", peers),
        ])
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a pin's status")
        self.init(cid: try json.require("cid"))
        try json.read("name", into: &name)
        try json.read("allocations", into: &allocations)
        try json.read("origins", into: &origins)
        try json.read("created", into: &created)
        try json.read("metadata", into: &metadata)
        try json.read("peer_map", into: &peers)
    }
}
