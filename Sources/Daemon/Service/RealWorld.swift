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
        version: String, environment: [String: String] = ProcessInfo.processInfo.environment,
        fetch: @escaping (_ url: String) throws -> FetchedSource?
    ) -> ServiceWorld {
        let home = environment["HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory()
        let setup = LogSetup(environment: environment, isTerminal: isTerminal)
        complain(setup.complaints)
        let logs = setup.targets.map { openLog($0) }
        return ServiceWorld(
            environment: environment, version: version, homeFolder: home, hostName: machineName(),
            readLine: { Swift.readLine() },
            printOut: { FileHandle.standardOutput.write(Data($0.utf8)) }, printError: complain,
            log: { line, levels in
                guard levels.shows(line) else { return }
                let data = Data((setup.formatted(line, at: wallTime()) + "\n").utf8)
                for log in logs { log.write(data) }
            },
            randomBytes: { count in
                var source = SystemRandomNumberGenerator()
                return (0..<count).map { _ in source.next() }
            },
            freePort: findFreePort, fetch: fetch, named: { try NamedAddresses().resolved($0).get() })
    }
}

private func complain(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }

private func isTerminal(_ target: LogSetup.Target) -> Bool {
    switch target {
    case .error: return isatty(STDERR_FILENO) == 1
    case .out: return isatty(STDOUT_FILENO) == 1
    case .file(let path):
        let file = open(path, O_WRONLY | O_CLOEXEC)
        defer { close(file) }
        return isatty(file) == 1
    }
}

/// A log that cannot be written to ends the process, as upstream: nobody would see what the peer says.
private func openLog(_ target: LogSetup.Target) -> FileHandle {
    switch target {
    case .error: return .standardError
    case .out: return .standardOutput
    case .file(let path):
        let file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o666)
        guard file >= 0 else {
            complain("unable to open logging output: open \(path): \(String(cString: strerror(errno)))\n")
            exit(2)
        }
        return FileHandle(fileDescriptor: file, closeOnDealloc: true)
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
