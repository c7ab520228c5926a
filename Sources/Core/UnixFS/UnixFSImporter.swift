// Turns an upload into UnixFS blocks as it comes in. Blocks, their order, their repeats and the output lines are those
// of upstream. Holds one node for each level of the current file, and the directories. ADD-40..47.

import Kernel
import Multiformats
import Pinset

package enum ImportEffect: Equatable, Sendable {
    /// To every destination, in order.
    case block(NodeWithMeta)
    /// A line of the answer. The caller fills in allocations (ADD-45).
    case output(AddedOutput)
}

package struct UnixFSImporter: Sendable {
    /// Deeper paths are refused: directories are built from the inside out.
    static let depthLimit = 256
    private static let progressBytes: UInt64 = 262_144  // ADD-46

    private struct OpenFile: Sendable {
        let path: [EntryName]
        var chunker: Chunker
        var builder: FileBuilder
        var bytes: UInt64 = 0
    }
    /// A top-level entry of the upload is finished when another begins (ADD-41).
    private struct Top: Sendable {
        let name: EntryName
        let isDirectory: Bool
        /// Where entries are added now, from the top on.
        var open: [EntryName] = []
    }

    private let parameters: AddParameters
    private let chunker: ChunkerSpec
    private let format: ContentFormat
    private var tree: DirectoryTree
    private var hasTree = false
    private var top: Top?
    private var file: OpenFile?
    private var lastFile: BuiltNode?
    private var root: CID?
    /// ADD-51: what was sent last is not sent again.
    private var recent: (CID?, CID?) = (nil, nil)

    package init(_ parameters: AddParameters) throws(AddError) {
        self.parameters = parameters
        format = try ContentFormat(parameters)
        chunker = try ChunkerSpec(parameters.chunker)
        tree = DirectoryTree(format)
        if parameters.wrapWithDirectory { top = Top(name: "", isDirectory: true) }
    }

    // MARK: Input, in the order of the upload

    package mutating func beginFile(_ name: EntryName, effects: inout [ImportEffect]) throws(AddError) {
        let path = try enter(name, isDirectory: false, &effects)
        file = OpenFile(path: path, chunker: Chunker(chunker), builder: FileBuilder(parameters.layout, format))
    }

    package mutating func data(_ bytes: Bytes, effects: inout [ImportEffect]) throws(AddError) {
        guard var open = file else { throw AddError("content came without a file") }
        file = nil
        // Progress is told at whole steps, however the upload was cut.
        var rest = bytes[...]
        repeat {
            let left = Self.progressBytes - open.bytes % Self.progressBytes
            let piece = parameters.progress ? rest.prefix(Int(left)) : rest
            rest = rest.dropFirst(piece.count)
            for chunk in try open.chunker.push(Bytes(piece)) { try open.builder.add(chunk) { send($0, &effects) } }
            open.bytes += UInt64(piece.count)
            if parameters.progress, UInt64(piece.count) == left { report(open, &effects) }
        } while !rest.isEmpty
        file = open
    }

    package mutating func endFile(effects: inout [ImportEffect]) throws(AddError) {
        guard var open = file else { throw AddError("a file ended that did not begin") }
        file = nil
        for chunk in try open.chunker.finish() { try open.builder.add(chunk) { send($0, &effects) } }
        if parameters.progress { report(open, &effects) }
        let node = try open.builder.finish { send($0, &effects) }
        try addNode(node, at: open.path, &effects)
    }

    package mutating func directory(_ name: EntryName, effects: inout [ImportEffect]) throws(AddError) {
        let path = try enter(name, isDirectory: true, &effects)
        try open(path, &effects)
    }

    package mutating func symlink(_ name: EntryName, target: EntryName, effects: inout [ImportEffect]) throws(AddError) {
        let path = try enter(name, isDirectory: false, &effects)
        var message = UnixFSData(.symlink)
        message.data = target.bytes
        let node = try format.node(DagPBNode(data: message.encoded))
        send(node, &effects)
        try addNode(node, at: path, &effects)
    }

    /// The root to be pinned.
    package mutating func finish(effects: inout [ImportEffect]) throws(AddError) -> CID {
        guard file == nil else { throw AddError("the upload ended in the middle of a file") }
        try finishTop(&effects)
        guard let root else { throw AddError("the upload holds nothing to add") }
        return root
    }

    // MARK: Entries

    private mutating func send(_ node: BuiltNode, _ effects: inout [ImportEffect]) {
        guard recent.0 != node.cid, recent.1 != node.cid else { return }
        recent = (recent.1, node.cid)
        effects.append(.block(node.block))
    }

    private func report(_ open: OpenFile, _ effects: inout [ImportEffect]) {
        var output = AddedOutput(name: open.path.joined.description)
        output.bytes = open.bytes
        effects.append(.output(output))
    }

    /// Makes the entry's top-level entry the current one, and opens the directories above it. The path below the top.
    private mutating func enter(
        _ name: EntryName, isDirectory: Bool, _ effects: inout [ImportEffect]
    ) throws(AddError) -> [EntryName] {
        guard file == nil else { throw AddError("\(name) begins in the middle of another file") }
        var path = [EntryName](path: name)
        guard path.count <= Self.depthLimit else {
            throw AddError("the path of an entry has \(path.count) parts, more than \(Self.depthLimit)")
        }
        if !parameters.wrapWithDirectory {
            let isInDirectory = isDirectory || path.count > 1
            let name = path.isEmpty ? "" : path.removeFirst()
            if top?.name != name || top?.isDirectory != true || !isInDirectory {
                try finishTop(&effects)
                top = Top(name: name, isDirectory: isInDirectory)
            }
        }
        if !isDirectory { try open(path.dropLast(), &effects) }
        return path
    }

    private mutating func needTree(_ effects: inout [ImportEffect]) throws(AddError) {
        guard !hasTree else { return }
        hasTree = true
        send(try tree.emptyDirectory(), &effects)
    }

    /// Makes the directories on a path, the implied ones too.
    private mutating func open(_ path: [EntryName], _ effects: inout [ImportEffect]) throws(AddError) {
        guard path != top?.open else { return }
        var directory = DirectoryTree.root
        for name in path {
            try needTree(&effects)
            if let child = tree.child(name, of: directory) { directory = child; continue }
            send(try tree.emptyDirectory(), &effects)
            directory = try tree.make(name, in: directory)
        }
        top?.open = path
    }

    private func directory(at path: some Sequence<EntryName>) throws(AddError) -> Int {
        var directory = DirectoryTree.root
        for name in path {
            guard let child = tree.child(name, of: directory) else { throw AddError("\(name) is not a directory") }
            directory = child
        }
        return directory
    }

    private mutating func addNode(
        _ node: BuiltNode, at path: [EntryName], _ effects: inout [ImportEffect]
    ) throws(AddError) {
        try needTree(&effects)
        let directory = try directory(at: path.dropLast())
        let name = path.last ?? EntryName(node.cid.description)
        guard tree.child(name, of: directory) == nil else {
            throw AddError("directory already has entry by that name")
        }
        send(node, &effects)
        tree.setLink(name, to: node, in: directory)
        lastFile = node
        effects.append(.output(line(path, node)))
    }

    private func line(_ path: [EntryName], _ node: BuiltNode) -> AddedOutput {
        let prefix = top.map { $0.name == "" ? [] : [$0.name] } ?? []
        var output = AddedOutput(name: (prefix + path).joined.description, cid: node.cid)
        output.size = node.size
        return output
    }

    // MARK: The end of a top-level entry

    /// Upstream looks at the tree when it closes it, for the root, for the output lines and when it flushes, and stores
    /// it each time (ADD-42).
    private mutating func finishTop(_ effects: inout [ImportEffect]) throws(AddError) {
        guard let ended = top else { return }
        try needTree(&effects)
        _ = try buildTree(&effects)
        var result = lastFile
        if ended.isDirectory {
            result = try buildTree(&effects)
            try reportDirectories(&effects)
        }
        _ = try buildTree(&effects)
        guard let result else { throw AddError("\(ended.name) holds nothing to add") }
        send(result, &effects)
        root = result.cid
        top = nil
    }

    private mutating func buildTree(_ effects: inout [ImportEffect]) throws(AddError) -> BuiltNode {
        var built: [BuiltNode] = []
        let root = try tree.build(DirectoryTree.root) { built.append($0) }
        for node in built { send(node, &effects) }
        return root
    }

    private mutating func reportDirectories(_ effects: inout [ImportEffect]) throws(AddError) {
        enum Step { case node(BuiltNode), line([EntryName], BuiltNode) }
        var steps: [Step] = []
        try tree.report(
            DirectoryTree.root, path: [], emit: { steps.append(.node($0)) }, output: { steps.append(.line($0, $1)) })
        for step in steps {
            switch step {
            case .node(let node): send(node, &effects)
            case .line(let path, let node): effects.append(.output(line(path, node)))
            }
        }
    }
}
