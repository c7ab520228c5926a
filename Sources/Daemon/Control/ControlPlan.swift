// What a command line comes to, before anything is asked. CLI-108..130.

import CommandLine
import Encoding
import IPFSConnector
import Kernel
import Multiformats
import Pinset

package enum ControlPlan: Equatable, Sendable {
    case show(ControlRequest)
    /// Whether the peers that are answered hold the same pinset.
    case compare(ControlRequest)
    /// A change of the pinset, and what is shown of it.
    case pin(ControlRequest, PinFollowUp)
    case graph(ControlRequest, file: String, showsAllIPFSPeers: Bool)
    case add(ControlRequest, AddPlan)
    case listCommands
}

package struct PinFollowUp: Equatable, Sendable {
    package var target: TrackerStatus
    package var waits: Bool
    /// 0 takes what the pin asks for.
    package var limit: Int
    package var timeout: Span
    package var showsStatus: Bool

    init(_ flags: FlagValues, target: TrackerStatus) {
        self.target = target
        waits = flags.bool("wait")
        limit = flags.int("wait-limit")
        timeout = flags.duration("wait-timeout")
        showsStatus = !flags.bool("no-status")
    }
}

package struct AddPlan: Equatable, Sendable {
    package var paths: [String]
    package var isRecursive: Bool
    package var includesHidden: Bool
    package var isNoCopy: Bool
    package var isQuiet: Bool
    package var showsOnlyLast: Bool
    package var isBuffered: Bool
    package var waits: Bool
    package var timeout: Span
    package var replicationMin: Int
}

/// A command line on its way to a plan.
struct PlanInput {
    let invocation: Invocation
    let now: WallTime
    var flags: FlagValues { invocation.flags }
    var first: String { argument(0) }
    func argument(_ index: Int) -> String { index < invocation.arguments.count ? invocation.arguments[index] : "" }
    var local: String { "local=\(flags.bool("local"))" }

    var pinset: String { flags.bool("pinset") ? "?pinset=true" : "" }

    func cid(_ text: String, _ doing: String = "parsing cid") throws(ControlFailure) -> CID {
        do { return try CID(text: text) } catch { throw .local(doing, error.aboutCID) }
    }

    /// CLI-129.
    func expiry() throws(ControlFailure) -> WallTime {
        let text = flags.string("expire-in")
        if text.isEmpty { return .unset }
        do { return now + (try Span(goText: text)) } catch { throw .local("parsing expire-in", error) }
    }

    /// CLI-128.
    func metadata() throws(ControlFailure) -> Metadata {
        var metadata = Metadata()
        for text in flags.strings("metadata") {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { throw .local("parsing metadata", "metadata were not in the format key=value") }
            metadata[String(parts[0])] = String(parts[1])
        }
        return metadata
    }

    /// CLI-126: where the API knows a path.
    func pinTarget(_ text: String) throws(ControlFailure) -> String {
        do { return "/pins" + PlanInput.escaped(try ContentPath(text).description) } catch { throw .local("", error) }
    }

    /// Escapes that the user wrote stay, as upstream's client reads its paths as URLs.
    private static func escaped(_ path: String) -> String {
        let parts = path.split(separator: "%", omittingEmptySubsequences: false)
        let later = parts.dropFirst().map { part in
            let isEscape = part.utf8.count >= 2 && bytes(hex: String(decoding: part.utf8.prefix(2), as: UTF8.self)) != nil
            return (isEscape ? "%" : "%25") + URLText.pathEscaped(String(part))
        }
        return URLText.pathEscaped(String(parts[0])) + later.joined()
    }
}

// MARK: Plans, one for each command that is more than a path

extension PlanInput {
    func removePeer() throws(ControlFailure) -> ControlPlan {
        let peer: PeerID
        do { peer = try PeerID(text: first) } catch { throw .local("parsing peer ID", error.aboutPeer(first)) }
        return .show(ControlRequest("DELETE", "/peers/\(peer)", .nothing))
    }

    func addPin() throws(ControlFailure) -> ControlPlan {
        var options = PinOptions()
        let both = flags.int("replication")
        options.replicationFactorMin = both != 0 ? both : flags.int("replication-min")
        options.replicationFactorMax = both != 0 ? both : flags.int("replication-max")
        options.name = flags.string("name")
        options.mode = PinMode(text: flags.string("mode"))
        options.userAllocations = try allocations()
        options.expireAt = try expiry()
        options.metadata = try metadata()
        return try pin(first, options)
    }

    /// CLI-127.
    private func allocations() throws(ControlFailure) -> [PeerID]? {
        let text = flags.string("allocations")
        if text.isEmpty { return nil }
        var peers: [PeerID] = []
        for word in commaSeparated(text) {
            do { peers.append(try PeerID(text: word.trimmingPrefix(while: { $0.isWhitespace }).trimmingEnd)) } catch {
                throw .local("decoding allocations", "some peer IDs could not be decoded")
            }
        }
        return peers
    }

    func updatePin() throws(ControlFailure) -> ControlPlan {
        var options = PinOptions()
        options.pinUpdate = try cid(first, "parsing from Cid")
        options.name = flags.string("name")
        options.expireAt = try expiry()
        return try pin(argument(1), options)
    }

    private func pin(_ path: String, _ options: PinOptions) throws(ControlFailure) -> ControlPlan {
        let request = ControlRequest("POST", try pinTarget(path) + "?" + options.query.encoded, .one(.pin))
        return .pin(request, PinFollowUp(flags, target: .pinned))
    }

