// All that goes into a peer, and all that comes out of it.

import Kernel
import Multiformats
import Seams
import Storage

package enum PeerInput: Equatable, Sendable {
    /// First input of a run, once. The store has been opened by the initialiser.
    case start
    /// The deadline that the last `wake` effect named has passed. A late or early one is harmless.
    case wake
    case connection(ConnectionEvent)
    case stream(StreamEvent)
    case disk(DiskEvent)
    /// How a job has ended.
    case job(UInt64, JobOutcome)
    case exchange(ExchangeEvent)
    case client(ClientID, ClientRequest)
    case clientInput(ClientID, ClientInput)
    /// The client hung up: its request is dropped, nothing more is replied.
    case clientGone(ClientID)
    /// Stop in order: flush what is accepted, then `stopped`.
    case shutdown
}

/// Effects are carried out left to right; a crash can come between any two.
package enum PeerEffect: Equatable, Sendable {
    /// Replaces the earlier wake-up; nil for none.
    case wake(at: Instant?)
    case connection(ConnectionEffect)
    case stream(StreamEffect)
    case disk(DiskEffect)
    /// Long work, to be done beside the steps; answered by an input of the same number.
    case job(Job)
    case exchange(ExchangeEffect)
    case reply(ClientID, ClientReply)
    case log(LogLine)
    /// The peer is ready to serve (CLI-057).
    case ready
    /// Everything is flushed: the process may end.
    case stopped
    /// The peer cannot go on (a failed sync, a removed member). The text says what to do.
    case fatal(String)
}
