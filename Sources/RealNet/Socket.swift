// One TCP connection on the loop: what is written waits here until the kernel takes it.

import Glibc
import Kernel
import Multiformats

package final class Socket: @unchecked Sendable {
    package enum Event {
        case connected
        case bytes(Bytes)
        /// The kernel took so many of the bytes that wait.
        case written(Int)
        /// And all of them.
        case drained
        /// The other side ended, or the connection broke. The last event.
        case closed(reason: String)
    }

    private let loop: EventLoop
    private let file: Int32
    private var onEvent: ((Event) -> Void)?
    private var outgoing = Outgoing()
    private var isConnecting: Bool
    private var isReading = true
    private var hasEnded = false
    /// The other side sends nothing more, and may still listen. Where nobody asks, and with TLS, the connection ends with it.
    package var onEnd: (() -> Void)?
    private var isWriteWatched = false
    private var isFlushPlanned = false
    private var isClosing = false
    private var isClosed = false
    private var tls: TLSSession?
    package let remote: SocketAddress

    /// A connection that was accepted.
    init(loop: EventLoop, accepted file: Int32, remote: SocketAddress, tls: TLSSession? = nil) {
        self.loop = loop
        self.file = file
        self.remote = remote
        self.tls = tls
        isConnecting = false
    }

    /// Begins to connect. `connected` or `closed` follows.
    package init(loop: EventLoop, connectTo remote: SocketAddress, tls: TLSSession? = nil) {
        self.loop = loop
        self.remote = remote
        self.tls = tls
        file = Glibc.socket(remote.family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        isConnecting = true
    }

    /// Sets who hears of it, and starts it.
    package func start(_ onEvent: @escaping (Event) -> Void) {
        self.onEvent = onEvent
        guard file >= 0 else { return fail("socket: \(Machine.errorText(errno))") }
        Socket.setNoDelay(file)
        if isConnecting {
            let result = remote.withPointer { Glibc.connect(file, $0, $1) }
            if result != 0 && errno != EINPROGRESS { return fail(errno) }
        }
        loop.watch(file, read: !isConnecting, write: isConnecting) { [weak self] in self?.onReady($0, $1) }
        isWriteWatched = isConnecting
        if !isConnecting { handshake() }
    }

    /// Hands a running socket to somebody else.
    package func onEvents(_ onEvent: @escaping (Event) -> Void) { if !isClosed { self.onEvent = onEvent } }

    static func setNoDelay(_ file: Int32) {
        var one: Int32 = 1
        setsockopt(file, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    }

    /// DIAL-06: what lies between is to keep the connection in mind.
    package func keepAlive() {
        var (one, seconds): (Int32, Int32) = (1, 30)
        let size = socklen_t(MemoryLayout<Int32>.size)
        setsockopt(file, SOL_SOCKET, SO_KEEPALIVE, &one, size)
        for option in [TCP_KEEPIDLE, TCP_KEEPINTVL] { setsockopt(file, Int32(IPPROTO_TCP), option, &seconds, size) }
    }

    /// What is read at once, if the loop has room for it.
    package var bytesPerRead = Int.max
    /// For bytes that may be much work each: a few can name hundreds of blocks.
    package static let bytesOfWorkPerRead = 32 << 10
    /// What is read before others have their turn.
    private static let bytesPerTurn = 1 << 20
    package var queuedBytes: Int { outgoing.count }
    package var local: SocketAddress? { SocketAddress.local(of: file) }

    // MARK: Commands

    package func write(_ bytes: Bytes) {
        guard !isClosed, !isClosing, !bytes.isEmpty else { return }
        if let tls {
            tls.write(bytes)
            outgoing.append(tls.takeOutgoing())
        } else {
            outgoing.append(bytes)
        }
        planFlush()
    }

    package func pauseReading() { setReading(false) }
    package func resumeReading() { setReading(true) }
    private func setReading(_ reading: Bool) {
        guard !isClosed, !hasEnded, isReading != reading else { return }
        isReading = reading
        if !isConnecting { loop.rewatch(file, read: isReading, write: isWriteWatched) }
    }

    /// Ends at once; nothing more is reported.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        onEvent = nil
        retained = nil
        guard file >= 0 else { return }
        loop.unwatch(file)
        Glibc.close(file)
    }

    /// Writes what waits for as long as the other side takes it, says that no more will come, and closes once it has read that
    /// or after a moment: a close with unread input would make the kernel take back what was written.
    package func closeWhenFlushed() {
        guard !isClosed, !isClosing else { return }
        isClosing = true
        onEvent = nil
        if let tls {
            tls.shutDown()
            outgoing.append(tls.takeOutgoing())
        }
        retained = self
        flush()
        closeWhenStuck()
    }
    private func closeWhenStuck() {
        let left = queuedBytes
        loop.after(Socket.patience) { [weak self] in
            guard let self, !isClosed else { return }
            if queuedBytes < left { closeWhenStuck() } else { close() }
        }
    }
    /// How long the other side may take nothing.
    private static let patience = Span.seconds(30)
    /// Keeps a closing socket alive until it is closed.
    private var retained: Socket?

    // MARK: Events

    private func onReady(_ canRead: Bool, _ canWrite: Bool) {
        if isConnecting {
            guard canWrite else { return }
            var code: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(file, SOL_SOCKET, SO_ERROR, &code, &length)
            guard code == 0 else { return fail(code) }
            isConnecting = false
            isWriteWatched = false
            loop.rewatch(file, read: isReading, write: false)
            if tls == nil { onEvent?(.connected) } else { handshake() }
            planFlush()
            return
        }
        if canWrite { flush() }
        if canRead && hasEnded && !isClosing { return fail("the other side has closed") }  // nothing else is heard of any more
        if canRead && (isReading || isClosing) { receive() }
    }

    private func handshake() {
        guard let tls else { return }
        guard digest(tls.advance()) else { return }
        outgoing.append(tls.takeOutgoing())
        planFlush()
    }

    /// False if the connection has ended over it.
    private func digest(_ outcome: TLSSession.Outcome) -> Bool {
        switch outcome {
        case .nothing: return true
        case .established: onEvent?(.connected)
        case .failed(let reason):
            if let tls { outgoing.append(tls.takeOutgoing()) }
            if reason == TLSSession.plainHTTP { outgoing.append(Socket.answerToPlainHTTP) }
            flush()  // The alert tells the other side why.
            fail(reason)
            return false
        }
        return !isClosed
    }

    /// Whoever forgets the https is told so, as Go's server does.
    private static let answerToPlainHTTP = Bytes(
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n".utf8)

    private func receive() {
        let buffer = loop.scratch
        let most = min(buffer.count, bytesPerRead)
        var left = Socket.bytesPerTurn
        while left > 0 {
            guard !isClosed, isReading || isClosing else { return }
            let count = Glibc.recv(file, buffer.baseAddress, most, 0)
            if count > 0 {
                left -= count
                if isClosing { continue }
                deliver(Bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count])))
                if count < most || loop.isLong { return }
            } else if count == 0 {
                if isClosing { return close() }
                return onEnd != nil && tls == nil ? endReading() : fail("EOF")
            } else if errno == EAGAIN || errno == EWOULDBLOCK {
                return
            } else if errno != EINTR {
                return fail("read: \(Machine.errorText(errno))")
            }
        }
    }

    private func endReading() {
        (isReading, hasEnded) = (false, true)
        loop.rewatch(file, read: false, write: isWriteWatched)
        onEnd?()
    }

    private func deliver(_ bytes: Bytes) {
        guard let tls else {
            onEvent?(.bytes(bytes))
            return
        }
        guard digest(tls.receive(bytes)) else { return }
        let (clear, ended) = tls.read()
        outgoing.append(tls.takeOutgoing())
        planFlush()
        if !clear.isEmpty { onEvent?(.bytes(clear)) }
        if !isClosed, let ended { fail(ended) }
    }

    private func planFlush() {
        guard !isFlushPlanned, !isClosed else { return }
        isFlushPlanned = true
        loop.later { [self] in
            isFlushPlanned = false
            flush()
        }
    }

    private func flush() {
        guard !isClosed, !isConnecting else { return }
        let before = outgoing.count
        let code = outgoing.send(to: file)
        guard code == 0 else { return fail("write: \(Machine.errorText(code))") }
        let taken = before - outgoing.count
        let mustWait = !outgoing.isEmpty
        if mustWait != isWriteWatched {
            isWriteWatched = mustWait
            loop.rewatch(file, read: isReading || isClosing, write: mustWait)
        }
        if outgoing.isEmpty {
            if isClosing {
                Glibc.shutdown(file, Int32(SHUT_WR))
                loop.rewatch(file, read: true, write: false)
                loop.after(.milliseconds(500)) { [weak self] in self?.close() }
            }
        }
        guard taken > 0, !isClosing else { return }
        onEvent?(.written(taken))
        if !isClosed && outgoing.isEmpty { onEvent?(.drained) }
    }

    private func fail(_ code: Int32) { fail("connect: \(Machine.errorText(code))") }
    private func fail(_ reason: String) {
        guard !isClosed else { return }
        let report = onEvent
        close()
        report?(.closed(reason: reason))
    }
}

