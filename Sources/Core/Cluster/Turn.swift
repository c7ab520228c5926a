// One turn of a peer: the time, the choices and the effects of the step that is running.

import Kernel
import Seams

struct Turn: Sendable {
    var now = Now(monotonic: .origin, wall: .epoch)
    var choices = Choices(seed: 0)
    var effects: [PeerEffect] = []
    /// For whom it is, if not for the peer itself.
    var asker: Asker?
}
