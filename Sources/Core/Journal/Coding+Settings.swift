// Everything that can be set of a peer. A test sees to it that no field is left out.

import Allocation
import Cluster
import DHT
import Exchange
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RPC
import Storage
import Tracking

extension PeerSettings: Fielded {
    package static var blank: PeerSettings { PeerSettings(me: .placeholder) }

    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&me)
        try visitor.visit(&peerName)
        try visitor.visit(&version)
        try visitor.visit(&clusterName)
        try visitor.visit(&trust)
        try visitor.visit(&factors)
        try visitor.visit(&allocateBy)
        try visitor.visit(&isRepinningDisabled)
        try visitor.visit(&isFollower)
        try visitor.visit(&pinsOnlyOnTrusted)
        try visitor.visit(&pinsOnlyOnUntrusted)
        try visitor.visit(&peersetMetric)
        try visitor.visit(&stateSyncInterval)
        try visitor.visit(&recoverInterval)
        try visitor.visit(&bulkUnderWayMax)
        try visitor.visit(&repinInterval)
        try visitor.visit(&unheardPatience)
        try visitor.visit(&trackedMax)
        try visitor.visit(&uploadWindowBytes)
        try visitor.visit(&uploadBlocksPerStep)
        try visitor.visit(&sweepBytes)
        try visitor.visit(&infoLoggers)
        var boots = bootPeers.map(BootPeer.init)
        try visitor.visit(&boots)
        bootPeers = boots.map { ($0.peer, $0.addresses, $0.isPermanent) }
        try visitor.visit(&joins)
        try visitMachines(&visitor)
    }

    private mutating func visitMachines(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&listing)
        try visitor.visit(&book)
        try visitor.visit(&gossip)
        try visitor.visit(&exchange)
        try visitor.visit(&dht)
        try visitor.visit(&autoNAT)
        try visitor.visit(&dagList)
        try visitor.visit(&rpc)
        try visitor.visit(&replica)
        try visitor.visit(&tracker)
        try visitor.visit(&monitor)
        try visitor.visit(&informers)
        try visitor.visit(&connectSwarmsDelay)
        try visitor.visit(&ipfs)
    }
}

private struct BootPeer: Fielded {
    var peer = PeerID.placeholder
    var addresses: [Multiaddr] = []
    var isPermanent = false
    init() {}
    init(_ boot: (peer: PeerID, addresses: [Multiaddr], isPermanent: Bool)) { (peer, addresses, isPermanent) = boot }
    static var blank: BootPeer { BootPeer() }
    mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&peer)
        try visitor.visit(&addresses)
        try visitor.visit(&isPermanent)
    }
}

extension Trust: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .everyone: writer.byte(0)
        case .only(let peers): writer.head(1, peers.elements)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .everyone
        case 1: self = .only(SortedSet(try reader.get([PeerID].self)))
        case let tag: throw reader.unknown(tag, "trust")
        }
    }
}

extension IPFSNodeSettings: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .kubo(let settings): writer.head(0, settings)
        case .embedded(let settings): writer.head(1, settings)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .kubo(try reader.get())
        case 1: self = .embedded(try reader.get())
        case let tag: throw reader.unknown(tag, "IPFS node")
        }
    }
}