/// A listening socket.
package final class Listener: @unchecked Sendable {
    private let loop: EventLoop
    private let file: Int32
    package let address: SocketAddress

    package init(loop: EventLoop, on address: SocketAddress) throws(ListenFailure) {
        self.loop = loop
        let file = Glibc.socket(
            address.family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        if address.family == AF_INET6 {
            setsockopt(file, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &one, socklen_t(MemoryLayout<Int32>.size))
        }
        guard file >= 0, Listener.bind(file, address), Glibc.listen(file, 512) == 0 else {
            let reason = Machine.errorText(errno)
            if file >= 0 { Glibc.close(file) }
            throw ListenFailure(reason: "listen \(address.network) \(address): bind: \(reason)")
        }
        self.file = file
        self.address = SocketAddress.local(of: file) ?? address
    }

    private static func bind(_ file: Int32, _ address: SocketAddress) -> Bool {
        let bound = { address.withPointer { Glibc.bind(file, $0, $1) } == 0 }
        if bound() { return true }
        guard errno == EADDRINUSE, let path = address.path, Listener.isDead(path, address) else { return false }
        return unlink(path) == 0 && bound()
    }

    /// A socket of the file system that nobody listens on: a peer that was killed has left it. Sets errno to what `bind` said.
    private static func isDead(_ path: String, _ address: SocketAddress) -> Bool {
        defer { errno = EADDRINUSE }
        var about = stat()
        guard lstat(path, &about) == 0, about.st_mode & S_IFMT == S_IFSOCK else { return false }
        let probe = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard probe >= 0 else { return false }
        defer { Glibc.close(probe) }
        return address.withPointer { Glibc.connect(probe, $0, $1) } != 0 && errno == ECONNREFUSED
    }

    /// `onAccept` hears of each connection, before its socket is started.
    package func start(tls: TLSContext? = nil, _ onAccept: @escaping (Socket) -> Void) {
        loop.watch(file, read: true, write: false) { [weak self] _, _ in
            guard let self else { return }
            for _ in 0..<64 {
                var storage = sockaddr_storage()
                var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
                let accepted = withUnsafeMutablePointer(to: &storage) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        Glibc.accept(file, $0, &length)
                    }
                }
                guard accepted >= 0 else { return rest() }
                _ = fcntl(accepted, F_SETFL, O_NONBLOCK)
                _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
                onAccept(
                    Socket(
                        loop: loop, accepted: accepted, remote: SocketAddress(storage: storage, length: length),
                        tls: tls?.session(.server)))
            }
        }
    }

    /// Out of file descriptors: the connection waits in the kernel; asking again at once would spin.
    private func rest() {
        guard errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM else { return }
        loop.rewatch(file, read: false, write: false)
        loop.after(.milliseconds(100)) { [weak self] in
            guard let self else { return }
            loop.rewatch(file, read: true, write: false)
        }
    }

    package func close() {
        loop.unwatch(file)
        Glibc.close(file)
        if let path = address.path { unlink(path) }
    }
}

package struct ListenFailure: Error, Sendable, CustomStringConvertible {
    package let reason: String
    package var description: String { reason }
}
