// What waits until the kernel takes it, in the pieces in which it was written: the large ones are not copied.

import Glibc
import Kernel

struct Outgoing {
    /// Pieces smaller than this are put together, so that they leave in one call.
    private static let smallBytes = 16 << 10

    private var pieces: [Bytes] = []
    /// The piece that is being sent, and how much of it has left.
    private var first = 0
    private var sent = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    mutating func append(_ bytes: Bytes) {
        if bytes.isEmpty { return }
        count += bytes.count
        if first < pieces.count, pieces[pieces.count - 1].count + bytes.count <= Outgoing.smallBytes {
            pieces[pieces.count - 1] += bytes
        } else {
            pieces.append(bytes)
        }
    }

    /// Gives the kernel as much as it takes; the code of what went wrong, or 0.
    mutating func send(to file: Int32) -> Int32 {
        while first < pieces.count {
            // The kernel fills its segments as long as it knows that more comes.
            let flags = Int32(MSG_NOSIGNAL) | (first + 1 < pieces.count ? Int32(MSG_MORE) : 0)
            let taken = pieces[first].withUnsafeBytes { Glibc.send(file, $0.baseAddress! + sent, $0.count - sent, flags) }
            if taken > 0 {
                advance(taken)
            } else if errno == EAGAIN || errno == EWOULDBLOCK {
                return 0
            } else if errno != EINTR {
                return errno
            }
        }
        return 0
    }

    private mutating func advance(_ taken: Int) {
        count -= taken
        sent += taken
        guard sent == pieces[first].count else { return }
        pieces[first] = []
        first += 1
        sent = 0
        if first == pieces.count || first > 64 && first * 2 > pieces.count {
            pieces.removeSubrange(..<first)
            first = 0
        }
    }
}
