// Signals that end a peer in order, and what systemd is told. CLI-057, CLI-060..064.

import Foundation
import RealNet

/// Written to by the handler, which may do nothing else.
nonisolated(unsafe) private var signalPipe: Int32 = -1

enum Signals {
    /// SIGINT, SIGTERM and SIGHUP come on the loop.
    static func watch(_ loop: EventLoop, _ onSignal: @escaping () -> Void) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return }
        signalPipe = ends[1]
        let end = ends[0]
        _ = fcntl(end, F_SETFL, O_NONBLOCK)
        loop.watch(end, read: true, write: false) { _, _ in
            var bytes = [UInt8](repeating: 0, count: 16)
            let count = read(end, &bytes, bytes.count)
            for _ in 0..<max(0, count) { onSignal() }
        }
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { _ in
                var one: UInt8 = 1
                _ = write(signalPipe, &one, 1)
            }
        }
        // As Go's runtime: the first ends the process at once, and the others are nobody's.
        signal(SIGQUIT) { _ in
            let text: StaticString = "SIGQUIT: quit\n"
            _ = write(2, text.utf8Start, text.utf8CodeUnitCount)
            _exit(2)
        }
        for number in [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO] { signal(number, SIG_IGN) }
    }
}

enum Notifier {
    static func tell(_ text: String, environment: [String: String]) {
        guard let path = environment["NOTIFY_SOCKET"], !path.isEmpty else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(path.utf8)
        if bytes.first == UInt8(ascii: "@") { bytes[0] = 0 }  // an abstract name
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(descriptor, text, text.utf8.count, 0, $0, length) }
        }
    }
}
