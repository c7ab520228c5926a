// The JSON and query forms against what upstream prints: vectors and recorded bodies, read and written again byte for byte.

import Encoding
import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

private func again<T: JSONCodable>(_: T.Type) -> @Sendable (JSON) throws -> JSON { { json in try T(json: json).json } }

@Suite struct JSONTests {
    static let types: [String: @Sendable (JSON) throws -> JSON] = [
        "api.Pin": again(Pin.self), "api.PinPath": again(PinPath.self), "api.PinInfo": again(PinInfo.self),
        "api.GlobalPinInfo": again(GlobalPinInfo.self),
        "api.ID": again(PeerInfo.self), "api.IPFSID": again(IPFSID.self), "api.Version": again(VersionReply.self),
        "[]api.Metric": again([Metric].self), "api.Metric": again(Metric.self), "[]api.Alert": again([Alert].self),
        "api.ConnectGraph": again(ConnectGraph.self), "api.RepoGC": again(RepoGC.self),
        "api.GlobalRepoGC": again(GlobalRepoGC.self), "api.IPFSRepoStat": again(IPFSRepoStat.self),
        "api.BandwidthByProtocol": again(BandwidthByProtocol.self), "api.AddedOutput": again(AddedOutput.self),
        "api.Cid": again(CID.self), "api.TrackerStatus": again(TrackerStatus.self), "peer.ID": again(PeerID.self),
        "[]peer.ID": again([PeerID].self),
    ]

