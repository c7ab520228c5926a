// The peerstore file: addresses of other peers, one a line, the most important first. CFG-216..221.

import Encoding
import Kernel
import Multiformats

/// A peer and its addresses without `/p2p`.
package struct KnownPeer: Equatable, Sendable {
    package let id: PeerID
    package var addresses: [Multiaddr]
    package init(_ id: PeerID, _ addresses: [Multiaddr]) { self.id = id; self.addresses = addresses }

    /// Groups addresses that end in `/p2p/<id>`, in the order of their first appearance. Throws for one that does not.
    package static func grouped(_ addresses: [Multiaddr]) throws(ConfigurationError) -> [KnownPeer] {
        var peers: [KnownPeer] = []
        for address in addresses {
            guard let id = address.trailingPeer else { throw ConfigurationError("invalid p2p multiaddr") }
            let bare = address.withoutPeer
            let index = peers.firstIndex { $0.id == id } ?? peers.count
            if index == peers.count { peers.append(KnownPeer(id, [])) }
            if !bare.bytes.isEmpty && !peers[index].addresses.contains(bare) { peers[index].addresses.append(bare) }
        }
        return peers
    }
}

package struct Peerstore: Equatable, Sendable {
    /// In decreasing priority.
    package var peers: [KnownPeer]
    /// What could not be read, or names no peer, for the log.
    package private(set) var problems: [String] = []

    package init(peers: [KnownPeer]) { self.peers = peers }

    /// Addresses that do not end in a peer are reported and skipped.
    package init(addresses: [Multiaddr]) {
        for address in addresses where address.trailingPeer == nil { problems.append("no /p2p/<peer ID> at the end of \(address)") }
        do throws(ConfigurationError) { peers = try KnownPeer.grouped(addresses.filter { $0.trailingPeer != nil }) } catch {
            unreachable("all end in a peer")
        }
    }

    /// Lines that do not begin with `/` are comments; bad addresses are reported and skipped.
    package init(text: String) {
        var (addresses, unread): ([Multiaddr], [String]) = ([], [])
        for line in text.split(whereSeparator: \.isNewline) where line.first == "/" {
            let word = String(line)
            do throws(MultiformatError) { addresses.append(try Multiaddr(text: word)) } catch { unread.append(multiaddrFailure(word, error)) }
        }
        self.init(addresses: addresses)
        problems = unread + problems
    }

    /// The file. A peer with DNS addresses is written with these only; this peer itself is left out.
    package func encoded(without me: PeerID? = nil) -> String {
        var lines = ""
        for peer in peers where peer.id != me {
            let names = peer.addresses.filter(\.isDNS)
            for address in names.isEmpty ? peer.addresses : names { lines += "\(address.with(peer: peer.id))\n" }
        }
        return lines
    }
}
