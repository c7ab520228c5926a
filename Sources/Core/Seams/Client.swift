// The seam between a peer and those who use it: the REST API, the command line, the simulator's clients.
// A request is answered by zero or more items and then exactly one end or failure.

import Kernel
import Multiformats
import Pinset

package struct ClientID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

/// Numbers clients. Each API of a peer has its own owner, so that their clients are never the same.
package struct ClientIDs: Sendable {
    private let owner: UInt8
    private var number: UInt64 = 0
    package init(owner: UInt8) { self.owner = owner }
    package mutating func next() -> ClientID {
        number += 1
        return ClientID(UInt64(owner) << 56 | number)
    }
}

/// What a client may ask. The comment says which items answer it.
package enum ClientRequest: Equatable, Sendable {
    case id  // one peer
    case version  // one version
    case peers  // a peer for each member
    case peerAdd(PeerID)  // one peer
    case peerRemove(PeerID)  // none
    case pin(Pin)  // the pin as submitted
    case pinAll(PinBatch)  // none: all of them or none
    case unpinAll([CID])  // the same
    case pinPath(PinPath)  // the pin as submitted
    case unpin(CID)  // the pin as it was stored
    case unpinPath(PinPath)  // the pin as it was stored
    case pinGet(CID)  // one pin
    /// Every pin of one of these types, in chunks: one at once, and one for each `more`. Upstream's /allocations.
    case pins(Set<PinType>)
    case status(CID, isLocal: Bool)  // one info
    case statuses([CID], isLocal: Bool)  // an info for each
    /// An info for each pin that matches, in chunks: one at once, and one for each `more`.
    case statusAll(TrackerStatus, isLocal: Bool)
    case recover(CID, isLocal: Bool)  // one info
    case recoverAll(isLocal: Bool)  // an info for each pin queued again, in chunks
    case metrics(name: String)  // one list of metrics
    case metricNames  // one list of names
    case alerts  // one list of alerts, newest first
    case connectGraph  // one graph
    case bandwidth  // one bandwidth
    case repoGC(isLocal: Bool)  // one garbage
    /// The content follows as `ClientInput`. An added for each file and directory.
    case add(AddParameters)
}

/// What follows a request. After an `add` its content, in the order of the upload: one entry at a time; names are
/// slash-separated relative paths.
package enum ClientInput: Equatable, Sendable {
    case file(name: EntryName)
    case directory(name: EntryName)
    case symlink(name: EntryName, target: EntryName)
    /// Bytes of the file begun last.
    case data(Bytes)
    case endOfFile
    case end
    /// The upload broke off: nothing is pinned, and the request fails with this text.
    case failed(String)
    /// After a `pins` or `infos`: another chunk can be taken.
    case more
}

package enum ClientItem: Equatable, Sendable {
    case peer(PeerInfo)
    case version(String)
    case pin(Pin)
    /// A part of a listing; it may be empty.
    case pins(StoredPins)
    case info(GlobalPinInfo)
    /// A part of a listing, never empty.
    case infos([GlobalPinInfo])
    case metrics([Metric])
    case names([String])
    case alerts([Alert])
    case graph(ConnectGraph)
    case bandwidth([ProtocolBandwidth])
    case garbage([RepoGC])
    case added(AddedOutput)
}

/// Why a request failed. The text is upstream's where it has one; the kind decides the HTTP status.
package struct ClientFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Kind: Equatable, Sendable {
        case badRequest  // 400
        case notFound  // 404
        case failed  // 500
    }
    package var kind: Kind
    package var message: String
    package init(_ kind: Kind, _ message: String) { self.kind = kind; self.message = message }
    package init(_ message: String) { self.init(.failed, message) }
    package var description: String { message }

    /// REST-205: the text that clients look for.
    package static let notPinned = ClientFailure(.notFound, "pin is not part of the pinset")
}

package enum ClientReply: Equatable, Sendable {
    case item(ClientItem)
    case end
    case failed(ClientFailure)
    /// Stop or resume sending the input of an `add`: the destinations are slower than the client.
    case pause
    case resume
}
