// What clients are answered. Written only: a replay makes its own answers.

import Kernel
import Multiformats
import Pinset
import Seams

extension ClientReply: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .item(let item): writer.head(0, item)
        case .end: writer.byte(1)
        case .failed(let failure): writer.head(2, failure)
        case .pause: writer.byte(3)
        case .resume: writer.byte(4)
        }
    }
}

extension ClientFailure: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        switch kind {
        case .badRequest: writer.byte(0)
        case .notFound: writer.byte(1)
        case .failed: writer.byte(2)
        }
        writer.put(message)
    }
}

extension ClientItem: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .peer(let peer): writer.head(0, peer)
        case .version(let version): writer.head(1, version)
        case .pin(let pin): writer.head(2, pin)
        case .pins(let pins): writer.head(3, pins)
        case .info(let info): writer.head(4, info)
        case .infos(let infos): writer.head(5, infos)
        case .metrics(let metrics): writer.head(6, metrics)
        case .names(let names): writer.head(7, names)
        case .alerts(let alerts): writer.head(8, alerts)
        case .graph(let graph): writer.head(9, graph)
        case .bandwidth(let protocols): writer.head(10, protocols)
        case .garbage(let garbage): writer.head(11, garbage)
        case .added(let output): writer.head(12, output)
        }
    }
}

extension IPFSID: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(id)
        writer.put(addresses)
        writer.put(error)
    }
}

extension PeerInfo: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(id)
        writer.put(addresses)
        writer.put(clusterPeers)
        writer.put(clusterPeersAddresses)
        for text in [version, commit, rpcProtocolVersion, error, peerName] { writer.put(text) }
        writer.put(ipfs)
        writer.put(pinset)
    }
}

extension PinsetSummary: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(digest)
        writer.put(pins)
        writer.put(lastChange)
    }
}

extension PinInfoShort: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(peerName)
        writer.put(ipfsPeer)
        writer.put(ipfsAddresses)
        writer.put(status)
        writer.put(timestamp)
        writer.put(error)
        writer.put(attemptCount)
        writer.put(isPriority)
    }
}

extension GlobalPinInfo: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(cid)
        writer.put(name)
        writer.put(allocations)
        writer.put(origins)
        writer.put(created)
        writer.put(metadata)
        writer.put(peers)
    }
}

extension Metric: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(name)
        writer.put(peer)
        writer.put(value)
        writer.put(expire)
        writer.put(isValid)
        writer.put(weight)
        writer.put(isPartitionable)
        writer.put(receivedAt)
    }
}

extension Alert: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(metric)
        writer.put(triggeredAt)
    }
}

extension ConnectGraph: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(clusterID)
        writer.put(peerNames)
        writer.put(ipfsLinks)
        writer.put(clusterLinks)
        writer.put(trustLinks)
        writer.put(clusterToIPFS)
    }
}

extension ProtocolBandwidth: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(name)
        writer.put(totalIn)
        writer.put(totalOut)
        writer.put(rateIn)
        writer.put(rateOut)
    }
}

extension IPFSRepoGC: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(key)
        writer.put(error)
    }
}

extension RepoGC: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(peer)
        writer.put(peerName)
        writer.put(keys)
        writer.put(error)
    }
}

extension AddedOutput: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(name)
        writer.put(cid)
        writer.put(bytes)
        writer.put(size)
        writer.put(allocations)
    }
}
