// Peers, metrics, alerts, the connection graph and garbage as JSON. REST-156..178, REST-180..183.

import Encoding
import Kernel
import Multiformats

extension IPFSID: JSONCodable {
    package var json: JSON {
        .object((id.map { [.init("id", $0)] } ?? []) + [.init("addresses", addresses), .init("error", error)])
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("an IPFS peer")
        self.init()
        try json.read("id", into: &id)
        try json.read("addresses", into: &addresses)
        try json.read("error", into: &error)
    }
}

extension PeerInfo: JSONCodable {
    package var json: JSON {
        let members: [JSON.Member] = [
            .init("id", id),
            .init("addresses", addresses),
            .init("cluster_peers", clusterPeers),
            .init("cluster_peers_addresses", clusterPeersAddresses),
            .init("version", version),
            .init("commit", commit),
            .init("rpc_protocol_version", rpcProtocolVersion),
            .init("error", error),
            .init("ipfs", ipfs),
            .init("peername", peerName),
        ]
        return .object(pinset.map { members + [.init("pinset", $0)] } ?? members)
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a peer")
        self.init(id: try json.require("id"))
        try json.read("addresses", into: &addresses)
        try json.read("cluster_peers", into: &clusterPeers)
        try json.read("cluster_peers_addresses", into: &clusterPeersAddresses)
        try json.read("version", into: &version)
        try json.read("commit", into: &commit)
        try json.read("rpc_protocol_version", into: &rpcProtocolVersion)
        try json.read("error", into: &error)
        try json.read("ipfs", into: &ipfs)
        try json.read("peername", into: &peerName)
        try json.read("pinset", into: &pinset)
    }
}

extension Metric: JSONCodable {
    var members: [JSON.Member] {
        [
            .init("name", name),
            .init("peer", peer),
            .init("value", value),
            .init("expire", expire),
            .init("valid", isValid),
            .init("weight", weight),
            .init("partitionable", isPartitionable),
            .init("received_at", receivedAt),
        ]
    }
    package var json: JSON { .object(members) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a metric")
        self.init(name: "", peer: try json.require("peer"))
        try json.read("name", into: &name)
        try json.read("value", into: &value)
        try json.read("expire", into: &expire)
        try json.read("valid", into: &isValid)
        try json.read("weight", into: &weight)
        try json.read("partitionable", into: &isPartitionable)
        try json.read("received_at", into: &receivedAt)
    }
}

extension Alert: JSONCodable {
    package var json: JSON { .object(metric.members + [.init("triggered_at", triggeredAt)]) }
    package init(json: JSON) throws(FormError) {
        self.init(metric: try Metric(json: json), triggeredAt: .unset)
        try json.read("triggered_at", into: &triggeredAt)
    }
}

extension ConnectGraph: JSONCodable {
    package var json: JSON {
        .object([
            .init("cluster_id", clusterID),
            .init("id_to_peername", peerNames),
            .init("ipfs_links", ipfsLinks),
            .init("cluster_links", clusterLinks),
            .init("cluster_trust_links", trustLinks),
            .init("cluster_to_ipfs", clusterToIPFS),
        ])
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a graph")
        self.init(clusterID: try json.require("cluster_id"))
        try json.read("id_to_peername", into: &peerNames)
        try json.read("ipfs_links", into: &ipfsLinks)
        try json.read("cluster_links", into: &clusterLinks)
        try json.read("cluster_trust_links", into: &trustLinks)
        try json.read("cluster_to_ipfs", into: &clusterToIPFS)
    }
}

extension ProtocolBandwidth {
    var json: JSON {
        .object([
            .init("total_in", totalIn), .init("total_out", totalOut), .init("rate_in", rateIn), .init("rate_out", rateOut),
        ])
    }
    init(name: String, json: JSON) throws(FormError) {
        let json = try json.object("a bandwidth")
        self.init(name: name)
        try json.read("total_in", into: &totalIn)
        try json.read("total_out", into: &totalOut)
        try json.read("rate_in", into: &rateIn)
        try json.read("rate_out", into: &rateOut)
    }
}

/// An object whose keys are protocols.
extension BandwidthByProtocol: JSONCodable {
    package var json: JSON {
        let sorted = protocols.sorted { precedes($0.name.utf8, $1.name.utf8) }
        return .object(sorted.map { JSON.Member($0.name, $0.json) })
    }
    package init(json: JSON) throws(FormError) {
        self.init([])
        if json == .null { return }
        guard case .object(let members) = json else { throw FormError("bandwidth must be an object") }
        for member in members { protocols.append(try ProtocolBandwidth(name: member.name, json: member.value)) }
    }
}

extension IPFSRepoStat: JSONCodable {
    package var json: JSON { .object([.init("RepoSize", repoSize), .init("StorageMax", storageMax)]) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a repository's size")
        self.init(repoSize: 0, storageMax: 0)
        try json.read("RepoSize", into: &repoSize)
        try json.read("StorageMax", into: &storageMax)
    }
}

extension IPFSRepoGC: JSONCodable {
    package var json: JSON { .object([.init("key", key)] + (error.isEmpty ? [] : [.init("error", error)])) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a removed block")
        self.init(key: nil)
        try json.read("key", into: &key)
        try json.read("error", into: &error)
    }
}

extension RepoGC: JSONCodable {
    package var json: JSON {
        .object([.init("peer", peer), .init("peername", peerName), .init("keys", keys)]
            + (error.isEmpty ? [] : [.init("error", error)]))
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a peer's garbage")
        self.init(peer: try json.require("peer"))
        try json.read("peername", into: &peerName)
        try json.read("keys", into: &keys)
        try json.read("error", into: &error)
    }
}

extension GlobalRepoGC: JSONCodable {
    package var json: JSON { .object([.init("peer_map", peers)]) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("garbage")
        self.init()
        try json.read("peer_map", into: &peers)
    }
}
