// Many runs: failures as they come, a ledger, and what a person wants to know of all of them.

import Foundation
import Kernel
import SimNet
import Synchronization

/// A seed that keeps the processor busy for so long does not end: what is wrong with it keeps within one step.
let secondsPerSeedMax = 300.0
let running = Mutex<(seed: UInt64, since: Double)?>(nil)
func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
func replay(_ seed: UInt64, _ drawing: Drawing) -> String { "  replay: ipfs-cluster-sim run --seed \(seed)\(drawing.words)" }

func watch(_ drawing: Drawing) {
    Thread.detachNewThread {
        while true {
            sleep(1)
            guard let (seed, since) = running.withLock({ $0 }), processorSeconds() - since > secondsPerSeedMax else { continue }
            print("seed \(seed) FAILED: ENDLESS: it has not ended within \(Int(secondsPerSeedMax)) s")
            print(replay(seed, drawing))
            fflush(nil)
            exit(1)
        }
    }
}

/// What a sweep is to do.
struct SweepOrder {
    var drawing: Drawing
    var first: UInt64
    var count: UInt64?
    var minutes: Double?
    var jobs: Int
    var awaited: [String]?
    var ledger: String?
}

func sweep(_ arguments: inout Arguments) {
    let drawing = arguments.drawing()
    let order = SweepOrder(
        drawing: drawing, first: arguments.number("--from") ?? 1, count: arguments.number("--seeds"),
        minutes: arguments.number("--minutes").map { Double($0) }, jobs: Int(arguments.number("--jobs") ?? 1),
        awaited: arguments.awaited(), ledger: arguments.text("--ledger"))
    // What a sweep of several jobs hands to each: seeds first, first + step, …, told line by line.
    let step = arguments.number("--worker")
    arguments.done()
    guard order.count != nil || order.minutes != nil else { fail("sweep needs --seeds K or --minutes M") }
    guard order.jobs >= 1 else { fail("--jobs needs at least 1") }
    if let step { work(order, step: step) }
    var tally = Tally()
    let ledger = order.ledger.map { Ledger(path: $0) }
    if order.awaited != nil || order.jobs == 1 {
        watch(drawing)
        runAll(order, step: 1) { entry in
            tally.add(entry)
            ledger?.append(entry, drawing)
            if let text = entry.failure { tell(entry.seed, text, drawing) }
        }
    } else {
        tallyBox.withLock { $0 = tally }  // its time counts from now on, not from the first result
        let lock = Mutex(())
        let workers = (0..<order.jobs).map { Worker(order, index: $0) }
        let threads = workers.map { worker in
            let done = DispatchSemaphore(value: 0)
            Thread.detachNewThread {
                worker.run { entry in
                    lock.withLock { _ in
                        tallyBox.withLock { $0.add(entry) }
                        ledger?.append(entry, drawing)
                        if let text = entry.failure { tell(entry.seed, text, drawing) }
                    }
                }
                done.signal()
            }
            return done
        }
        for thread in threads { thread.wait() }
        tally = tallyBox.withLock { $0 }
    }
    tally.report(drawing)
    exit(tally.failures.isEmpty ? 0 : 1)
}
private let tallyBox = Mutex(Tally())

private func tell(_ seed: UInt64, _ failure: String, _ drawing: Drawing) {
    print("seed \(seed) FAILED: \(failure)")
    print(replay(seed, drawing))
    fflush(nil)  // a later seed may trap
}

/// Who awaits a failure is told of each seed before it is run: it may trap.
func announce(_ seed: UInt64) { FileHandle.standardError.write(Data("seed \(seed)\n".utf8)) }

/// Runs the seeds in this process.
private func runAll(_ order: SweepOrder, step: UInt64, _ each: (LedgerEntry) -> Void) {
    let began = Date()
    var seed = order.first
    while true {
        if let count = order.count, seed >= order.first + count { return }
        if let minutes = order.minutes, Date().timeIntervalSince(began) > minutes * 60 { return }
        if order.awaited != nil { announce(seed) }
        running.withLock { $0 = (seed, processorSeconds()) }
        let start = Date()
        let verdict = Run(.random(seed, order.drawing)).execute()
        let entry = LedgerEntry(verdict, seconds: Date().timeIntervalSince(start))
        each(entry)
        if let failure = entry.failure, order.awaited?.contains(where: { failure.hasPrefix("\($0):") }) == true { return }
        seed += step
    }
}

