// One thread that waits for sockets, deadlines and finished work, and runs what follows of them.

import CEvents
import Glibc
import Kernel

/// The clocks and the entropy of the machine.
package enum Machine {
    package static var now: Now {
        var monotonic = timespec()
        var wall = timespec()
        clock_gettime(CLOCK_MONOTONIC, &monotonic)
        clock_gettime(CLOCK_REALTIME, &wall)
        return Now(
            monotonic: Instant(nanoseconds: Int64(monotonic.tv_sec) * 1_000_000_000 + Int64(monotonic.tv_nsec)),
            wall: WallTime(seconds: Int64(wall.tv_sec), nanoseconds: Int32(wall.tv_nsec)))
    }

    /// What the calling thread has worked: it does not count where the processor was another's.
    static var worked: Span {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return .nanoseconds(Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    package static func entropy(_ count: Int) -> Bytes {
        var generator = SystemRandomNumberGenerator()
        var out: Bytes = []
        while out.count < count { withUnsafeBytes(of: generator.next()) { out += $0.prefix(count - out.count) } }
        return out
    }

    /// Buffers come and go by the hundred kilobytes. By default, glibc gives each back to the system and has it zeroed again.
    static func keepFreedMemory() {
        mallopt(M_MMAP_THRESHOLD, 4 << 20)
        mallopt(M_TRIM_THRESHOLD, 16 << 20)
    }

    package static var memoryBytes: Int { sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)) }

    /// Files and sockets that this process may have open; as many as it may ask for, as Go's programs do.
    package static func raisedDescriptorLimit() -> Int {
        var limit = rlimit()
        let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        getrlimit(files, &limit)
        var raised = limit
        raised.rlim_cur = limit.rlim_max
        return Int(clamping: setrlimit(files, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur)
    }

    package static func errorText(_ code: Int32) -> String { String(cString: strerror(code)).lowercased() }
}

/// Everything hung on a loop is touched on the loop's thread alone; only `post` may be called from others. That is why the
/// classes of this module are marked `@unchecked Sendable`.
package final class EventLoop: @unchecked Sendable {
    package typealias Ready = (_ canRead: Bool, _ canWrite: Bool) -> Void

    private struct Timer: Comparable {
        let at: Instant
        let number: UInt64
        static func < (a: Self, b: Self) -> Bool { (a.at, a.number) < (b.at, b.number) }
    }
    package struct TimerID: Sendable {
        fileprivate let at: Instant
        fileprivate let number: UInt64
    }

    private let poll: Int32
    private let wakeUp: Int32
    private var handlers: [Int32: Ready] = [:]
    private var timers = SortedMap<Timer, () -> Void>()
    private var timerNumber: UInt64 = 0
    private var soon: [() -> Void] = []
    /// What other threads have posted, in this order.
    private var arrived = FIFO<@Sendable () -> Void>()
    private var isRunning = false
    /// Where sockets read into, one after another.
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
    private let posted = Posted()
    package private(set) var now = Machine.now
    /// The longest time for which nobody was listened to.
    package var longestRound = Span.zero
    /// The same in processor time, on a machine that is busy with other things too.
    package var longestWork = Span.zero

    package init() {
        poll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wakeUp = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        invariant(poll >= 0 && wakeUp >= 0, "no event queue: \(Machine.errorText(errno))")
        watch(wakeUp, read: true, write: false) { [wakeUp] _, _ in
            var count: UInt64 = 0
            _ = Glibc.read(wakeUp, &count, 8)
        }
        signal(SIGPIPE, SIG_IGN)
        Machine.keepFreedMemory()
    }
    deinit {
        Glibc.close(poll)
        Glibc.close(wakeUp)
        scratch.deallocate()
    }

    // MARK: Files

    package func watch(_ file: Int32, read: Bool, write: Bool, _ ready: @escaping Ready) {
        let isKnown = handlers.updateValue(ready, forKey: file) != nil
        control(isKnown ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, file, read, write)
    }
    package func rewatch(_ file: Int32, read: Bool, write: Bool) { control(EPOLL_CTL_MOD, file, read, write) }
    package func unwatch(_ file: Int32) {
        guard handlers.removeValue(forKey: file) != nil else { return }
        control(EPOLL_CTL_DEL, file, false, false)
    }
    private func control(_ operation: Int32, _ file: Int32, _ read: Bool, _ write: Bool) {
        var event = epoll_event()
        event.events = (read ? EPOLLIN.rawValue : 0) | (write ? EPOLLOUT.rawValue : 0)
        event.data.fd = file
        epoll_ctl(poll, operation, file, &event)
    }

    // MARK: Time

    @discardableResult
    package func at(_ instant: Instant, _ work: @escaping () -> Void) -> TimerID {
        timerNumber += 1
        timers[Timer(at: instant, number: timerNumber)] = work
        return TimerID(at: instant, number: timerNumber)
    }
    @discardableResult
    package func after(_ span: Span, _ work: @escaping () -> Void) -> TimerID { at(Machine.now.monotonic + span, work) }
    package func cancel(_ timer: TimerID) { timers[Timer(at: timer.at, number: timer.number)] = nil }

    /// At the end of this round, before waiting again.
    package func later(_ work: @escaping () -> Void) { soon.append(work) }

    // MARK: Other threads

    /// From any thread: runs on the loop.
    package func post(_ work: @escaping @Sendable () -> Void) {
        posted.append(work)
        var one: UInt64 = 1
        _ = Glibc.write(wakeUp, &one, 8)
    }

    /// Runs at once what they have handed in so far.
    func runPosted() {
        for work in posted.takeAll() { arrived.append(work) }
        while let work = arrived.popFirst() { work() }
    }

    // MARK: Running

    /// Whoever waits on a socket is to be heard again before more of what has been put off is done.
    var isLong: Bool { Machine.now.monotonic - now.monotonic > .milliseconds(5) }

    package func stop() { isRunning = false }

    package func run() {
        isRunning = true
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        while isRunning {
            let count = epoll_wait(poll, &events, Int32(events.count), patience)
            now = Machine.now
            let worked = Machine.worked
            defer {
                longestRound = max(longestRound, Machine.now.monotonic - now.monotonic)
                longestWork = max(longestWork, Machine.worked - worked)
            }
            for event in events.prefix(max(0, Int(count))) {
                let bits = event.events
                let broken = bits & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0
                handlers[event.data.fd]?(bits & EPOLLIN.rawValue != 0 || broken, bits & EPOLLOUT.rawValue != 0 || broken)
            }
            for work in posted.takeAll() { arrived.append(work) }
            // One at least, however long the files took: a socket that is always ready would keep the disk from being heard.
            var isFirst = true
            while isFirst || !isLong, let work = arrived.popFirst() {
                work()
                isFirst = false
            }
            runTimers()
            runSoon()
        }
    }

    /// What these set themselves has the next round, also where it is due at once: the sockets are to be heard in between.
    private func runTimers() {
        let last = timerNumber
        var next = timers.first
        while let timer = next, timer.key.at <= now.monotonic {
            if timer.key.number <= last {
                timers[timer.key] = nil
                timer.value()
            }
            next = timers.first(after: timer.key)
        }
    }

    /// Once at least, however long the round was: answers leave here. What these works put off again has its turn too, but not without
    /// end: a socket that always takes more would keep all others waiting.
    private func runSoon() {
        var turns = 0
        while !soon.isEmpty, turns == 0 || turns < 16 && !isLong {
            turns += 1
            let works = soon
            soon = []
            for work in works { work() }
        }
    }

    /// Milliseconds until the next timer, rounded up.
    private var patience: Int32 {
        guard soon.isEmpty, arrived.isEmpty else { return 0 }
        guard let next = timers.first?.key.at else { return -1 }
        let now = Machine.now.monotonic
        return next <= now ? 0 : Int32(min(((next - now).nanoseconds + 999_999) / 1_000_000, 3_600_000))
    }
}

/// What other threads have handed in.
private final class Posted: @unchecked Sendable {
    private let lock = Lock()
    private var works: [@Sendable () -> Void] = []
    func append(_ work: @escaping @Sendable () -> Void) { lock.held { works.append(work) } }
    func takeAll() -> [@Sendable () -> Void] {
        lock.held {
            defer { works = [] }
            return works
        }
    }
}

final class Lock: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    init() { pthread_mutex_init(mutex, nil) }
    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }
    func held<T>(_ body: () -> T) -> T {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }
}

/// A thread that does one thing after another: syncs, name lookups.
package final class Worker: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    private let lock = Lock()
    private var works: [@Sendable () -> Void] = []

    /// The thread lives as long as the process.
    package init() {
        sem_init(semaphore, 0, 0)
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self).toOpaque()
        pthread_create(&thread, nil, { raw in
            let worker = Unmanaged<Worker>.fromOpaque(raw!).takeUnretainedValue()
            while true { worker.next()() }
        }, context)
        pthread_detach(thread)
    }
    package func run(_ work: @escaping @Sendable () -> Void) {
        lock.held { works.append(work) }
        sem_post(semaphore)
    }
    private func next() -> @Sendable () -> Void {
        while sem_wait(semaphore) != 0 {}
        return lock.held { works.removeFirst() }
    }
}
