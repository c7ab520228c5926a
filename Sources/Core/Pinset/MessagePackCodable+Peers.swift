// Peers, metrics and the rest over RPC. spec/wire-rpc.md TYP-07..18.

import Encoding
import Kernel
import Multiformats

extension IPFSID: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        map.raw("i", id?.bytes)
        map.list("a", addresses) { $0.bytes }
        map.string("e", error)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        self.init()
        try reader.members { key, reader in
            switch key {
            case "i": id = try reader.optional { try PeerID($0) }
            case "a": addresses = try reader.list { try Multiaddr($0) }
            case "e": error = try reader.string()
            default: return false
            }
            return true
        }
    }
}

extension PeerInfo: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        map.raw("i", id.bytes)
        map.list("a", addresses) { $0.bytes }
        map.list("cp", clusterPeers) { $0.bytes }
        map.list("cpa", clusterPeersAddresses) { $0.bytes }
        map.string("v", version)
        map.string("c", commit)
        map.string("rv", rpcProtocolVersion)
        map.string("e", error)
        if ipfs != IPFSID() { map.member("ip") { ipfs.write(to: &$0) } }
        map.string("pn", peerName)
        if let pinset { map.member("pinset") { pinset.write(to: &$0) } }  // Go's decoder passes over it
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        var id: PeerID?
        var rest = PeerInfo.Rest()
        try reader.members { key, reader in
            if key == "i" { id = try reader.optional { try PeerID($0) }; return true }
            return try rest.read(key, &reader)
        }
        guard let id else { throw TypeError.missing("a peer's ID") }
        self.init(id: id)
        (addresses, clusterPeers, clusterPeersAddresses) = (rest.addresses, rest.peers, rest.peersAddresses)
        (version, commit, rpcProtocolVersion) = (rest.version, rest.commit, rest.rpcVersion)
        (error, ipfs, peerName, pinset) = (rest.error, rest.ipfs, rest.name, rest.pinset)
    }

    private struct Rest {
        var addresses: [Multiaddr]?
        var peers: [PeerID]?
        var peersAddresses: [Multiaddr]?
        var version = "", commit = "", rpcVersion = "", error = "", name = ""
        var ipfs = IPFSID()
        var pinset: PinsetSummary?
        mutating func read(_ key: String, _ reader: inout MessagePackReader) throws -> Bool {
            switch key {
            case "a": addresses = try reader.list { try Multiaddr($0) }
            case "cp": peers = try reader.list { try PeerID($0) }
            case "cpa": peersAddresses = try reader.list { try Multiaddr($0) }
            case "v": version = try reader.string()
            case "c": commit = try reader.string()
            case "rv": rpcVersion = try reader.string()
            case "e": error = try reader.string()
            case "ip": ipfs = try IPFSID(reading: &reader)
            case "pn": name = try reader.string()
            case "pinset": pinset = try reader.null() ? nil : try PinsetSummary(reading: &reader)
            default: return false
            }
            return true
        }
    }
}

/// TYP-09.
package struct VersionReply: MessagePackCodable, Equatable {
    package var version: String
    package init(version: String) { self.version = version }
    package func write(to writer: inout MessagePackWriter) {
        writer.map(1)
        writer.string("v")
        writer.string(version)
    }
    package init(reading reader: inout MessagePackReader) throws {
        self.init(version: "")
        try reader.members { key, reader in
            guard key == "v" else { return false }
            version = try reader.string()
            return true
        }
    }
}

extension NodeWithMeta: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        if !data.isEmpty { map.raw("d", data) }
        map.raw("c", cid.bytes)
        map.uint("s", cumulativeSize)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        var data: Bytes = []
        var cid: CID?
        var size: UInt64 = 0
        try reader.members { key, reader in
            switch key {
            case "d": data = Bytes(try reader.raw())
            case "c": cid = try reader.optional { try CID($0) }
            case "s": size = try reader.uint()
            default: return false
            }
            return true
        }
        guard let cid else { throw TypeError.missing("a block's CID") }
        self.init(data: data, cid: cid, cumulativeSize: size)
    }
}

extension Metric: MessagePackCodable {
    func write(to map: inout MapWriter) {
        map.string("n", name)
        map.raw("p", peer.bytes)
        map.string("v", value)
        map.int("e", expire)
        map.bool("d", isValid)
        map.int("w", weight)
        map.bool("o", isPartitionable)
        map.int("t", receivedAt)
    }
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        write(to: &map)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        var peer: PeerID?
        var name = "", value = ""
        var expire: Int64 = 0, weight: Int64 = 0, receivedAt: Int64 = 0
        var isValid = false, isPartitionable = false
        try reader.members { key, reader in
            switch key {
            case "n": name = try reader.string()
            case "p": peer = try reader.optional { try PeerID($0) }
            case "v": value = try reader.string()
            case "e": expire = try reader.int()
            case "d": isValid = try reader.bool()
            case "w": weight = try reader.int()
            case "o": isPartitionable = try reader.bool()
            case "t": receivedAt = try reader.int()
            default: return false
            }
            return true
        }
        guard let peer else { throw TypeError.missing("a metric's peer") }
        self.init(name: name, peer: peer)
        (self.value, self.expire, self.isValid) = (value, expire, isValid)
        (self.weight, self.isPartitionable, self.receivedAt) = (weight, isPartitionable, receivedAt)
    }
}

extension IPFSRepoStat: MessagePackCodable {
    /// MP-15: the maximum is always written.
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        map.uint("r", repoSize)
        map.member("s") { $0.uint(storageMax) }
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        self.init(repoSize: 0, storageMax: 0)
        try reader.members { key, reader in
            switch key {
            case "r": repoSize = try reader.uint()
            case "s": storageMax = try reader.uint()
            default: return false
            }
            return true
        }
    }
}

extension IPFSRepoGC: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        map.raw("k", key?.bytes)
        map.string("e", error)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        self.init(key: nil)
        try reader.members { key, reader in
            switch key {
            case "k": self.key = try reader.optional { try CID($0) }
            case "e": error = try reader.string()
            default: return false
            }
            return true
        }
    }
}

extension RepoGC: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        map.raw("p", peer.bytes)
        map.string("pn", peerName)
        map.member("k") { keys.write(to: &$0) }
        map.string("e", error)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        var peer: PeerID?
        var name = "", error = ""
        var keys: [IPFSRepoGC] = []
        try reader.members { key, reader in
            switch key {
            case "p": peer = try reader.optional { try PeerID($0) }
            case "pn": name = try reader.string()
            case "k": keys = try [IPFSRepoGC](reading: &reader)
            case "e": error = try reader.string()
            default: return false
            }
            return true
        }
        guard let peer else { throw TypeError.missing("a peer's ID") }
        self.init(peer: peer)
        (peerName, self.keys, self.error) = (name, keys, error)
    }
}