/// A process of a sweep: a line when a seed begins, and its entry when it has ended.
private func work(_ order: SweepOrder, step: UInt64) -> Never {
    runAll(order, step: step) { entry in
        print(entry.json(order.drawing, commit: nil))
        fflush(nil)
    }
    exit(0)
}

/// One of several processes that share the seeds. A trap or a time-out is a failure of the seed that was under way, and another
/// process goes on behind it.
private struct Worker: Sendable {
    let order: SweepOrder
    let index: Int
    init(_ order: SweepOrder, index: Int) { (self.order, self.index) = (order, index) }

    func run(_ each: (LedgerEntry) -> Void) {
        let began = Date()
        let step = UInt64(order.jobs)
        var next = order.first + UInt64(index)
        while true {
            let left = order.minutes.map { $0 * 60 - Date().timeIntervalSince(began) }
            if let left, left <= 0 { return }
            let end = order.count.map { order.first + $0 }
            if let end, next >= end { return }
            guard let stopped = spawn(from: next, to: end, secondsLeft: left, each) else { return }
            each(LedgerEntry(seed: stopped.seed, failure: stopped.how))
            next = stopped.seed + step
        }
    }

    /// Nil when it has done all; else the seed that stopped it.
    private func spawn(
        from first: UInt64, to end: UInt64?, secondsLeft: Double?, _ each: (LedgerEntry) -> Void
    ) -> (seed: UInt64, how: String)? {
        let child = Foundation.Process()
        child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        var words = ["sweep", "--worker", "\(order.jobs)", "--from", "\(first)"]
        if let end { words += ["--seeds", "\(end - first)"] }
        if let secondsLeft { words += ["--minutes", "\(max(1, Int((secondsLeft / 60).rounded(.up))))"] }
        child.arguments = words + order.drawing.words.split(separator: " ").map(String.init)
        var environment = ProcessInfo.processInfo.environment
        environment["SWIFT_BACKTRACE"] = "enable=no"
        child.environment = environment
        let (output, errors) = (Pipe(), Pipe())
        (child.standardOutput, child.standardError) = (output, errors)
        do { try child.run() } catch { fail("cannot start \(child.executableURL?.path ?? "itself"): \(error.localizedDescription)") }
        let under = Mutex((seed: first, since: Date()))
        let timer = DispatchSource.makeTimerSource()
        timer.schedule(deadline: .now() + 1, repeating: 1)
        timer.setEventHandler { if Date().timeIntervalSince(under.withLock { $0.since }) > secondsPerSeedMax { child.terminate() } }
        timer.resume()
        let said = Mutex("")
        let heard = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile().suffix(4000), as: UTF8.self)
            said.withLock { $0 = text }
            heard.signal()
        }
        var rest = Data()
        while case let piece = output.fileHandleForReading.availableData, !piece.isEmpty {
            rest += piece
            while let newline = rest.firstIndex(of: 10) {
                let line = Data(rest[rest.startIndex..<newline])
                rest = Data(rest[rest.index(after: newline)...])
                guard let entry = LedgerEntry(json: line) else { continue }
                each(entry)
                under.withLock { $0 = (entry.seed + UInt64(order.jobs), Date()) }
            }
            if let secondsLeft, secondsLeft <= 0 { child.terminate() }
        }
        child.waitUntilExit()
        heard.wait()
        timer.cancel()
        if child.terminationReason == .exit, child.terminationStatus == 0 { return nil }
        let seed = under.withLock { $0.seed }
        if child.terminationReason == .uncaughtSignal, child.terminationStatus == SIGTERM { return (seed, "ENDLESS: it has not ended within \(Int(secondsPerSeedMax)) s") }
        let reason = said.withLock { $0 }.split(separator: "\n").first { $0.contains("Fatal error") } ?? "signal \(child.terminationStatus)"
        return (seed, "TRAP: \(reason)")
    }
}