    func removePin() throws(ControlFailure) -> ControlPlan {
        let request = ControlRequest("DELETE", try pinTarget(first), .one(.pin))
        return .pin(request, PinFollowUp(flags, target: .unpinned))
    }

    func listPins() throws(ControlFailure) -> ControlPlan {
        if first.isEmpty {
            let filter = PlanInput.pinTypes(flags.string("filter"))
            return .show(ControlRequest("GET", "/allocations?filter=\(filter)", .stream(.pin)))
        }
        return .show(ControlRequest("GET", "/allocations/\(try cid(first))", .one(.pin)))
    }

    /// CLI-115: the known names once each; all of them are `all`, none is nothing.
    private static func pinTypes(_ text: String) -> String {
        let words = commaSeparated(text)
        let types = PinType.allCases.filter { $0 != .bad }
        let holdsAll = words.contains { $0.isEmpty || $0 == "all" }
        let known = types.filter { holdsAll || words.contains($0.text) }
        let isStrange = words.contains { word in !word.isEmpty && word != "all" && !types.contains { $0.text == word } }
        return known.count == types.count && !isStrange ? "all" : known.map(\.text).joined(separator: ",")
    }

    /// CLI-116.
    func status() throws(ControlFailure) -> ControlPlan {
        var cids: [CID] = []
        for text in invocation.arguments { cids.append(try cid(text)) }
        if cids.count == 1 {
            var request = ControlRequest("GET", "/pins/\(cids[0])?\(local)", .one(.status))
            request.showsFailureAsEmpty = true
            return .show(request)
        }
        let text = flags.string("filter")
        let filter = cids.isEmpty ? TrackerStatus(text: text) : .undefined
        if cids.isEmpty && filter == .undefined && !text.isEmpty { throw .local("parsing filter flag", "invalid filter name") }
        let names = filter == .undefined ? "" : URLText.queryEscaped(filter.text)
        let list = cids.map(\.description).joined(separator: ",")
        return .show(ControlRequest("GET", "/pins?\(local)&filter=\(names)&cids=\(list)", .stream(.status)))
    }

    func recoverPins() throws(ControlFailure) -> ControlPlan {
        if first.isEmpty { return .show(ControlRequest("POST", "/pins/recover?\(local)", .stream(.status))) }
        return .show(ControlRequest("POST", "/pins/\(try cid(first))/recover?\(local)", .one(.status)))
    }

    func metrics() -> ControlPlan {
        if first.isEmpty { return .show(ControlRequest("GET", "/monitor/metrics", .list(.metricName))) }
        return .show(ControlRequest("GET", "/monitor/metrics/" + PlanInput.escaped(first), .list(.metric)))
    }

    func graph() -> ControlPlan {
        .graph(
            ControlRequest("GET", "/health/graph", .one(.graph)), file: flags.string("file"),
            showsAllIPFSPeers: flags.bool("all-ipfs-peers"))
    }
}

extension StringProtocol {
    fileprivate var trimmingEnd: String {
        var text = String(self)
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}

extension PlanInput {
    private static let defaultHash = "sha2-256"

    func add() throws(ControlFailure) -> ControlPlan {
        let paths = invocation.arguments
        if paths.isEmpty { throw .local("", "need at least one path") }
        var options = PinOptions()
        options.replicationFactorMin = flags.int("replication-min")
        options.replicationFactorMax = flags.int("replication-max")
        options.expireAt = try expiry()
        options.metadata = try metadata()
        options.name = flags.string("name")
        options.userAllocations = commaSeparated(flags.string("allocations")).compactMap { try? PeerID(text: $0) }
        options.shardSize = 100 << 20  // REST-122
        let wraps = flags.bool("wrap-with-directory") || paths.count > 1
        if wraps && flags.string("format") == "car" {
            throw .local("", "only a single CAR file can be added and wrap-with-directory is not supported")
        }
        let request = ControlRequest("POST", "/add?" + addQuery(options, wraps: wraps).encoded, .stream(.added))
        let plan = AddPlan(
            paths: paths, isRecursive: flags.bool("recursive"), includesHidden: flags.bool("hidden"),
            isNoCopy: flags.bool("nocopy"), isQuiet: flags.bool("quiet") || flags.bool("quieter"),
            showsOnlyLast: flags.bool("quieter"), isBuffered: flags.bool("no-stream"), waits: flags.bool("wait"),
            timeout: flags.duration("wait-timeout"), replicationMin: options.replicationFactorMin)
        return .add(request, plan)
    }

    /// Words as they were given: what they may be is the server's to say.
    private func addQuery(_ options: PinOptions, wraps: Bool) -> URLQuery {
        var query = options.query
        for name in ["format", "layout", "chunker", "hash"] { query.add(name, flags.string(name)) }
        let version = flags.string("hash") == PlanInput.defaultHash ? flags.int("cid-version") : 1
        query.add("cid-version", String(version))
        let switches = [
            ("raw-leaves", flags.bool("raw-leaves") || version > 0 || flags.bool("nocopy")), ("wrap-with-directory", wraps),
            ("recursive", flags.bool("recursive")), ("hidden", flags.bool("hidden")), ("local", flags.bool("local")),
            ("nocopy", flags.bool("nocopy")), ("no-pin", flags.bool("no-pin")), ("progress", false), ("shard", false),
            ("stream-channels", true),
        ]
        for (name, value) in switches { query.add(name, value ? "true" : "false") }
        return query
    }
}
