// The directories of one import, held until its end, since a directory's CID is known only then. ADD-33, ADD-34, ADD-44.

import Kernel
import Multiformats
import Pinset

struct DirectoryTree: Sendable {
    /// A larger sum over links of name and CID makes a directory a HAMT.
    static let shardingBytes = 262_144

    private struct Directory: Sendable {
        var links = SortedMap<EntryName, DagPBLink>()
        /// Directories made in this import, as indexes; the others are links only.
        var children = SortedMap<EntryName, Int>()
        var linkBytes = 0
        /// What the last build gave, in order, until something changes.
        var built: [BuiltNode] = []
    }
    private var directories = [Directory()]
    private let format: ContentFormat
    static let root = 0

    init(_ format: ContentFormat) { self.format = format }

    func child(_ name: EntryName, of directory: Int) -> Int? { directories[directory].children[name] }

    mutating func setLink(_ name: EntryName, to node: BuiltNode, in directory: Int) {
        let link = node.link(named: name)
        let old = directories[directory].links[name]
        guard old != link else { return }
        if let old { directories[directory].linkBytes -= name.bytes.count + old.cid.bytes.count }
        directories[directory].linkBytes += name.bytes.count + node.cid.bytes.count
        directories[directory].links[name] = link
        directories[directory].built = []
    }

    func emptyDirectory() throws(AddError) -> BuiltNode {
        try format.node(DagPBNode(data: UnixFSData(.directory).encoded))
    }

    /// A new empty directory in place of what had that name.
    mutating func make(_ name: EntryName, in directory: Int) throws(AddError) -> Int {
        directories.append(Directory())
        setLink(name, to: try emptyDirectory(), in: directory)
        directories[directory].children[name] = directories.count - 1
        return directories.count - 1
    }

    /// Brings the links to child directories up to date, children first; emits every node on the way, as upstream does
    /// each time it looks at the tree. `depth` is bounded by the importer's limit on paths.
    mutating func build(_ directory: Int, emit: (BuiltNode) -> Void) throws(AddError) -> BuiltNode {
        for (name, child) in directories[directory].children {
            let node = try build(child, emit: emit)
            setLink(name, to: node, in: directory)
        }
        if directories[directory].built.isEmpty {
            directories[directory].built = try nodes(of: directories[directory])
        }
        for node in directories[directory].built { emit(node) }
        return directories[directory].built[directories[directory].built.count - 1]
    }

    private func nodes(of directory: Directory) throws(AddError) -> [BuiltNode] {
        guard directory.linkBytes > DirectoryTree.shardingBytes else {
            return [try format.node(DagPBNode(links: directory.links.values, data: UnixFSData(.directory).encoded))]
        }
        var nodes: [BuiltNode] = []
        _ = try shard(of: directory).build(format) { nodes.append($0) }
        return nodes
    }

    private func shard(of directory: Directory) throws(AddError) -> Shard {
        var shard = Shard()
        for (name, link) in directory.links { try shard.set(name, link) }
        return shard
    }

    /// ADD-44: hands over each directory after those inside it, and forgets them: later entries of the upload begin anew.
    mutating func report(
        _ directory: Int, path: [EntryName], emit: (BuiltNode) -> Void, output: ([EntryName], BuiltNode) -> Void
    ) throws(AddError) {
        for name in try childNames(of: directory) {
            guard let child = directories[directory].children[name] else { continue }
            try report(child, path: path + [name], emit: emit, output: output)
            directories[directory].children.remove(name)
        }
        output(path, try build(directory, emit: emit))
    }

    /// In the order in which the finished directory lists them.
    private func childNames(of index: Int) throws(AddError) -> [EntryName] {
        let directory = directories[index]
        guard directory.linkBytes > DirectoryTree.shardingBytes else { return directory.children.keys }
        var names: [EntryName] = []
        try shard(of: directory).forEachName { if directory.children[$0] != nil { names.append($0) } }
        return names
    }
}
