// The cluster's connectivity as a Graphviz file. CLI-173..176.

import Kernel
import Multiformats
import Pinset

struct GraphFormat {
    private let graph: ConnectGraph
    /// Who of the IPFS daemons is connected to whom, as far as it is shown, by the texts of their IDs.
    private let swarm: [(id: String, peers: [String])]
    private let clusterPeers: [(id: PeerID, text: String)]
    /// Node names by peer ID.
    private var clusterNodes: [String: String] = [:]
    private var ipfsNodes: [String: String] = [:]

    /// `showsAllIPFSPeers`: also those daemons that stand behind no cluster peer (CLI-176).
    static func dot(_ graph: ConnectGraph, showsAllIPFSPeers: Bool) -> String {
        var format = GraphFormat(graph, showsAllIPFSPeers)
        return format.text()
    }

    private init(_ graph: ConnectGraph, _ showsAll: Bool) {
        self.graph = graph
        var swarm: [String: [String]] = [:]
        for (id, peers) in graph.ipfsLinks {
            swarm[id.description] = peers.filter { showsAll || graph.ipfsLinks[$0] != nil }.map(\.description)
            for peer in peers where showsAll && graph.ipfsLinks[peer] == nil { swarm[peer.description] = [] }
        }
        self.swarm = swarm.map { (id: $0.key, peers: $0.value) }.sorted { precedes($0.id.utf8, $1.id.utf8) }
        clusterPeers = graph.clusterLinks.keys.map { (id: $0, text: $0.description) }
            .sorted { precedes($0.text.utf8, $1.text.utf8) }
    }

    private mutating func text() -> String {
        let sections = [
            ["/* The nodes of the connectivity graph */", "/* The cluster-service peers */"]
                + subgraph(rank: "min", clusterLines()),
            ["/* The ipfs peers */"] + subgraph(rank: "max", ipfsLines()),
            ["/* Edges representing active connections in the cluster */", "/* The connections among cluster-service peers */"]
                + clusterEdges(),
            ["/* The connections between cluster peers and their ipfs daemons */"] + daemonEdges(),
            ["/* The swarm peer connections among ipfs daemons in the cluster */"] + swarmEdges(),
        ]
        return "digraph cluster {\n" + sections.map { $0.map { $0 + "\n" }.joined() }.joined(separator: "\n") + "}"
    }

    private func subgraph(rank: String, _ lines: [String]) -> [String] { ["subgraph  {", "rank=\"\(rank)\""] + lines + ["}"] }

    // MARK: Nodes

    private mutating func clusterLines() -> [String] {
        clusterPeers.enumerated().map { number, peer in
            let isSelf = peer.id == graph.clusterID
            let isTrusted = graph.trustLinks[peer.id] ?? false
            let node = (isSelf || !isTrusted ? "C" : "T") + "\(number)"
            clusterNodes[peer.text] = node
            return GraphFormat.node(
                node, [graph.peerNames[peer.id] ?? "", GraphFormat.short(peer.text)], of: peer.text,
                color: isSelf || isTrusted ? "orange" : "darkorange3", shape: "box3d", outlines: isSelf ? 2 : nil)
        }
    }

    private mutating func ipfsLines() -> [String] {
        var lines: [String] = []
        for (id, _) in swarm {
            lines.append(ipfsNode(id, label: GraphFormat.short(id), color: "turquoise3"))
        }
        for (id, text) in clusterPeers where graph.clusterToIPFS[id] == nil {
            lines.append(ipfsNode(text, label: "Errored", color: "firebrick1"))
        }
        return lines
    }

    private mutating func ipfsNode(_ id: String, label: String, color: String) -> String {
        let node = "I\(ipfsNodes.count)"
        ipfsNodes[id] = node
        return GraphFormat.node(node, ["IPFS", label], of: id, color: color, shape: "cylinder", outlines: nil)
    }

    /// CLI-174.
    private static func node(
        _ node: String, _ label: [String], of id: String, color: String, shape: String, outlines: Int?
    ) -> String {
        let attributes = [
            ("group", id), ("color", color), ("style", "filled"), ("colorscheme", "x11"), ("fontcolor", "black"),
            ("fontname", "Arial"), ("shape", shape),
        ] + (outlines.map { [("peripheries", "\($0)")] } ?? [])
        let lines = label.map { "<B> \($0) </B>" }.joined(separator: " <BR/> ")
        return "\(node) [label=< \(lines) > " + attributes.map { "\($0.0)=\"\($0.1)\" " }.joined() + "]"
    }

    private static func short(_ id: String) -> String { "\(id.prefix(2))*\(id.suffix(6))" }

    // MARK: Edges; those to peers that have no node are left out

    private func clusterEdges() -> [String] {
        clusterPeers.flatMap { peer in
            (graph.clusterLinks[peer.id] ?? []).compactMap { edge(clusterNodes[peer.text], clusterNodes[$0.description]) }
        }
    }

    private func daemonEdges() -> [String] {
        clusterPeers.compactMap { peer in
            guard let daemon = graph.clusterToIPFS[peer.id] else {
                return edge(clusterNodes[peer.text], ipfsNodes[peer.text]).map { $0 + " [ style=\"dotted\" ]" }
            }
            return edge(clusterNodes[peer.text], ipfsNodes[daemon.description])
        }
    }

    private func swarmEdges() -> [String] {
        swarm.flatMap { id, peers in peers.compactMap { edge(ipfsNodes[id], ipfsNodes[$0]) } }
    }

    private func edge(_ from: String?, _ to: String?) -> String? {
        guard let from, let to else { return nil }
        return "\(from) -> \(to)"
    }
}
