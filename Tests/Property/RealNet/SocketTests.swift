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

    /// Whoever takes long over what was read is not given more of it before others had their turn.
    @Test func muchThatWasReadIsTakenInTurns() throws {
        let loop = EventLoop()
        let here = try #require(try Endpoint(host: "127.0.0.1", port: 0).resolved().get().first)
        let listener = try Listener(loop: loop, on: here)
        let count = 2 << 20
        var received = 0, inTurn = 0, most = 0, reading: Socket?
        listener.start { socket in
            reading = socket
            socket.bytesPerRead = Socket.bytesOfWorkPerRead
            socket.start { event in
                guard case .bytes(let bytes) = event else { return }
                usleep(6000)
                received += bytes.count
                if inTurn == 0 {
                    loop.later {
                        most = max(most, inTurn)
                        inTurn = 0
                    }
                }
                inTurn += bytes.count
                if received >= count { loop.stop() }
            }
        }
        let socket = Socket(loop: loop, connectTo: listener.address)
        socket.start { if case .connected = $0 { socket.write(Bytes(repeating: 7, count: count)) } }
        loop.after(.seconds(20)) { loop.stop() }
        loop.run()
        #expect(received == count && most > 0 && most <= 64 << 10, "\(most) bytes")
        socket.close()
        reading?.close()
        listener.close()
    }

    /// What is to be done at once, again and again, keeps nobody else from being heard.
    @Test func timersThatAreDueTakeTurns() throws {
        let loop = EventLoop()
        var (times, others) = (0, 0)
        nonisolated(unsafe) var isHeard = false  // on the loop's thread
        func again() {
            times += 1
            if times == 1 { loop.post { isHeard = true } }
            if times < 1000 { loop.at(Instant(nanoseconds: .min)) { again() } }
            if isHeard, others > 0 { loop.stop() }
        }
        loop.at(Instant(nanoseconds: .min)) { again() }
        loop.after(.zero) { others += 1 }
        loop.after(.seconds(5)) { loop.stop() }
        loop.run()
        #expect(isHeard && others == 1 && times < 10, "\(times) times")
    }
}
