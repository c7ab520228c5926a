// The form of an add as the input of a client. spec/rest-api.md REST-097, REST-098; boxo's files/multipartfile.go.

import Encoding
import HTTP
import Kernel
import Seams

/// Turns the body of `POST /add` into `ClientInput`. After a fault nothing further comes out.
struct Upload: Sendable {
    private enum Part: Equatable, Sendable {
        case none  // between parts
        case file
        case directory
        case symlink(name: EntryName, target: Bytes)
    }

    private var form: Multipart
    private let settings: RESTSettings
    private var part = Part.none
    private var hasParts = false
    private var isOver = false

    /// The boundary, or why there is none.
    static func boundary(of request: HTTPRequest) throws(Refusal) -> String {
        guard let type = MediaType((request.headers["Content-Type"] ?? "").utf8),
            ["multipart/form-data", "multipart/mixed"].contains(type.name)
        else { throw Refusal(400, "request Content-Type isn't multipart/form-data") }
        guard let boundary = type["boundary"], !boundary.isEmpty else {
            throw Refusal(400, "no multipart boundary param in Content-Type")
        }
        return String(decoding: boundary, as: UTF8.self)
    }

    init(boundary: String, settings: RESTSettings) {
        form = Multipart(boundary: boundary, headerLimit: settings.partHeaderLimitBytes)
        self.settings = settings
    }

    mutating func feed(_ bytes: Bytes, _ inputs: inout [ClientInput]) {
        if isOver { return }
        var events: [Multipart.Event] = []
        var fault: String?
        do { try form.feed(bytes, events: &events) } catch { fault = error.message }
        take(events, &inputs)
        if let fault, !isOver { fail(fault, &inputs) }
    }

    /// The request is whole, or has broken off for that reason; the form should be whole. What a broken part holds is handed on before the
    /// failure, so that the answer lists the same entries as upstream's, which pins nothing either.
    mutating func finish(because reason: String, _ inputs: inout [ClientInput]) {
        if isOver { return }
        var events: [Multipart.Event] = []
        form.finish(events: &events)
        take(events, &inputs)
        if !isOver { fail("multipart: NextPart: \(reason)", &inputs) }
    }

    private mutating func take(_ events: [Multipart.Event], _ inputs: inout [ClientInput]) {
        for event in events where !isOver {
            switch event {
            case .part(let header): begin(header, &inputs)
            case .data(let bytes): data(bytes, &inputs)
            case .endOfPart: endPart(&inputs)
            case .end:
                // Upstream's handler dies of a form without parts.
                if !hasParts { fail("the form has no parts", &inputs); break }
                isOver = true
                inputs.append(.end)
            }
        }
    }

    private mutating func fail(_ reason: String, _ inputs: inout [ClientInput]) {
        isOver = true
        inputs.append(.failed(reason))
    }

    private mutating func begin(_ header: PartHeader, _ inputs: inout [ClientInput]) {
        hasParts = true
        let coding = String(decoding: header["Content-Transfer-Encoding"], as: UTF8.self).lowercased()
        guard ["binary", "8bit", "7bit", ""].contains(coding) else {
            return fail("Content-Transfer-Encoding \(coding) is not supported; send the part as binary", &inputs)
        }
        let name = Upload.name(header["Content-Disposition"])
        switch MediaType(header["Content-Type"])?.name {
        case "application/x-directory", "multipart/form-data", "multipart/mixed":
            part = .directory
            inputs.append(.directory(name: name))
        case "application/symlink": part = .symlink(name: name, target: [])
        default:
            part = .file
            inputs.append(.file(name: name))
        }
    }

    private mutating func data(_ bytes: Bytes, _ inputs: inout [ClientInput]) {
        switch part {
        case .file: inputs.append(.data(bytes))
        case .symlink(let name, let target):
            guard target.count + bytes.count <= settings.symlinkLimitBytes else {
                return fail("the target of \(name) is longer than \(settings.symlinkLimitBytes) bytes", &inputs)
            }
            part = .symlink(name: name, target: target + bytes)
        case .directory, .none: break
        }
    }

    private mutating func endPart(_ inputs: inout [ClientInput]) {
        switch part {
        case .file: inputs.append(.endOfFile)
        case .symlink(let name, let target):
            inputs.append(.symlink(name: name, target: EntryName(target)))
        case .directory, .none: break
        }
        part = .none
    }

    /// The file name, unescaped where it can be, as a clean relative path.
    private static func name(_ disposition: some Sequence<UInt8>) -> EntryName {
        let raw = MediaType(disposition)?["filename"] ?? []
        return [EntryName](path: EntryName(URLText.unescapedBytes(raw, isQuery: true) ?? raw)).joined
    }
}
