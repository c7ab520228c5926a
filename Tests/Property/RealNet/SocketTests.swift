// Bytes through real sockets: all of them, in their order, however large the pieces.

import Foundation
import Kernel
import Multiformats
import RealNet
import Testing

@Suite(.serialized) struct SocketTests {
    @Test func whatIsWrittenArrivesInItsOrder() throws {
        let loop = EventLoop()
        let here = try #require(try Endpoint(host: "127.0.0.1", port: 0).resolved().get().first)
        let listener = try Listener(loop: loop, on: here)
        var choices = Choices(seed: 4)
        let pieces = (0..<400).map { _ in choices.bytes(choices.chance(1, in: 10) ? choices.below(900_000) : choices.below(300)) }
        let wanted = pieces.flatMap { $0 }
        var received: Bytes = [], written = 0, reading: Socket?
        listener.start { socket in
            reading = socket
            socket.start { event in
                guard case .bytes(let bytes) = event else { return }
                received += bytes
                if received.count >= wanted.count { return loop.stop() }
                // Whoever does not read for a while makes the other side's bytes pile up.
                guard received.count / 3_000_000 != (received.count - bytes.count) / 3_000_000 else { return }
                socket.pauseReading()
                loop.after(.milliseconds(5)) { socket.resumeReading() }
            }
        }
        let socket = Socket(loop: loop, connectTo: listener.address)
        var next = 0
        func write(_ count: Int) {
            for piece in pieces[next..<min(pieces.count, next + count)] { socket.write(piece) }
            next = min(pieces.count, next + count)
        }
        socket.start { event in
            switch event {
            case .connected: write(100)
            case .written(let count):
                written += count
                write(10)
            case .drained: write(50)
            case .bytes, .closed: Issue.record("\(event)")
            }
        }
        loop.after(.seconds(20)) { loop.stop() }
        loop.run()
        #expect(received == wanted && written == wanted.count && socket.queuedBytes == 0)
        socket.close()
        reading?.close()
        listener.close()
    }
}
