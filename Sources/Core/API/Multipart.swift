// A multipart body, read as it comes. RFC 2046 section 5.1; what ends a line follows the first boundary, as in Go.

import HTTP
import Kernel

struct MultipartError: Error, Equatable, Sendable {
    let message: String
}

/// The values are bytes: names of files need not be UTF-8.
struct PartHeader: Equatable, Sendable {
    private var fields: [(name: String, value: Bytes)] = []
    /// The first of that name; empty where there is none.
    subscript(name: String) -> Bytes { fields.first { HTTPFields.same($0.name, name) }?.value ?? [] }
    static func == (a: Self, b: Self) -> Bool { a.fields.elementsEqual(b.fields, by: ==) }

    mutating func add(_ name: some Sequence<UInt8>, _ value: ArraySlice<UInt8>) {
        fields.append((String(decoding: Bytes(name), as: UTF8.self), PartHeader.trimmed(value)))
    }
    /// A line that begins with a blank goes on with the value before it. False if there is none.
    mutating func continueLast(_ line: ArraySlice<UInt8>) -> Bool {
        guard let last = fields.indices.last else { return false }
        fields[last].value += (fields[last].value.isEmpty ? [] : [UInt8(ascii: " ")]) + PartHeader.trimmed(line)
        return true
    }
    private static func trimmed(_ text: ArraySlice<UInt8>) -> Bytes {
        text.lastIndex { !isBlank($0) }.map { Bytes(text[...$0].drop(while: isBlank)) } ?? []
    }
}

struct Multipart: Sendable {
    enum Event: Equatable, Sendable {
        case part(PartHeader)
        case data(Bytes)
        case endOfPart
        /// The last boundary; what follows it means nothing.
        case end
    }
    private enum State: Equatable, Sendable {
        case preamble  // before the first boundary
        case headers  // of a part
        case body(isAtStart: Bool)  // of a part; a boundary may stand at its very start
        case afterBoundary  // before "--" or the end of the line
        case ended
    }

    private let dashes: Bytes
    private var lineEnd = Bytes("\r\n".utf8)
    private let headerLimit: Int
    private var state = State.preamble
    private var buffer: Bytes = []
    /// The first byte in the buffer that is not consumed.
    private var start = 0
    private var isFirst = true
    /// The header of the part that is being read, and its length so far.
    private var header = PartHeader()
    private var headerCount = 0

    init(boundary: String, headerLimit: Int) {
        dashes = Bytes("--\(boundary)".utf8)
        self.headerLimit = headerLimit
    }

    mutating func feed(_ bytes: Bytes, events: inout [Event]) throws(MultipartError) {
        if state == .ended { return }
        buffer += bytes
        while try step(&events) {}
        buffer.removeFirst(start)
        start = 0
        if state == .ended { buffer = [] }
    }

    /// The body is over. What was held back because it could have begun a boundary was data.
    mutating func finish(events: inout [Event]) {
        if case .body(let isAtStart) = state {
            let held = buffer[start...]
            // As much of a boundary as there is belongs to it.
            if !(isAtStart ? dashes : lineEnd + dashes).starts(with: held) { events.append(.data(Bytes(held))) }
            events.append(.endOfPart)
        }
        buffer = []
    }

    /// False where more bytes are needed.
    private mutating func step(_ events: inout [Event]) throws(MultipartError) -> Bool {
        switch state {
        case .preamble: return try skipPreamble()
        case .afterBoundary: return try readBoundaryEnd(&events)
        case .headers: return try readHeaders(&events)
        case .body(let isAtStart): return readBody(isAtStart, &events)
        case .ended: return false
        }
    }

    private mutating func skipPreamble() throws(MultipartError) -> Bool {
        guard let isBoundary = isBoundary(dashes, at: start) else { return false }
        if isBoundary {
            start += dashes.count
            state = .afterBoundary
            return true
        }
        guard let newline = buffer[start...].firstIndex(of: 0x0a) else {
            try check(buffer.count - start)
            return false
        }
        start = newline + 1
        return true
    }

