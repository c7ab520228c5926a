// Builds the DAG of one file as its chunks come, in the block order of upstream: children before parents, each when it
// is linked. Holds one open node for each level. ADD-26..32.

import Kernel
import Multiformats
import Pinset

struct FileBuilder: Sendable {
    static let linksPerNode = 174

    /// A node that still takes children.
    struct OpenNode: Sendable {
        var links: [DagPBLink] = []
        var sizes: [UInt64] = []
        var fileSize: UInt64 { sizes.reduce(0, &+) }
        var isFull: Bool { links.count >= FileBuilder.linksPerNode }

        mutating func add(_ child: BuiltNode, fileSize: UInt64) {
            links.append(child.link(named: ""))
            sizes.append(fileSize)
        }
    }

    private let isTrickle: Bool
    private let format: ContentFormat
    private var balanced = BalancedLayout()
    private var trickle = TrickleLayout()

    init(_ layout: AddParameters.Layout, _ format: ContentFormat) {
        self.format = format
        isTrickle = layout == .trickle
    }

    mutating func add(_ chunk: Bytes, emit: (BuiltNode) -> Void) throws(AddError) {
        let leaf = try format.leaf(chunk, isTrickle ? .raw : .file)
        if isTrickle {
            try trickle.add(leaf, fileSize: UInt64(chunk.count), format, emit)
        } else {
            try balanced.add(leaf, fileSize: UInt64(chunk.count), format, emit)
        }
    }

    /// The root, which has been emitted last.
    func finish(emit: (BuiltNode) -> Void) throws(AddError) -> BuiltNode {
        let root = isTrickle ? try trickle.finish(format, emit) : try balanced.finish(format, emit)
        emit(root)
        return root
    }
}

extension ContentFormat {
    /// ADD-29: raw leaves where asked for, else of the layout's own type.
    func leaf(_ data: Bytes, _ kind: UnixFSData.Kind) throws(AddError) -> BuiltNode {
        if rawLeaves { return try rawLeaf(data) }
        var message = UnixFSData(kind)
        message.data = data
        message.fileSize = UInt64(data.count)
        return try node(DagPBNode(data: message.encoded))
    }

    func file(_ open: FileBuilder.OpenNode) throws(AddError) -> BuiltNode {
        var message = UnixFSData(.file)
        message.fileSize = open.fileSize
        message.blockSizes = open.sizes
        return try node(DagPBNode(links: open.links, data: message.encoded))
    }
}

/// ADD-27: all leaves at one depth; the tree grows a new root when the current one is full and more comes.
struct BalancedLayout: Sendable {
    /// The first leaf, until a second shows that it is not the root.
    private var only: (leaf: BuiltNode, fileSize: UInt64)?
    /// Open nodes, those over leaves first.
    private var levels: [FileBuilder.OpenNode] = []

    mutating func add(
        _ leaf: BuiltNode, fileSize: UInt64, _ format: ContentFormat, _ emit: (BuiltNode) -> Void
    ) throws(AddError) {
        if levels.isEmpty {
            guard let first = only else { only = (leaf, fileSize); return }
            only = nil
            link(first.leaf, fileSize: first.fileSize, at: 0, emit)
        }
        try closeFull(format, emit)
        link(leaf, fileSize: fileSize, at: 0, emit)
    }

    private mutating func link(_ child: BuiltNode, fileSize: UInt64, at level: Int, _ emit: (BuiltNode) -> Void) {
        if level == levels.count { levels.append(FileBuilder.OpenNode()) }
        emit(child)
        levels[level].add(child, fileSize: fileSize)
    }

    /// Links full nodes below the next level and opens others in their place, now that more leaves come.
    private mutating func closeFull(_ format: ContentFormat, _ emit: (BuiltNode) -> Void) throws(AddError) {
        var level = 0
        while level < levels.count, levels[level].isFull {
            let node = levels[level]
            levels[level] = FileBuilder.OpenNode()
            link(try format.file(node), fileSize: node.fileSize, at: level + 1, emit)
            level += 1
        }
    }

    func finish(_ format: ContentFormat, _ emit: (BuiltNode) -> Void) throws(AddError) -> BuiltNode {
        guard var top = levels.first else {
            if let only { return only.leaf }
            return try format.leaf([], .file)
        }
        var root = try format.file(top)
        for above in levels.dropFirst() {
            emit(root)
            let below = top.fileSize
            top = above
            top.add(root, fileSize: below)
            root = try format.file(top)
        }
        return root
    }
}

/// ADD-28: leaves first, then four sub-trees of each depth. Reading starts at the root without going deep.
struct TrickleLayout: Sendable {
    private static let repeats = 4

    private struct Frame: Sendable {
        var node = FileBuilder.OpenNode()
        /// Sub-trees of this depth and above do not fit; nil at the root.
        let depthLimit: Int?
        var depth = 1
        var subtrees = 0
        var isDone: Bool { depthLimit.map { depth >= $0 } ?? false }

        mutating func addSubtree(_ child: BuiltNode, fileSize: UInt64) {
            node.add(child, fileSize: fileSize)
            subtrees += 1
            if subtrees == TrickleLayout.repeats { (depth, subtrees) = (depth + 1, 0) }
        }
    }
    /// From the root to where the next leaf goes.
    private var frames = [Frame(depthLimit: nil)]

    mutating func add(
        _ leaf: BuiltNode, fileSize: UInt64, _ format: ContentFormat, _ emit: (BuiltNode) -> Void
    ) throws(AddError) {
        while frames[frames.count - 1].node.isFull {
            let frame = frames[frames.count - 1]
            if frame.isDone { try close(format, emit) } else { frames.append(Frame(depthLimit: frame.depth)) }
        }
        emit(leaf)
        frames[frames.count - 1].node.add(leaf, fileSize: fileSize)
    }

    private mutating func close(_ format: ContentFormat, _ emit: (BuiltNode) -> Void) throws(AddError) {
        let frame = frames.removeLast()
        let node = try format.file(frame.node)
        emit(node)
        frames[frames.count - 1].addSubtree(node, fileSize: frame.node.fileSize)
    }

    func finish(_ format: ContentFormat, _ emit: (BuiltNode) -> Void) throws(AddError) -> BuiltNode {
        var rest = self
        while rest.frames.count > 1 { try rest.close(format, emit) }
        return try format.file(rest.frames[0].node)
    }
}
