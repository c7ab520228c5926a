// A real peer's life once more, from its journal.

import Cluster
import Encoding
import Foundation
import Journal
import Kernel
import Seams
import SimNet

func replayJournal(_ arguments: inout Arguments) -> Never {
    let isQuiet = arguments.flag("--quiet")
    guard let path = arguments.word() else { fail("replay needs a JOURNAL") }
    arguments.done()
    guard let file = fopen(path, "rb") else {
        printError("\(path): \(String(cString: strerror(errno)))")
        exit(1)
    }
    do { exit(try Replay(path, file, isQuiet: isQuiet).run()) } catch {
        printError("\(path): \(error)")
        exit(1)
    }
}

/// Not by way of a buffer: what is printed before a step is there to be read when the step traps.
private func say(_ line: String) { FileHandle.standardOutput.write(Data("\(line)\n".utf8)) }
private func printError(_ text: String) { FileHandle.standardError.write(Data("\(text)\n".utf8)) }

private struct Replay {
    let path: String
    let isQuiet: Bool
    let replayer: Replayer

    init(_ path: String, _ file: UnsafeMutablePointer<FILE>, isQuiet: Bool) throws(JournalError) {
        (self.path, self.isQuiet) = (path, isQuiet)
        replayer = try Replayer(
            read: { count in
                Bytes(unsafeUninitializedCapacity: count) { room, filled in
                    filled = room.baseAddress.map { fread($0, 1, count, file) } ?? 0
                }
            },
            onDifference: Replay.show)
    }

    /// The exit status: 0 if the same effects came of every input.
    func run() -> Int32 {
        let opening = replayer.opening
        say("\(opening.settings.peerName) \(opening.settings.me), version \(opening.settings.version), opened at \(opening.now.wall.rfc3339)")
        Trap.watch()
        show(replayer.open(), at: opening.now)
        while let (now, input) = replayer.nextInput() {
            Trap.input = replayer.inputs
            if !isQuiet { say("\(stamp(now)) ← \(describe(input))") }
            show(replayer.step(), at: now)
        }
        return report()
    }

    private func show(_ effects: [PeerEffect], at now: Now) {
        guard !isQuiet else { return }
        for effect in effects {
            switch effect {
            case .reply(let client, let reply): say("\(stamp(now)) → client \(client.number): \(describe(reply))")
            case .log(let line): say("\(stamp(now))   \(line.level) \(line.component): \(line.message)")
            case .fatal(let reason): say("\(stamp(now))   gives up: \(reason)")
            case .ready: say("\(stamp(now))   is ready")
            case .stopped: say("\(stamp(now))   has stopped")
            case .wake, .connection, .stream, .disk, .job, .exchange: break
            }
        }
    }

    /// Seconds since the peer was opened.
    private func stamp(_ now: Now) -> String {
        String(format: "%10.3f", Double((now.monotonic - replayer.opening.now.monotonic).nanoseconds) / 1e9)
    }

    private static func show(_ difference: ReplayDifference) {
        let step = difference.step == 0 ? "the opening of the peer" : "input \(difference.step)"
        say("FIRST DIFFERENCE: in \(step), \(difference.place) (byte \(difference.offset) of the journal)")
        say("  recorded: \(difference.recorded ?? "nothing")")
        say("  replayed: \(difference.replayed ?? "nothing")")
    }

    private func report() -> Int32 {
        let counts = "\(replayer.inputs) inputs, \(replayer.sameEffects) effects"
        if let error = replayer.error {
            say("\(counts) were the same until there")
            printError("\(path): \(error)")
            return 1
        }
        switch replayer.ending {
        case .said(.closed): say("the journal ends with the peer")
        case .said(.full): say("the journal had reached its bound: the peer went on")
        case .said(.failed): say("the disk took no more of the journal: the peer went on")
        case .broken(let offset, let isTorn):
            say("the journal ends at byte \(offset)\(isTorn ? ", within a record" : ""): the process was killed, or the file cut")
        case nil: break
        }
        if replayer.difference != nil {
            say("\(counts) were the same before the difference")
            return 1
        }
        if replayer.endsWithinStep { say("what came of the last input is not in it: the process ended within that step") }
        say("\(counts): the same effects byte for byte")
        return 0
    }
}

/// A step that traps says at least in which input.
private enum Trap {
    nonisolated(unsafe) static var input = 0

    static func watch() {
        for number in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE] {
            signal(number) { number in
                Trap.say("the replay trapped in input ")
                Trap.say(Trap.input)
                Trap.say("\n")
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }

    /// Nothing here may allocate.
    private static func say(_ text: StaticString) { _ = write(2, text.utf8Start, text.utf8CodeUnitCount) }
    private static func say(_ number: Int) {
        var divisor = 1
        while number / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            var digit = UInt8(48 + number / divisor % 10)
            _ = write(2, &digit, 1)
            divisor /= 10
        }
    }
}