    /// After "--boundary": "--" ends the form; else only blanks may stand before the line's end.
    private mutating func readBoundaryEnd(_ events: inout [Event]) throws(MultipartError) -> Bool {
        let rest = buffer[start...]
        if rest.starts(with: "--".utf8) { state = .ended; events.append(.end); return true }
        guard let newline = rest.firstIndex(of: 0x0a) else { try check(rest.count); return false }
        var line = rest[...newline]
        while let first = line.first, first == 0x20 || first == 0x09 { line.removeFirst() }
        if isFirst && line.elementsEqual([0x0a]) { lineEnd = [0x0a] }
        guard line.elementsEqual(lineEnd) else {
            throw MultipartError(message: "multipart: unexpected text after a boundary")
        }
        isFirst = false
        start = newline + 1
        state = .headers
        return true
    }

    /// A line at a time, so that a trickle of bytes is not read again and again.
    private mutating func readHeaders(_ events: inout [Event]) throws(MultipartError) -> Bool {
        guard let newline = buffer[start...].firstIndex(of: 0x0a) else {
            try check(headerCount + buffer.count - start)
            return false
        }
        var line = buffer[start..<newline]
        headerCount += newline + 1 - start
        try check(headerCount)
        start = newline + 1
        if line.last == 0x0d { line.removeLast() }
        if line.isEmpty {
            state = .body(isAtStart: true)
            events.append(.part(header))
            (header, headerCount) = (PartHeader(), 0)
            return true
        }
        if let first = line.first, isBlank(first), header.continueLast(line) { return true }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex, !isBlank(line[line.startIndex]) else {
            throw MultipartError(message: "multipart: a part's header has a line without a name")
        }
        header.add(line[..<colon], line[(colon + 1)...])
        return true
    }

    private mutating func readBody(_ isAtStart: Bool, _ events: inout [Event]) -> Bool {
        if isAtStart {
            guard let isBoundary = isBoundary(dashes, at: start) else { return false }
            if isBoundary { endPart(after: start + dashes.count, &events); return true }
            state = .body(isAtStart: false)
        }
        let delimiter = lineEnd + dashes
        var from = start
        while let candidate = buffer[from...].firstIndex(of: delimiter[0]) {
            guard let isBoundary = isBoundary(delimiter, at: candidate) else { give(upTo: candidate, &events); return false }
            if isBoundary {
                give(upTo: candidate, &events)
                endPart(after: candidate + delimiter.count, &events)
                return true
            }
            from = candidate + 1
        }
        give(upTo: buffer.count, &events)
        return false
    }

    /// Nil where the bytes so far could still become one. After the boundary must come its line's end or "--".
    private func isBoundary(_ delimiter: Bytes, at index: Int) -> Bool? {
        let rest = buffer[index...]
        guard rest.count >= delimiter.count else { return delimiter.starts(with: rest) ? nil : false }
        guard rest.starts(with: delimiter) else { return false }
        let after = rest.dropFirst(delimiter.count)
        guard let next = after.first else { return nil }
        if [0x20, 0x09, 0x0d, 0x0a].contains(next) { return true }
        guard next == UInt8(ascii: "-") else { return false }
        return after.count < 2 ? nil : after[after.startIndex + 1] == UInt8(ascii: "-")
    }

    private mutating func give(upTo end: Int, _ events: inout [Event]) {
        if end > start { events.append(.data(Bytes(buffer[start..<end]))) }
        start = end
    }

    private mutating func endPart(after index: Int, _ events: inout [Event]) {
        events.append(.endOfPart)
        start = index
        state = .afterBoundary
    }

    private func check(_ count: Int) throws(MultipartError) {
        if count > headerLimit {
            throw MultipartError(message: "multipart: a part's header is longer than \(headerLimit) bytes")
        }
    }
}