    @Test func valuesOfEveryTypeArePrintedAsUpstreamPrintsThem() throws {
        var checked: [String: Int] = [:]
        for vector in try Golden.lines("vectors/msgpack.ndjson") {
            guard let type = vector["type"]?.text, let form = Self.types[type], var want = vector["json"] else { continue }
            // Upstream's nil maps and lists of these types are empty ones here.
            if type == "api.GlobalRepoGC" || type == "api.RepoGC" { want = nullListsEmpty(want) }
            if type == "api.BandwidthByProtocol", want == .null { want = .object([]) }
            let id = "\(vector["id"]?.text ?? "") \(type)"
            do {
                let found = try form(want)
                #expect(found.encoded() == inUTC(want.encoded()), "\(id)")
                checked[type, default: 0] += 1
            } catch let fault as FormError {
                // A value without the peer or CID that it is about says nothing of anyone.
                let isHollow = want == .null || want == .string("") || want == .array([]) || fault.description.hasSuffix("is missing")
                    || want.encoded().contains("\"peer\":\"\"") || want.encoded().contains("\"id\":\"\"")
                    || want.encoded().contains("\"cid\":null") || want.encoded().contains("\"cluster_id\":\"\"")
                #expect(isHollow, "\(id): \(fault)")
            }
        }
        // Each list of metrics in the vectors holds one without a peer.
        for type in Self.types.keys.sorted() where type != "[]api.Metric" { #expect(checked[type, default: 0] > 0, "no vector of \(type)") }
    }

    private func nullListsEmpty(_ json: JSON) -> JSON {
        guard case .object(let members) = json else { return json }
        let empty: [String: JSON] = ["keys": .array([]), "peer_map": .object([])]
        return .object(members.map { .init($0.name, $0.value == .null ? empty[$0.name] ?? .null : nullListsEmpty($0.value)) })
    }

    @Test func pinsComeBackByteForByte() throws {
        var count = 0
        for vector in try Golden.lines("vectors/pins.ndjson") where vector["kind"]?.text == "encode" {
            guard let text = vector["json"]?.text else { continue }
            if text.contains("\"cid\":null") { continue }
            let pin = try Pin(jsonText: Array(text.utf8))
            let want = vector["json_back"]?.text ?? text
            #expect(pin.json.encoded() == inUTC(want), "\(vector["id"]?.text ?? "")")
            count += 1
        }
        #expect(count > 120)
    }

    @Test func optionsBecomeQueriesAndComeBack() throws {
        var count = 0, faults = 0
        for vector in try Golden.lines("vectors/pins.ndjson") {
            let id = vector["id"]?.text ?? ""
            let query = vector["query"]?.text ?? ""
            if vector["kind"]?.text == "encode", vector["query"] != nil, let text = vector["json"]?.text, vector["name_hex"] == nil {
                if text.contains("\"cid\":null") { continue }
                let pin = try Pin(jsonText: Array(text.utf8))
                #expect(pin.options.query.encoded == inUTC(query), "\(id)")
            }
            guard vector["query"] != nil && vector["name_hex"] == nil || vector["kind"]?.text == "query" else { continue }
            do {
                let options = try PinOptions(query: URLQuery(query), now: WallTime(seconds: 1_700_000_000))
                if let want = vector["query_json"]?.text {
                    #expect(options.json.encoded() == inUTC(want), "\(id)")
                    count += 1
                } else if let why = vector["query_parse_error"]?.text { Issue.record("\(id) was taken, not refused: \(why)") }
            } catch {
                #expect(error.description == vector["query_parse_error"]?.text, "\(id)")
                faults += 1
            }
        }
        #expect(count > 120 && faults > 8, "\(count), \(faults)")
    }

    /// Times are printed in UTC here, in the zone that they came with upstream.
    private func inUTC(_ text: String) -> String {
        text.replacing(/\d{4}-\d\d-\d\dT\d\d(:|%3A)\d\d(:|%3A)\d\d(\.\d+)?(\+|-|%2B)\d\d(:|%3A)\d\d/) { match in
            let isEscaped = match.0.contains("%")
            let plain = String(match.0).replacing("%3A", with: ":").replacing("%2B", with: "+")
            let utc = WallTime(rfc3339: plain)?.rfc3339 ?? plain
            return isEscaped ? utc.replacing(":", with: "%3A") : utc
        }
    }

    @Test func statusTextsAreUpstreams() throws {
        let tables = try JSONReader.parse(Golden.bytes("vectors/tracker_status.json"))
        for row in tables["tracker_status"]?.elements ?? [] {
            guard let value = row["value"]?.integer(Int64.self), let json = row["json"]?.text else { continue }
            #expect(TrackerStatus(rawValue: value).json.encoded() == json)
        }
        for row in tables["tracker_status_from_json"]?.elements ?? [] {
            let json = try JSONReader.parse(Array((row["json"]?.text ?? "").utf8))
            var status = TrackerStatus.undefined
            let wrapped = JSON.object(["status": json])
            if row["error"] != nil { #expect(throws: FormError.self) { try PinInfoShort(json: wrapped) }; continue }
            status = try PinInfoShort(json: wrapped).status
            #expect(status.rawValue == row["value"]?.integer(Int64.self), "\(json)")
        }
        for row in tables["pin_type"]?.elements ?? [] {
            guard let raw = row["value"]?.text.flatMap({ UInt64($0) }), let type = PinType(rawValue: raw) else { continue }
            #expect(type.json.encoded() == row["json"]?.text)
        }
        for row in tables["pin_mode_from_string"]?.elements ?? [] {
            let mode = try PinMode(json: row["string"] ?? .null)
            #expect(mode.rawValue == row["value"]?.integer(Int64.self))
        }
    }

    /// The bodies of the recorded answers, by the path that they answer.
    private static let bodies: [(pattern: String, method: String, form: @Sendable (JSON) throws -> JSON)] = [
        ("/id", "GET", again(PeerInfo.self)), ("/peers", "GET", again(PeerInfo.self)), ("/peers", "POST", again(PeerInfo.self)),
        ("/version", "GET", again(VersionReply.self)), ("/health/graph", "GET", again(ConnectGraph.self)),
        ("/health/alerts", "GET", again([Alert].self)), ("/health/bandwidth", "GET", again(BandwidthByProtocol.self)),
        ("/monitor/metrics/", "GET", again([Metric].self)), ("/monitor/metrics", "GET", again([String].self)),
        ("/token", "POST", again(TokenBody.self)), ("/allocations", "GET", again(Pin.self)),
        ("/ipfs/gc", "POST", again(GlobalRepoGC.self)), ("recover", "POST", again(GlobalPinInfo.self)),
        ("/pins", "GET", again(GlobalPinInfo.self)), ("/pins", "POST", again(Pin.self)), ("/pins", "DELETE", again(Pin.self)),
        ("/add", "POST", again(AddedOutput.self)),
    ]

    @Test func recordedBodiesComeBackByteForByte() throws {
        // Identities stand for the names in the recordings, in both directions and in the order of their texts.
        let names = [
            "$PEER0": "12D3KooWCAV5hBkK5FfxFM1VFZmpEJZ4CpDve6UQUvJdvL9oGkAy", "$PEER1": "12D3KooWFPSZaKWVDVHoVNjHKGZEY8uArALjpt5jKYgwizZm5WmJ",
            "$IPFS0": "12D3KooWNcnGEHz6dEMKq8TCc4qgW1W2Kv1gNUDomQZ29F6bb1E2", "$IPFS1": "12D3KooWP6BzjKQan8aproVWUjVe4veWLy72FmLLmYPW7FGwjGjH",
            "$PORT": "4001",
        ]
        var checked = 0
        for exchange in try Golden.lines("rest/exchanges.ndjson") {
            guard let status = exchange["response"]?["status"]?.integer(Int.self), var body = exchange["response"]?["body"]?.text,
                body.hasPrefix("{") || body.hasPrefix("["), let method = exchange["request"]?["method"]?.text,
                let path = exchange["request"]?["path"]?.text, exchange["quirk"] == nil || status < 400
            else { continue }
            for name in names.keys.sorted() { body = body.replacing(name, with: names[name] ?? "") }
            let id = exchange["id"]?.text ?? ""
            let rule = Self.bodies.first { $0.method == method && (path.hasPrefix($0.pattern) || path.contains($0.pattern)) }
            guard let form = status >= 400 ? again(ErrorBody.self) : rule?.form else { Issue.record("\(id) \(path)"); continue }
            var reader = JSONReader(Array(body.utf8))
            while let value = try reader.next() {
                let items = path.hasPrefix("/add") ? value.elements ?? [value] : [value]
                for item in items {
                    do { #expect(try form(item).encoded() == inUTC(item.encoded()), "\(id) \(path)") } catch {
                        Issue.record("\(id) \(path): \(error)")
                    }
                    checked += 1
                }
            }
        }
        #expect(checked > 600, "\(checked)")
    }

    @Test func addParametersComeBackFromTheirQuery() throws {
        var parameters = AddParameters()
        parameters.options.metadata = [:]
        #expect(try AddParameters(query: parameters.query, now: .epoch) == parameters)
        parameters.options.name = "a b&c=d;é"
        parameters.options.metadata = ["k": "v"]
        (parameters.layout, parameters.format, parameters.chunker, parameters.hash) = (.trickle, .car, "rabin-1-2-3", "blake3")
        (parameters.cidVersion, parameters.rawLeaves, parameters.isLocal) = (1, false, true)
        (parameters.noPin, parameters.noCopy, parameters.shard, parameters.progress) = (true, true, true, true)
        (parameters.streamChannels, parameters.wrapWithDirectory) = (false, true)
        #expect(try AddParameters(query: URLQuery(parameters.query.encoded), now: .epoch) == parameters)
        #expect(try AddParameters(query: URLQuery("cid-version=1"), now: .epoch).rawLeaves)
        #expect(try AddParameters(query: URLQuery("pin-update=QmaNJ5acV31sx8jq626qTpAWW4DXKw34aGhx53dECLvXbY"), now: .epoch).options.pinUpdate == nil)
        for (query, fault) in [
            ("layout=x", "layout parameter is invalid"), ("hidden=2", "parameter hidden invalid"), ("cid-version=1.0", "parameter cid-version invalid"),
            ("shard-size=-1", "parameter shard_size is invalid"), ("shard-size=%2B1", "parameter shard_size is invalid"),
        ] { #expect(throws: FormError(fault)) { try AddParameters(query: URLQuery(query), now: .epoch) } }
    }

    @Test(arguments: [
        (33.285714285714285, "33.285714285714285"), (132, "132"), (429415018.5, "429415018.5"), (0, "0"), (-0.5, "-0.5"),
        (1e20, "100000000000000000000"), (1e21, "1e+21"), (1.5e-7, "1.5e-7"), (0.000001, "0.000001"), (123456789012345680, "123456789012345680"),
        (1.7976931348623157e308, "1.7976931348623157e+308"), (.infinity, "0"),
    ])
    func numbersArePrintedAsGoPrintsThem(_ value: Double, _ text: String) { #expect(JSON.double(value) == .number(text)) }

    @Test func mapsAreInTheOrderOfTheirTexts() throws {
        let (short, long) = (try PeerID([0, 1, 0xff]), try PeerID([0, 3, 0, 0, 0]))
        #expect(short < long && short.description > long.description)
        let graph = SortedMap([(short, "short"), (long, "long")])
        #expect(graph.json.encoded() == "{\"\(long)\":\"long\",\"\(short)\":\"short\"}")
        #expect(try SortedMap<PeerID, String>(json: graph.json) == graph)
    }

    /// What is not what it should be is refused, and the error says where.
    @Test(arguments: [
        ("[]", "a pin must be an object"), ("{}", "cid is missing"), (#"{"cid":""}"#, "cid: invalid cid: cid too short"),
        (#"{"cid":7}"#, "cid: must be a string"), (#"{"cid":"$","max_depth":1.5}"#, "max_depth: must be an integer of 64 bits"),
        (#"{"cid":"$","metadata":{"a":1}}"#, "metadata: a: must be a string"), (#"{"cid":"$","allocations":[""]}"#, "allocations: failed to parse peer ID: invalid cid: cid too short"),
        (#"{"cid":"$","origins":["x"]}"#, #"origins: failed to parse multiaddr "x": must begin with /"#),
        (#"{"cid":"$","shard_size":-1}"#, "shard_size: must be an integer of 64 bits"), (#"{"cid":"$"} x"#, "invalid character 'x' after top-level value at byte 70"),
    ])
    func wrongPinsAreRefusedByName(_ text: String, _ fault: String) {
        let text = text.replacing("$", with: "bafkreiaormrt7gcckbwbuhno7waexnodzs5ykgw2jsjchzgykevywpuniy")
        #expect(throws: FormError(fault)) { try Pin(jsonText: Array(text.utf8)) }
    }

    /// Pairs with a semicolon or a broken escape go, the others stay.
    @Test func unreadableQueriesAreLeftOut() {
        let query = URLQuery("a=1&b=%zz&c=%4&;d=2&e;f=3&=5&&g&a=2&h=%41%2b+%c3%a9")
        #expect(query.items.map(\.name) == ["a", "", "g", "a", "h"] && query["a"] == "1" && query.all("a") == ["1", "2"])
        #expect(query["h"] == "A+ é" && query["missing"] == "")
        #expect(query.encoded == "=5&a=1&a=2&g=&h=A%2B+%C3%A9")
    }

    @Test(arguments: [
        ("bad", #"parsing time "bad" as "2006-01-02T15:04:05Z07:00": cannot parse "bad" as "2006""#),
        ("2030-13-02T00:00:00Z", #"parsing time "2030-13-02T00:00:00Z": month out of range"#),
        ("2030-02-30T00:00:00Z", #"parsing time "2030-02-30T00:00:00Z": day out of range"#),
        ("2030-01-02 03:04:05Z", #"parsing time "2030-01-02 03:04:05Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 03:04:05Z" as "T""#),
        ("2030-01-02T03:04:05", #"parsing time "2030-01-02T03:04:05" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#),
        ("2030-01-02T03:04:05Zx", #"parsing time "2030-01-02T03:04:05Zx": extra text: "x""#),
    ])
    func badTimesAreRefusedInGosWords(_ text: String, _ fault: String) {
        #expect(WallTime(rfc3339: text) == nil)
        #expect(RFC3339Fault.describe(text) == fault)
    }
}
