// What happened in a run, entry by entry: what lines on a terminal, pages and causal slices are made of.

import Multiformats

/// One thing that happened. Its number is its place in the trace.
package struct TraceEntry: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// An input was handed to the peer: bytes from another one (`cause` is the step that sent them), a timer, an end of a
        /// sync or a job, an answer of IPFS, a client's request. `label` is its short name ("received", "wake", "synced", …).
        case input(label: String)
        /// What a step said or did that is worth a line of its own: a reply to a client, a call to IPFS.
        case effect(label: String)
        /// A line of the peer's log.
        case log(level: String)
        /// The process starts, or is gone.
        case up
        case down
        /// A fault begins. Its end, if it has one, is a `healed` with the same fault number. `peers` are those it strikes; for
        /// a partition, `others` is the other side.
        case fault(Int, name: String, peers: [Int], others: [Int])
        case healed(Int)
        /// A pin's life at one peer: "accepted", "merged", "removed" from the pinset, "pinning", "pinned", "unpinned", "failed" by IPFS.
        case pin(CID, state: String)
        /// An oracle's word; a run ends with its first failure.
        case failure(oracle: String)
        /// The phases of a run: "faults", "healed", …
        case phase(String)
    }
    package var at: Int64
    /// Whose line it is on; nil for all.
    package var peer: Int?
    /// The entry whose handling brought this one about, always an earlier one.
    package var cause: Int?
    package var kind: Kind
    package var text: String
    /// What content it is about.
    package var cids: [CID]

    package init(at: Int64, peer: Int?, cause: Int?, kind: Kind, text: String, cids: [CID] = []) {
        (self.at, self.peer, self.cause, self.kind, self.text, self.cids) = (at, peer, cause, kind, text, cids)
    }
}

/// A whole run, to be looked at.
package struct Trace: Sendable {
    package var title: String
    /// One line each: seed, options, replay command, verdict, settle time, ablation.
    package var facts: [(name: String, value: String)]
    package var peerNames: [String]
    /// Content that has a number before it comes up: c1, c2, …
    package var contents: [CID] = []
    package var entries: [TraceEntry]
    /// Each oracle with what it said: nil where it held.
    package var oracles: [(id: String, statement: String, failure: String?)]

    package init(
        title: String, facts: [(name: String, value: String)] = [], peerNames: [String] = [], entries: [TraceEntry] = [],
        oracles: [(id: String, statement: String, failure: String?)] = []
    ) {
        (self.title, self.facts, self.peerNames, self.entries, self.oracles) = (title, facts, peerNames, entries, oracles)
    }
}
