// The process itself, as the world of the commands.

import Configuration
import Encoding
import Foundation
import Kernel
import RealNet
import Seams

extension ServiceWorld {
    /// `fetch` is HTTP GET with redirects followed; nil when nothing answers.
    package static func real(
        version: String, fetch: @escaping (_ url: String) throws -> FetchedSource?
    ) -> ServiceWorld {
        let environment = ProcessInfo.processInfo.environment
        let home = environment["HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory()
        let isTerminal = isatty(STDERR_FILENO) == 1
        return ServiceWorld(
            environment: environment, version: version, homeFolder: home, hostName: machineName(),
            readLine: { Swift.readLine() },
            printOut: { FileHandle.standardOutput.write(Data($0.utf8)) },
            printError: { FileHandle.standardError.write(Data($0.utf8)) },
            log: { line, levels in
                guard levels.shows(line) else { return }
                FileHandle.standardError.write(Data((line.formatted(at: wallTime(), isColoured: isTerminal) + "\n").utf8))
            },
            randomBytes: { count in
                var source = SystemRandomNumberGenerator()
                return (0..<count).map { _ in source.next() }
            },
            freePort: findFreePort, fetch: fetch, named: { try NamedAddresses().resolved($0).get() })
    }
}

private func machineName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

private func wallTime() -> WallTime {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return WallTime(seconds: Int64(now.tv_sec), nanoseconds: Int32(now.tv_nsec))
}

extension LogLine {
    /// CLI-012: time in UTC with milliseconds, level, logger and message, with tabs between them.
    package func formatted(at time: WallTime, isColoured: Bool = false) -> String {
        let (name, colour) = switch level {
        case .debug: ("DEBUG", 35)
        case .info: ("INFO", 34)
        case .warning: ("WARN", 33)
        case .error: ("ERROR", 31)
        }
        let milliseconds = String(time.nanoseconds / 1_000_000)
        let fraction = String(repeating: "0", count: 3 - milliseconds.count) + milliseconds
        let stamp = WallTime(seconds: time.seconds).rfc3339.dropLast() + ".\(fraction)Z"
        return "\(stamp)\t\(isColoured ? "\u{1b}[\(colour)m\(name)\u{1b}[0m" : name)\t\(component)\t\(message)"
    }
}

/// Asks the system for a port of this IP by binding to port 0.
package func findFreePort(_ ip: Bytes, _ isUDP: Bool) throws -> UInt16 {
    #if canImport(Glibc)
    let kind = Int32((isUDP ? SOCK_DGRAM : SOCK_STREAM).rawValue)
    #else
    let kind = isUDP ? SOCK_DGRAM : SOCK_STREAM
    #endif
    let descriptor = socket(ip.count == 4 ? AF_INET : AF_INET6, kind, 0)
    guard descriptor >= 0 else { throw ConfigurationError("socket: \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    var storage = sockaddr_storage()
    var length = socklen_t(ip.count == 4 ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size)
    return try withUnsafeMutableBytes(of: &storage) { raw in
        if ip.count == 4 {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            withUnsafeMutableBytes(of: &address.sin_addr) { $0.copyBytes(from: ip) }
            raw.storeBytes(of: address, as: sockaddr_in.self)
        } else {
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            withUnsafeMutableBytes(of: &address.sin6_addr) { $0.copyBytes(from: ip) }
            raw.storeBytes(of: address, as: sockaddr_in6.self)
        }
        guard let pointer = raw.bindMemory(to: sockaddr.self).baseAddress, bind(descriptor, pointer, length) == 0,
            getsockname(descriptor, pointer, &length) == 0
        else { throw ConfigurationError("bind: \(String(cString: strerror(errno)))") }
        // The port stands behind the family in both forms, high byte first.
        return UInt16(raw[2]) << 8 | UInt16(raw[3])
    }
}
