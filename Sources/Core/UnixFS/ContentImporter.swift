// One import of either format, driven by what a client sends.

import Kernel
import Multiformats
import Pinset
import Seams

/// Hand it every `ClientInput` of an `add` in order. The root comes with the end.
package struct ContentImporter: Sendable {
    private var unixfs: UnixFSImporter?
    private var car: CARImporter?

    package init(_ parameters: AddParameters) throws(AddError) {
        switch parameters.format {
        case .unixfs: unixfs = try UnixFSImporter(parameters)
        case .car: car = CARImporter(parameters)
        }
    }

    package mutating func on(_ input: ClientInput, effects: inout [ImportEffect]) throws(AddError) -> CID? {
        if let root = try unixfs?.on(input, effects: &effects) { return root }
        return try car?.on(input, effects: &effects)
    }
}

extension UnixFSImporter {
    fileprivate mutating func on(_ input: ClientInput, effects: inout [ImportEffect]) throws(AddError) -> CID? {
        switch input {
        case .file(let name): try beginFile(name, effects: &effects)
        case .directory(let name): try directory(name, effects: &effects)
        case .symlink(let name, let target): try symlink(name, target: target, effects: &effects)
        case .data(let bytes): try data(bytes, effects: &effects)
        case .endOfFile: try endFile(effects: &effects)
        case .end: return try finish(effects: &effects)
        case .failed(let reason): throw AddError(reason)
        case .more: break  // of a listing
        }
        return nil
    }
}

extension CARImporter {
    fileprivate mutating func on(_ input: ClientInput, effects: inout [ImportEffect]) throws(AddError) -> CID? {
        switch input {
        case .file(let name): try beginFile(name)
        case .directory, .symlink: try other()
        case .data(let bytes): try data(bytes, effects: &effects)
        case .endOfFile: try endFile(effects: &effects)
        case .end: return try finish()
        case .failed(let reason): throw AddError(reason)
        case .more: break  // of a listing
        }
        return nil
    }
}
